"""The commands that serve: `balance run` and `scale run`."""

from __future__ import annotations

from pathlib import Path

from trimtab.core.errors import InputError
from trimtab.faces.cli.printing import out


def balance_run(
    backends: tuple[str, ...],
    port: int,
    policy: Path | None,
    waits: tuple[float, float],
    health: str,
    metrics_port: int,
    *,
    repeat_posts: bool,
) -> None:
    """`trimtab balance run`. `waits`: milliseconds before a hedge, seconds for an attempt."""
    from trimtab.inference.balancing.live import Settings
    from trimtab.stages import serve

    hedge_ms, timeout_s = waits
    if timeout_s <= 0 or hedge_ms < 0:
        raise InputError("times must be positive", hint="--timeout-s 30 --hedge-ms 0")
    settings = Settings(
        port=port,
        try_seconds=timeout_s,
        hedge_seconds=hedge_ms / 1000,
        repeat_posts=repeat_posts,
        health_path=health,
    )
    serve.balance_run(settings, backends, policy, metrics_port, _say)


def scale_run(
    service: Path,
    port: int,
    policies: tuple[Path | None, Path | None],
    bounds: tuple[int, int],
    service_ms: float,
    metrics_port: int,
) -> None:
    """`trimtab scale run`. `policies`: of the router, of the replicas; `bounds`: least and most workers."""
    from trimtab.cluster.scaling.controller import Shield
    from trimtab.cluster.scaling.simulator import Service
    from trimtab.inference.balancing.live import Settings
    from trimtab.stages import serve

    least, most = bounds
    if not 1 <= least <= most or service_ms <= 0:
        raise InputError(f"{least} to {most} workers of {service_ms:g} ms", hint="--least 1 --most 8 --service-ms 5")
    workers = serve.Workers(
        service.resolve(), Shield(least, most), Service(service_ms / 1000, 0.1, cold_start_seconds=5.0)
    )
    serve.scale_run(Settings(port=port, repeat_posts=True), workers, policies, metrics_port, _say)


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False)
