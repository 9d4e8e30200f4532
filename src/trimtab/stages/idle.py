"""scale to zero, composed: the user's calls under the known rules and the chosen one, and when the world differs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trimtab.adapters.programs import compile_program
from trimtab.adapters.runners.local import LocalRunner
from trimtab.adapters.sandbox import Confinement
from trimtab.adapters.sources.tables import fingerprint
from trimtab.cluster.idling.plan import IdlingPlan
from trimtab.cluster.idling.problem import Idling, least_hours, library
from trimtab.cluster.idling.simulator import WARM, Series, replay
from trimtab.core.model import Decision, Json
from trimtab.core.ports import Limits
from trimtab.pipeline import Row, StageResult
from trimtab.stages.bench import decided, open_bench, programs
from trimtab.stages.deciding import author, chosen_plan, gain_text, method
from trimtab.views import decision_view

SEARCH_SECONDS = 60.0  # CPU time
LIMITS = Limits(cpu_seconds=60.0, wall_seconds=300.0, memory_bytes=2 * 2**30)  # of one measurement


def idle_file(
    calls: Path, function: str = "", load_seconds: float = 30.0, budget: float = SEARCH_SECONDS
) -> StageResult:
    """`trimtab scale calls.csv --to-zero`. Raises InputError."""
    problem = Idling(str(calls.resolve()), function, load_seconds, fingerprint=fingerprint(calls))
    problem.calls  # noqa: B018  what is wrong with the input is said before anything is spent
    with open_bench(problem.name) as bench, confined(problem) as runner:
        decision = decided(problem, programs(library, bench), bench, runner, LIMITS, budget)
    return _result(problem, decision)


def confined(problem: Idling) -> LocalRunner:
    """A runner for programs that nobody has reviewed: the calls can be read, and nothing written."""
    warm = ("trimtab.cluster.idling.problem:warm",)
    return LocalRunner(confinement=Confinement((problem.source,), (Idling.__module__,), warm))


def _result(problem: Idling, decision: Decision[IdlingPlan]) -> StageResult:
    plan, rows = chosen_plan(decision), problem.rows("holdout")
    made = {name: problem.outcome(one, rows) for name, one in {**problem.baselines(), "chosen": plan}.items()}
    (before, was), (after, cold) = made["current"], made["chosen"]
    least = least_hours(problem, rows, was)
    row = Row(
        current="5 minutes after every answer",
        chosen=f"program of {len(plan.program.strip().splitlines())} lines" if decision.winner else "unchanged",
        saving=f"{gain_text(decision, problem.objective)}; {cold:.1%} cold starts, {was:.1%} before",
        method=method(decision),
        by=author(decision),
    )
    facts: dict[str, Json] = {
        "idle_hours": {name: hours for name, (hours, _) in made.items()},
        "cold_share": {name: share for name, (_, share) in made.items()},
        "least_idle_hours": least,
        "program": plan.program.strip() + "\n",
        "notes": [
            f"On the unseen half replicas are idle {after:,.1f} hours by the chosen rule, {before:,.1f} by today's, "
            f"with {cold:.2%} and {was:.2%} of the calls cold. Who keeps or lets go knowing what comes, and loads "
            f"nothing ahead of a call, needs {least:,.1f} at today's share."
        ],
        "tables": [_table(made, least, was), _perturbed(problem, plan)],
        "plots": [_bars(made)],
    }
    return StageResult("scale", row, decision_view(decision, problem.objective), facts, (), decision.spent)


def _table(made: Mapping[str, tuple[float, float]], least: float, cold: float) -> Json:
    rows: list[Json] = [[name, f"{hours:,.1f}", f"{share:.2%}"] for name, (hours, share) in made.items()]
    rows.append(["foresight, nothing loaded ahead", f"{least:,.1f}", f"{cold:.2%}"])
    head: Json = ["rule", "idle replica-hours", "cold starts"]
    return {"title": "Every rule, unseen half", "head": head, "rows": rows}


def _perturbed(problem: Idling, plan: IdlingPlan) -> Json:
    """The chosen rule and today's on the unseen half when the world differs from the log."""
    calls, rng = problem.calls, np.random.default_rng(0)
    noise = rng.lognormal(0.0, 0.3, len(calls.gaps))
    worlds: dict[str, tuple[Series, float]] = {
        "as it was": (calls.gaps, problem.load_seconds),
        "calls a third rarer": (calls.gaps * 1.5, problem.load_seconds),
        "calls half as rare": (calls.gaps * 0.5, problem.load_seconds),
        "idle times jittered by 30 %": (calls.gaps * noise, problem.load_seconds),
        "loading takes twice as long": (calls.gaps, 2 * problem.load_seconds),
    }
    rows: list[Json] = []
    for name, (gaps, load) in worlds.items():
        figures = [_in_world(problem, one, gaps, load) for one in (plan, problem.current)]
        rows.append([name, *(text for hours, cold in figures for text in (f"{hours:,.1f}", f"{cold:.2%}"))])
    head: Json = ["when", "idle replica-hours", "cold starts", "today's: idle replica-hours", "cold starts"]
    return {"title": "The chosen rule when the world differs, unseen half", "head": head, "rows": rows}


def _in_world(problem: Idling, plan: IdlingPlan, gaps: Series, load_seconds: float) -> tuple[float, float]:
    calls, rows = problem.calls, problem.rows("holdout")
    made = replay(calls.starts, gaps, calls.who, load_seconds, compile_program(plan.program, WARM))[rows]
    ended = gaps[rows] >= 0
    return float(made[:, 0].sum()) / 3600, float(made[ended, 1].mean())


def _bars(made: Mapping[str, tuple[float, float]]) -> Json:
    marks = {"current": "current", "chosen": "chosen"}
    rows: list[Json] = [
        {"label": f"{name}, {cold:.1%} cold", "value": hours, "mark": marks.get(name, "")}
        for name, (hours, cold) in made.items()
    ]
    return {"kind": "bars", "title": "Idle replica-hours, unseen half", "unit": "h", "rows": rows}
