"""schedule, composed: the user's job log replayed; foresight, tenants, cluster sizes and a Gantt beside the choice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trimtab.adapters.runners.local import LocalRunner
from trimtab.adapters.sandbox import Confinement
from trimtab.adapters.sources.tables import fingerprint
from trimtab.cluster.scheduling.cluster import read_cluster
from trimtab.cluster.scheduling.manifests import manifests
from trimtab.cluster.scheduling.measure import History, Replay, keep_predictions, replayed
from trimtab.cluster.scheduling.plan import CLASSICAL, SchedulingPlan
from trimtab.cluster.scheduling.problem import Scheduling, library
from trimtab.core.errors import InputError
from trimtab.core.model import Decision, Json
from trimtab.core.ports import Limits
from trimtab.pipeline import Row, StageResult
from trimtab.stages.bench import decided, open_bench, programs
from trimtab.stages.deciding import author, chosen_plan, gain_text, method
from trimtab.views import decision_view

SEARCH_SECONDS = 15.0  # CPU time; 100,000 jobs are answered within a minute
LIMITS = Limits(cpu_seconds=120.0, wall_seconds=600.0, memory_bytes=4 * 2**30)  # of one measurement
SIZES = (0.7, 0.8, 0.9, 0.95, 1.0, 1.1, 1.25)
SHOWN_TENANTS = 12
SHOWN_JOBS, SHOWN_HOURS = 30, 48.0
MOST_SEGMENTS = 2_000_000


@dataclass(frozen=True)
class Size:
    """Mean hours a job on a cluster of another size, by today's policy and the chosen one; None: jobs do not fit."""

    factor: float
    gpus: int
    dollars_a_month: float
    hours: Mapping[str, float] | None


def schedule_file(jobs: Path, cluster: Path, budget: float = SEARCH_SECONDS) -> StageResult:
    """`trimtab schedule jobs.csv --cluster cluster.toml`. Raises InputError."""
    found = read_cluster(cluster, tuple(CLASSICAL))
    history = History(str(jobs.resolve()), found, fingerprint(jobs))
    _check(history)
    with open_bench("schedule") as bench:
        key = hashlib.sha256(repr((history.fingerprint, found)).encode()).hexdigest()[:16]
        made = bench.store / f"durations-{key}.npz"
        if not made.exists():
            keep_predictions(history, made)
        problem = Scheduling(replace(history, made=str(made)))
        with confined(problem) as runner:
            decision = decided(problem, programs(library, bench), bench, runner, LIMITS, budget)
    return _result(problem, decision)


def confined(problem: Scheduling) -> LocalRunner:
    """A runner for programs that nobody has reviewed: the log and the predictions can be read, and nothing written."""
    reads = (problem.history.source, problem.history.made)
    warm = ("trimtab.cluster.scheduling.problem:warm",)
    return LocalRunner(confinement=Confinement(reads, (Scheduling.__module__,), warm))


def _check(history: History) -> None:
    """Raise InputError where a half holds too few jobs to be compared on."""
    for half in ("search", "holdout"):
        rows = history.rows("search" if half == "search" else "holdout")
        if rows.stop - rows.start < 100:
            raise InputError(
                f"{history.source}: {rows.stop - rows.start} jobs in a half of the time are too few",
                hint="a log of more jobs, spread over its time, is needed",
            )


