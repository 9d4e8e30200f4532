"""defer, composed: the user's series or spot traces replayed; foresight and the usual policies beside the choice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from trimtab.adapters.files import make_store
from trimtab.adapters.runners.local import LocalRunner
from trimtab.adapters.sandbox import Confinement
from trimtab.adapters.sources.tables import fingerprint, require_file
from trimtab.cluster.deferring.forecasts import KINDS
from trimtab.cluster.deferring.measure import Hours, Known, Ran, Waited, keep_forecasts, market_of, ran, waited
from trimtab.cluster.deferring.problem import Deferring, Spot, spot_library, window_library
from trimtab.cluster.deferring.series import Market, Source, read_availability
from trimtab.cluster.deferring.spot import Job
from trimtab.cluster.deferring.windows import Work
from trimtab.core.errors import InputError
from trimtab.core.model import Decision, Json
from trimtab.core.ports import Limits, Problem
from trimtab.pipeline import Row, StageResult
from trimtab.stages.bench import decided, open_bench, programs
from trimtab.stages.deciding import Ideas, author, chosen_plan, gain_text, method
from trimtab.views import decision_view

P = TypeVar("P")

SEARCH_SECONDS = 60.0  # CPU time
LIMITS = Limits(cpu_seconds=120.0, wall_seconds=600.0, memory_bytes=4 * 2**30)  # of one measurement


def defer_file(
    series: Source, hours: float, within: float, *, is_whole: bool = False, ahead: Source | None = None
) -> StageResult:
    """`trimtab defer series.csv --hours 4 --within 24`: when work runs that may wait. Raises InputError."""
    known = Known(_stamped(series), None if ahead is None else _stamped(ahead))
    market = market_of(known.series)
    work = _work(hours, within, is_whole, market)
    store = make_store(Path.cwd())
    made = store / f"forecasts-{_key(known)}-{work.within}.npz"
    if not made.exists():
        keep_forecasts(known, work.within, made)
    problem = Deferring(Known(known.series, known.ahead, known.published_hour, str(made)), work)
    if len(market.values) < 2 * (problem.blocks + 1) * (work.within + market.day):
        raise InputError(
            f"{series.source}: too short for windows of {within:g} h", hint="a history of weeks or months is needed"
        )
    reads = tuple(one.source for one in (known.series, known.ahead) if one is not None)
    decision = _decided(problem, window_library, (*reads, str(made)))
    starts, plan = problem.unseen(), chosen_plan(decision)
    plans = {**problem.baselines(), "chosen": plan}
    made_by = {name: waited(one, problem.known, work, starts) for name, one in plans.items()}
    return _window_result(problem, decision, made_by)


def spot_files(traces: Sequence[Path], jobs: Sequence[Job]) -> StageResult:
    """`trimtab spot trace.json --hours 48 --within 70`: what jobs with a deadline run on. Raises InputError."""
    if not traces or not jobs:
        raise InputError("no trace or no job is given", hint="one trace of availability and one job at least")
    sources = tuple(str(one.resolve()) for one in traces)
    for one in traces:
        require_file(one)
    prints = "".join(fingerprint(one)[:12] for one in traces)
    problem = Spot(sources, tuple(jobs), fingerprint=prints)
    for job in jobs:
        if job.fault():
            raise InputError(job.fault(), hint="give the job more time, or less to do")
        for source in sources:
            _check_trace(source, job, problem.blocks)
    decision = _decided(problem, spot_library, sources)
    plans = {**problem.baselines(), "chosen": chosen_plan(decision)}
    made = {name: ran(one, sources, problem.jobs, Hours(True, problem.every_hours)) for name, one in plans.items()}
    return _spot_result(problem, decision, made)


def _decided(problem: Problem[P], library: Ideas, reads: tuple[str, ...]) -> Decision[P]:
    """Run the loop in confined workers, which can read these files only."""
    paths = tuple(str(Path(one).resolve()) for one in reads)
    warm = ("trimtab.cluster.deferring.measure:warm",)
    confinement = Confinement(paths, (Deferring.__module__,), warm)
    with open_bench(problem.name) as bench, LocalRunner(confinement=confinement) as runner:
        decision = decided(problem, programs(library, bench), bench, runner, LIMITS, SEARCH_SECONDS)
    return decision


def _stamped(source: Source) -> Source:
    path = Path(source.source)
    return Source(str(path.resolve()), source.column, source.rows, fingerprint(path))


def _key(known: Known) -> str:
    """What forecasts depend on, as a file's name."""
    return hashlib.sha256(repr((KINDS, known.series, known.ahead, known.published_hour)).encode()).hexdigest()[:16]


