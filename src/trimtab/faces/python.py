"""The Python API: one function a verb."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trimtab import app
from trimtab.core.events import Decided, Event, Recorded
from trimtab.faces.report import write_report
from trimtab.initialise import Guess, write_config
from trimtab.pipeline import StageResult

Where = str | Path


def run(place: Where = ".", *, with_model: bool = True) -> tuple[app.Run, Path]:
    """Run every stage of a pipeline; what has not changed is taken from the ledger. Returns it with its report."""
    made = app.run(Path(place), with_model=with_model)
    return made, write_report(made.workplace, made.results, made.workplace.store / "report.html")


def check(place: Where = ".", *, target: str = "", with_model: bool = True) -> StageResult:
    """Profile a table, find what is wrong or leaking, judge repairs."""
    return app.run_stage("check", Path(place), target=target, with_model=with_model)


def tune(place: Where = ".", *, target: str = "", with_model: bool = True) -> StageResult:
    """Choose the model and its hyper-parameters."""
    return app.run_stage("tune", Path(place), target=target, with_model=with_model)


def shrink(
    place: Where = ".",
    *,
    target: str = "",
    model: str | None = None,
    tolerance: float | None = None,
    requests: float | None = None,
    budget: float | None = None,
    with_model: bool = True,
) -> StageResult:
    """Choose a smaller model in the place of what `tune` chose, or of today's ("file.py:function").

    `tolerance`: of the metric; `requests`: a month, priced as configured; None: as configured.
    """
    terms = app.Terms(model, tolerance, requests, budget)
    return app.shrink(Path(place), target=target, terms=terms, with_model=with_model)


def convert(place: Where = ".", *, with_model: bool = True) -> StageResult:
    """Choose the form in which the model is served."""
    return app.run_stage("convert", Path(place), with_model=with_model)


def package(place: Where = ".", *, with_model: bool = True) -> StageResult:
    """Write a service around the model, and verify it by running it."""
    return app.run_stage("package", Path(place), with_model=with_model)


def drift(place: Where = ".", *, with_model: bool = True) -> StageResult:
    """Replay production: which columns moved, how good the model really is."""
    return app.run_stage("drift", Path(place), with_model=with_model)


def retrain(place: Where = ".", *, with_model: bool = True) -> StageResult:
    """Choose when to train again."""
    return app.run_stage("retrain", Path(place), with_model=with_model)


def scale(place: Where = ".", *, with_model: bool = True) -> StageResult:
    """Choose the replica policy."""
    return app.run_stage("scale", Path(place), with_model=with_model)


def forecast(trace: Where, *, hours: float = 24.0, out: Where | None = None, budget: float = 20.0) -> StageResult:
    """Forecast a trace with intervals whose coverage was measured on unseen time; `out`: a .csv to write."""
    from trimtab.stages.forecast import forecast_file

    return forecast_file(Path(trace), hours, None if out is None else Path(out), budget)


def schedule(jobs: Where, cluster: Where, *, budget: float = 15.0) -> StageResult:
    """Choose which job runs next on a GPU cluster, by replaying a job log."""
    from trimtab.stages.schedule import schedule_file

    return schedule_file(Path(jobs), Path(cluster), budget)


def pack(pods: Where, nodes: Where, *, budget: float = 60.0) -> StageResult:
    """Choose on which node and GPU a pod goes."""
    from trimtab.stages.pack import pack_files

    return pack_files(Path(pods), Path(nodes), budget)


def rightsize(usage: Where, *, risk: float = 0.05, out: Where | None = None, budget: float = 60.0) -> StageResult:
    """Choose requests for CPU and memory at a stated risk; patches into `out`."""
    from trimtab.stages.rightsize import rightsize_file

    return rightsize_file(Path(usage), risk=risk, out=None if out is None else Path(out), budget=budget)


def defer(
    series: Where, *, hours: float = 4.0, within: float = 24.0, column: str = "", rows: str = "", whole: bool = False
) -> StageResult:
    """Choose when work runs that may wait, by replaying prices or carbon intensities."""
    from trimtab.cluster.deferring.series import Source
    from trimtab.stages.defer import defer_file

    return defer_file(Source(str(series), column, rows), hours, within, is_whole=whole)


def spot(
    traces: Sequence[Where], *, hours: float = 48.0, within: float = 70.0, overhead: float = 0.1, price: float = 0.32
) -> StageResult:
    """Choose what jobs with a deadline run on, spot or on demand."""
    from trimtab.cluster.deferring.spot import Job
    from trimtab.stages.defer import spot_files

    return spot_files([Path(one) for one in traces], (Job(hours, within, overhead, price),))


def balance(
    requests: Where, *, backends: int = 8, routers: int = 1, slots: int = 1, speeds: str = "1", load: float = 0.0
) -> StageResult:
    """Choose the routing policy, by replaying a request log."""
    from trimtab.inference.balancing.measure import Fleet
    from trimtab.stages.balance import balance_file, on

    return balance_file(Path(requests), on(Fleet(backends, routers, slots), speeds), load=load)


def init(table: Where, target: str, folder: Where = ".", *, force: bool = False) -> tuple[Path, tuple[Guess, ...]]:
    """Write a commented trimtab.toml; returns it with what was guessed."""
    return write_config(Path(table), target, Path(folder), force=force)


def history(folder: Where = ".") -> list[Recorded[Decided]]:
    """All decisions, newest first."""
    return app.history(Path(folder))


def show(decision: str, folder: Where = ".") -> list[Recorded[Event]]:
    """Everything behind one decision, oldest first."""
    return app.trail(Path(folder), decision)


def apply(decision: str, folder: Where = ".") -> tuple[str, Path]:
    """Apply a decision's plan, reversibly; returns the change's id and the file."""
    return app.apply_decision(Path(folder), decision)


def revert(decision: str, folder: Where = ".") -> tuple[str, Path]:
    """Put back what stood before a decision was applied."""
    return app.revert_decision(Path(folder), decision)


def verify(folder: Where = ".") -> tuple[int | None, int, str]:
    """The ledger's first broken position (None: whole), its length and the hash of its head."""
    return app.verify(Path(folder))