def _result(problem: Scheduling, decision: Decision[SchedulingPlan]) -> StageResult:
    plan, history = chosen_plan(decision), problem.history
    plans = {**problem.baselines(), "chosen": plan}
    made = problem.replays(plans)
    sizes = _sizes(history, problem.current, plan, made)
    best, chosen, current = (_hours(made[name]) for name in ("foresight", "chosen", "current"))
    row = Row(
        current=history.cluster.current,
        chosen=_plan_text(plan),
        saving=f"{gain_text(decision, problem.objective)}; {chosen / best:.2f} × foresight",
        method=method(decision),
        by=author(decision),
    )
    facts: dict[str, Json] = {
        "hours": {name: _hours(one) for name, one in made.items()},
        "to_foresight": {name: _hours(one) / best for name, one in made.items()},
        "preemptions": {name: float(one.preempted.mean()) for name, one in made.items()},
        "plan": {"order": plan.order, "preempts": plan.preempts, "review_seconds": plan.review_seconds},
        "program": plan.program.strip() + "\n",
        "manifests": dict(manifests(history, plan, "".join(str(one) for one in _size_notes(sizes, current)))),
        "notes": [
            f"On the unseen half a job is done {chosen:.2f} h after it was submitted, in the mean; by today's policy "
            f"{current:.2f} h, with foresight {best:.2f} h: {chosen / best:.3f} × foresight, at "
            f"{made['chosen'].preempted.mean():.2f} preemptions a job.",
            *_size_notes(sizes, current),
        ],
        "tables": [_policies_table(made), _tenants_table(history, made), _sizes_table(sizes)],
        "plots": [_bars(made), _gantt(history, plan)],
    }
    findings: list[dict[str, Json]] = [
        {"kind": kind, "column": column, "message": message} for kind, column, message in history.log.findings
    ]
    if history.unfit:
        message = f"{history.unfit:,} jobs ask for more GPUs than a group or a quota has: they are left out"
        findings.append({"kind": "left out", "column": "gpus", "message": message})
    view = decision_view(decision, problem.objective)
    return StageResult("schedule", row, view, facts, tuple(findings), decision.spent)


def _hours(made: Replay) -> float:
    return float(made.taken.mean()) / 3600


def _plan_text(plan: SchedulingPlan) -> str:
    named = next((name for name, one in CLASSICAL.items() if one == plan), "")
    if named:
        return named
    does = "preempts" if plan.preempts else "never preempts"
    return f"program of {len(plan.program.strip().splitlines())} lines, {plan.order}, {does}"


def _policies_table(made: Mapping[str, Replay]) -> Json:
    best = _hours(made["foresight"])
    rows: list[Json] = [
        [
            name,
            f"{_hours(one):.2f}",
            f"{_hours(one) / best:.3f}",
            f"{one.waited.mean() / 3600:.2f}",
            f"{np.quantile(one.waited, 0.95) / 3600:.2f}",
            f"{one.preempted.mean():.2f}",
        ]
        for name, one in made.items()
    ]
    head: Json = ["policy", "hours a job", "÷ foresight", "waited", "95 % waited less than", "preemptions a job"]
    return {"title": "Every policy on the unseen half, hours", "head": head, "rows": rows}


def _tenants_table(history: History, made: Mapping[str, Replay]) -> Json:
    log, rows = history.log, made["chosen"].rows
    codes = log.codes("tenant")[rows]
    names = log.words["tenant"][1] if "tenant" in log.words else ("all",)
    used = np.bincount(codes, weights=log.duration[rows] * log.gpus[rows], minlength=len(names)) / 3600
    table: list[Json] = []
    for code in np.argsort(-used)[:SHOWN_TENANTS]:
        mine = codes == code
        if mine.any():
            before, after = (made[name].waited[mine].mean() / 3600 for name in ("current", "chosen"))
            table.append(
                [names[code] or "(none)", f"{mine.sum():,}", f"{used[code]:,.0f}", f"{before:.2f}", f"{after:.2f}"]
            )
    head: Json = ["tenant", "jobs", "GPU-hours", "waits today", "waits by the choice"]
    return {"title": "Hours waited in the mean, by tenant, unseen half", "head": head, "rows": table}


def _sizes(
    history: History, current: SchedulingPlan, plan: SchedulingPlan, made: Mapping[str, Replay]
) -> tuple[Size, ...]:
    """The unseen half on smaller and larger clusters; durations are predicted as on today's."""
    found = []
    for factor in SIZES:
        cluster = history.cluster.resized(factor)
        resized, hours = replace(history, cluster=cluster), None
        if factor == 1.0:
            hours = {name: _hours(made[name]) for name in ("current", "chosen")}
        elif _fits(resized, history):
            hours = {
                "current": _hours(replayed(resized, current, "holdout")),
                "chosen": _hours(replayed(resized, plan, "holdout")),
            }
        found.append(Size(factor, cluster.gpus, cluster.dollars_a_month, hours))
    return tuple(found)


