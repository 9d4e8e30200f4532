"""The commands that are given a history and no pipeline: decide, save what was asked for, print."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.adapters.files import write_whole
from trimtab.core.errors import TargetError
from trimtab.faces.cli.commands import print_stage, stage_json
from trimtab.faces.cli.printing import out, print_json
from trimtab.pipeline import StageResult

if TYPE_CHECKING:
    from trimtab.adapters.sources.prometheus import RangeQuery


@dataclass(frozen=True)
class Output:
    """Where the program, the page of evidence and Kubernetes objects go, if anywhere; whether JSON is printed."""

    save: Path | None = None
    certificate: Path | None = None
    as_json: bool = False
    manifests: Path | None = None


def finish(result: StageResult, files: Sequence[Path], output: Output) -> None:
    """Write the chosen program, the certificate and the manifests, and print. Raises TargetError."""
    if output.save is not None:
        write_whole(output.save, str(result.facts["program"]))
    if output.certificate is not None:
        from trimtab.faces.certificate import write_certificate
        from trimtab.stages.bench import evidence

        special: Any = result.facts.get("certificate", {})
        write_certificate(result, output.certificate, {**evidence(files), **special})
    if output.manifests is not None:
        _write_manifests(result, output.manifests)
    if output.as_json:
        print_json({"command": result.stage, **stage_json(result)})
    else:
        print_stage(result)


def _write_manifests(result: StageResult, folder: Path) -> None:
    made: Any = result.facts["manifests"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TargetError(f"{folder} cannot be made: {error.strerror}", hint="name another --manifests") from None
    for name, text in made.items():
        write_whole(folder / name, text)


def scale(trace: Path, budget: float, target: str, output: Output) -> None:
    """`trimtab scale traffic.csv`; target: the Deployment that manifests are for."""
    from trimtab.stages.scale import scale_file

    finish(scale_file(trace, budget, target), [trace], output)


def idle(calls: Path, function: str, load_seconds: float, budget: float, output: Output) -> None:
    """`trimtab scale calls.csv --to-zero`."""
    from trimtab.stages.idle import idle_file

    finish(idle_file(calls, function, load_seconds, budget), [calls], output)


def balance(requests: Path, shape: tuple[int, int, int], speeds: str, load: float, output: Output) -> None:
    """`trimtab balance requests.csv`; shape: backends, routers, slots of a backend."""
    from trimtab.inference.balancing.measure import Fleet
    from trimtab.stages.balance import balance_file, on

    finish(balance_file(requests, on(Fleet(*shape), speeds), load=load), [requests], output)


def rightsize(usage: Path, risk: float, patches: Path | None, budget: float, output: Output) -> None:
    """`trimtab rightsize usage.csv`."""
    from trimtab.stages.rightsize import rightsize_file

    finish(rightsize_file(usage, risk=risk, out=patches, budget=budget), [usage], output)


def schedule(jobs: Path, cluster: Path, budget: float, output: Output) -> None:
    """`trimtab schedule jobs.csv`."""
    from trimtab.stages.schedule import schedule_file

    finish(schedule_file(jobs, cluster, budget), [jobs, cluster], output)


def pack(pods: Path, nodes: Path, budget: float, output: Output) -> None:
    """`trimtab pack pods.csv`."""
    from trimtab.stages.pack import pack_files

    finish(pack_files(pods, nodes, budget), [pods, nodes], output)


def forecast(trace: Path, hours: float, ahead: Path | None, budget: float, output: Output) -> None:
    """`trimtab forecast traffic.csv`."""
    from trimtab.stages.forecast import forecast_file

    finish(forecast_file(trace, hours, ahead, budget), [trace], output)


def defer(
    series: Path,
    job: tuple[float, float, bool],
    picked: tuple[str, str],
    ahead: tuple[Path, str] | None,
    output: Output,
) -> None:
    """`trimtab defer series.csv`; job: hours, within which, in one piece; picked: column, rows; ahead: file, rows."""
    from trimtab.cluster.deferring.series import Source
    from trimtab.stages.defer import defer_file

    (hours, within, is_whole), (column, rows) = job, picked
    beside = None if ahead is None else Source(str(ahead[0]), "", ahead[1])
    result = defer_file(Source(str(series), column, rows), hours, within, is_whole=is_whole, ahead=beside)
    finish(result, [series] if ahead is None else [series, ahead[0]], output)


def spot(traces: list[Path], job: tuple[float, float, float, float], output: Output) -> None:
    """`trimtab spot trace.json`; job: hours of work, hours until the deadline, hours a start, price of spot."""
    from trimtab.cluster.deferring.spot import Job
    from trimtab.stages.defer import spot_files

    finish(spot_files(traces, (Job(*job),)), traces, output)


def fetch(query: RangeQuery, to: Path) -> None:
    """`trimtab fetch http://localhost:9090 --query …`."""
    from trimtab.adapters.sources.prometheus import fetched

    text, rows = fetched(query, os.environ.get("TRIMTAB_PROMETHEUS_TOKEN", ""))
    write_whole(to, text)
    out.print(f"wrote {rows:,} rows to {to}", markup=False)
