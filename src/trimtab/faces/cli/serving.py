"""The commands that serve: `balance run`, `scale run` and `scale keda`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.core.errors import InputError
from trimtab.faces.cli.printing import out, print_json

if TYPE_CHECKING:
    from trimtab.inference.balancing.live.canary import Pace


def balance_run(
    backends: tuple[str, ...],
    port: int,
    policy: Path | None,
    waits: tuple[float, float],
    health: str,
    metrics_port: int,
    *,
    repeat_posts: bool,
    pace: Pace | None = None,
) -> None:
    """`trimtab balance run`. waits: milliseconds before a hedge, seconds for an attempt; pace: of a rollout."""
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
    if pace is not None and policy is None:
        raise InputError("there is no program to roll out", hint="--rollout needs --route")
    serve.balance_run(settings, backends, policy, metrics_port, _say, pace)


def scale_run(
    service: Path,
    port: int,
    policies: tuple[Path | None, Path | None],
    bounds: tuple[int, int],
    service_ms: float,
    metrics_port: int,
    *,
    pace: Pace | None = None,
) -> None:
    """`trimtab scale run`. `policies`: of the router, of the replicas; `bounds`: least and most workers."""
    from trimtab.cluster.scaling.controller import Shield
    from trimtab.cluster.scaling.simulator import Service
    from trimtab.inference.balancing.live import Settings
    from trimtab.stages import serve

    least, most = bounds
    if not 1 <= least <= most or service_ms <= 0:
        raise InputError(f"{least} to {most} workers of {service_ms:g} ms", hint="--least 1 --most 8 --service-ms 5")
    if pace is not None and policies == (None, None):
        raise InputError("there is no program to roll out", hint="--rollout needs --route or --policy")
    workers = serve.Workers(
        service.resolve(), Shield(least, most), Service(service_ms / 1000, 0.1, cold_start_seconds=5.0)
    )
    serve.scale_run(Settings(port=port, repeat_posts=True), workers, policies, metrics_port, _say, pace)


def scale_keda(
    address: tuple[str, int],
    metrics: tuple[str, str],
    queries: tuple[str, str, str],
    policy: Path | None,
    bounds: tuple[int, int],
    times: tuple[float, float, float],
) -> None:
    """`trimtab scale keda`. metrics: a server, or a router's; times: ms of service, ms to wait, s of a cold start."""
    from trimtab.adapters.sources.live import Queries
    from trimtab.cluster.scaling.controller import Shield
    from trimtab.cluster.scaling.simulator import Service
    from trimtab.stages import keda

    (prometheus, router), (least, most), (service_ms, allowed_ms, cold_start_s) = metrics, bounds, times
    if bool(prometheus) == bool(router):
        raise InputError("where do measurements come from?", hint="either --prometheus with --rate, or --router")
    if prometheus and not queries[0]:
        raise InputError("--prometheus needs --rate", hint="such as 'sum(rate(http_requests_total[30s]))'")
    if not 0 <= least <= most or most < 1 or service_ms <= 0 or allowed_ms < 0 or cold_start_s < 0:
        raise InputError(f"{least} to {most} replicas of {service_ms:g} ms", hint="--least 1 --most 8 --service-ms 50")
    source = keda.Metrics(prometheus, Queries(*queries)) if prometheus else keda.Metrics(router, None)
    limits = Shield(least, most), Service(service_ms / 1000, allowed_ms / 1000, cold_start_s)
    keda.scale_keda(keda.Address(*address), source, policy, limits, _say)


def rollout_status(folder: Path, *, as_json: bool) -> None:
    """`trimtab rollout status`."""
    from trimtab.stages import rollout

    rows = [
        {"at": f"{one.at:%Y-%m-%d %H:%M:%S}", "target": one.event.target, "rollout": one.event.rollout,
         "step": one.event.step, "because": one.event.because, "facts": dict(one.event.facts)}
        for one in rollout.status(folder)
    ]  # fmt: skip
    if as_json:
        print_json({"command": "rollout status", "rollouts": rows})
        return
    for row in rows:
        _say(f"{row['at']}  {row['target']}  {row['rollout']}  {row['step']}: {row['because']}")
    if not rows:
        _say("nothing was rolled out from here")


def rollout_back(folder: Path, policy: Path) -> None:
    """`trimtab rollout back`."""
    from trimtab.stages import rollout

    asked = rollout.ask_back(folder, policy)
    _say(f"{asked.rollout}: the program before it is asked for; who serves {policy} takes it within seconds")


def pace(shadow_s: float, share: float, canary_s: float, margin: float) -> Pace:
    """How slowly a rollout goes. Raises InputError."""
    from trimtab.inference.balancing.live.canary import Pace

    if not (shadow_s >= 0 and 0 < share <= 0.5 and canary_s > 0 and 0 < margin < 1):
        raise InputError(
            "a rollout needs time and a share", hint="--shadow-s 60 --canary-s 300 --canary 0.1 --margin 0.01"
        )
    return Pace(shadow_s, share, canary_s, margin=margin)


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False)