def _work(hours: float, within: float, is_whole: bool, market: Market) -> Work:
    """The work in steps of the market. Raises InputError."""
    if not (0 < hours <= within and np.isfinite(within)):
        raise InputError(f"{hours:g} h of work do not fit into {within:g} h", hint="--hours above 0, --within more")
    work = Work(max(1, round(hours * 3600 / market.step)), round(within * 3600 / market.step), is_whole)
    if work.fault():
        raise InputError(f"{work.fault()} (steps of {market.step:,} s)", hint="a shorter --within, or coarser steps")
    return work


def _check_trace(source: str, job: Job, blocks: int) -> None:
    """Raise InputError when a half of a trace holds no window of a job for each block."""
    found = read_availability(source)
    for is_second in (False, True):
        starts = Hours(is_second).starts(len(found.up), job.steps(found.step_hours), found.step_hours)
        fits = len(starts) and starts[-1] + job.steps(found.step_hours) <= len(found.up)
        if not fits or len(starts) < blocks:
            raise InputError(
                f"{source}: {len(found.up) * found.step_hours:.0f} h are too short for jobs of {job.deadline:g} h",
                hint="each half of a trace must hold several of them",
            )


def _window_result(problem: Deferring, decision: Decision[Any], made: Mapping[str, Waited]) -> StageResult:
    chosen, steps = made["chosen"], problem.work.steps
    plan = chosen_plan(decision)
    now, best = float(chosen.at_once.mean()) / steps, float(chosen.foresight.mean()) / steps
    means = {name: float(one.cost.mean()) / steps for name, one in made.items()}
    rows: list[Json] = [[name, f"{means[name]:.4g}", f"{one.captured:.1%}"] for name, one in made.items()]
    rows.append(["foresight", f"{best:.4g}", "100.0%"])
    head: Json = ["policy", "mean", "of foresight's saving"]
    facts: dict[str, Json] = {
        "captured": {name: one.captured for name, one in made.items()},
        "mean_at_once": now,
        "mean_of_foresight": best,
        "plan": {"forecast": plan.forecast, "program": plan.program},
        "program": plan.program.strip() + "\n",
        "notes": [
            f"On the unseen half, work that waits by this policy meets {means['chosen']:.4g} in the mean, at once "
            f"{now:.4g}, with foresight {best:.4g}: {chosen.captured:.1%} of what foresight would save "
            f"(forecast: {plan.forecast})."
        ],
        "tables": [{"title": "Every policy on the unseen half", "head": head, "rows": rows}],
        "plots": [_bars("Share of foresight's saving, unseen half", {n: one.captured for n, one in made.items()}, "")],
    }
    row = Row(
        current="at once",
        chosen=f"program of {len(plan.program.strip().splitlines())} lines, forecast: {plan.forecast}",
        saving=f"{gain_text(decision, problem.objective)}; {1 - means['chosen'] / now:.1%} less than at once",
        method=method(decision),
        by=author(decision),
    )
    return StageResult("defer", row, decision_view(decision, problem.objective), facts, (), decision.spent)


def _spot_result(problem: Spot, decision: Decision[Any], made: Mapping[str, Ran]) -> StageResult:
    chosen, plan = made["chosen"], chosen_plan(decision)
    best = float(chosen.foresight.mean())
    rows: list[Json] = [
        [name, f"{float(one.cost.mean()):.2f}", f"{one.to_foresight:.3f}", str(one.late)] for name, one in made.items()
    ]
    rows.append(["foresight", f"{best:.2f}", "1.000", "0"])
    head: Json = ["policy", "on-demand hours a job", "÷ foresight", "late"]
    facts: dict[str, Json] = {
        "to_foresight": {name: one.to_foresight for name, one in made.items()},
        "mean_of_foresight": best,
        "late": chosen.late,
        "plan": {"program": plan.program},
        "program": plan.program.strip() + "\n",
        "notes": [
            f"On the unseen half a job costs {float(chosen.cost.mean()):.2f} on-demand hours in the mean, "
            f"{chosen.to_foresight:.3f} × the foresight optimum ({best:.2f}); {chosen.late} of {len(chosen.cost):,} "
            "windows (which overlap) miss the deadline: a shield outside the program sees to it."
        ],
        "tables": [{"title": "Every policy on the unseen half", "head": head, "rows": rows}],
        "plots": [_bars("Cost ÷ foresight, unseen half", {n: one.to_foresight for n, one in made.items()}, "")],
    }
    row = Row(
        current="on demand",
        chosen=f"program of {len(plan.program.strip().splitlines())} lines",
        saving=f"{gain_text(decision, problem.objective)}; {chosen.to_foresight:.3f} × foresight",
        method=method(decision),
        by=author(decision),
    )
    return StageResult("spot", row, decision_view(decision, problem.objective), facts, (), decision.spent)


def _bars(title: str, values: Mapping[str, float], unit: str) -> Json:
    marks = {"current": "current", "chosen": "chosen"}
    rows: list[Json] = [{"label": name, "value": one, "mark": marks.get(name, "")} for name, one in values.items()]
    return {"kind": "bars", "title": title, "unit": unit, "rows": rows}