def _fits(resized: History, history: History) -> bool:
    try:
        return resized.unfit == history.unfit
    except InputError:
        return False


def _size_notes(sizes: tuple[Size, ...], now: float) -> list[Json]:
    """The smallest cluster on which the chosen policy is as fast as today's is on all of it."""
    full = next(one for one in sizes if one.factor == 1.0)
    smaller = [one for one in sizes if one.gpus < full.gpus]
    enough = [one for one in smaller if one.hours is not None and one.hours["chosen"] <= now]
    if not enough:
        return []
    least = enough[0]
    money = full.dollars_a_month - least.dollars_a_month
    saved = f", ${money:,.0f} a month less" if money > 0 else ""
    return [
        f"By the chosen policy {least.gpus:,} of {full.gpus:,} GPUs would have been as fast as all of them are "
        f"today{saved} (replayed on the unseen half)."
    ]


def _sizes_table(sizes: tuple[Size, ...]) -> Json:
    rows: list[Json] = []
    for one in sizes:
        hours = ["jobs do not fit"] * 2
        if one.hours is not None:
            hours = [f"{one.hours['current']:.2f}", f"{one.hours['chosen']:.2f}"]
        rows.append([f"{one.factor:.0%}", f"{one.gpus:,}", f"{one.dollars_a_month:,.0f}", *hours])
    head: Json = ["nodes", "GPUs", "$ a month", "hours a job today", "by the choice"]
    return {"title": "What if the cluster had another size, unseen half", "head": head, "rows": rows}


def _bars(made: Mapping[str, Replay]) -> Json:
    marks = {"current": "current", "chosen": "chosen"}
    rows: list[Json] = [
        {"label": name, "value": _hours(one), "mark": marks.get(name, "")} for name, one in made.items()
    ]
    return {"kind": "bars", "title": "Hours a job, unseen half", "unit": "h", "rows": rows, "log": True}


def _gantt(history: History, plan: SchedulingPlan) -> Json:
    """The largest jobs of the busiest two days by the chosen policy: when they waited and when they ran."""
    made = replayed(history, plan, "holdout", segments=min(MOST_SEGMENTS, 20 * len(history.log)))
    log, hours = history.log, made.segments[:, 1:3] / 3600
    jobs = made.segments[:, 0].astype(int)
    ends = (made.submit + made.taken) / 3600
    waiting = np.histogram(made.submit / 3600, np.arange(0, made.submit[-1] / 3600 + SHOWN_HOURS, SHOWN_HOURS))[0]
    first = float(np.argmax(waiting)) * SHOWN_HOURS
    last = first + SHOWN_HOURS
    size = np.zeros(len(made.taken))
    inside = np.maximum(0.0, np.minimum(hours[:, 1], last) - np.maximum(hours[:, 0], first))
    np.add.at(size, jobs, inside * log.gpus[made.rows][jobs])
    began = (made.submit / 3600 >= first) & (made.submit / 3600 < last)
    shown = [int(job) for job in np.argsort(-np.where(began, size, 0.0))[:SHOWN_JOBS] if size[job] > 0]
    names = log.words["tenant"][1] if "tenant" in log.words else ("",)
    tenants = log.codes("tenant")[made.rows]
    rows: list[Json] = []
    for job in sorted(shown, key=lambda one: made.submit[one]):
        runs: list[Json] = [[float(low), float(min(high, last))] for low, high in hours[jobs == job] if low < last]
        until = float(min(ends[job], last))
        label = f"{names[tenants[job]]} · {log.gpus[made.rows][job]} GPUs"
        rows.append({"label": label, "from": float(made.submit[job]) / 3600, "until": until, "runs": runs})
    title = f"Gantt of the {len(rows)} largest jobs of the busiest two days, by the choice: pale where they wait"
    return {"kind": "gantt", "title": title, "x_label": "hours of the unseen half", "rows": rows}
