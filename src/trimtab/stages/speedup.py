"""`trimtab speedup train.py`: the script, its versions, and the diff of the one that costs least."""

from __future__ import annotations

import difflib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.core.budget import Meter
from trimtab.core.errors import InputError
from trimtab.core.loop import optimize
from trimtab.core.model import Comparison, Decision, Json, Refusal, Trial
from trimtab.core.ports import Proposer
from trimtab.core.wire import load
from trimtab.pipeline import Row, StageResult
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Derived, Rules
from trimtab.stages.bench import open_bench
from trimtab.stages.deciding import author, chosen_plan, gain_text, method, require_decided
from trimtab.training.scripts.editing import Edits
from trimtab.training.scripts.metric import goal_of
from trimtab.training.scripts.patches import patched
from trimtab.training.scripts.plan import CURRENT, PatchPlan
from trimtab.training.scripts.problem import HOLDOUT_SEEDS, Speedup, speeding
from trimtab.training.scripts.proposing import NAME, describe, each, first, kind, together
from trimtab.training.scripts.running import Script
from trimtab.views import decision_view

RUNS = 40.0  # of the script, that the search may cost where no budget is given
CHECK_RUNS = 6.0 * HOLDOUT_SEEDS  # current, version and reference of each seed, for two finalists


@dataclass(frozen=True, slots=True)
class Order:
    """What to make cheaper: the script with its arguments, the metric it is judged by, what the search may cost."""

    script: Path
    metric: str
    goal: str = ""
    arguments: tuple[str, ...] = ()
    tolerance: float = 0.02
    budget: float = 0.0  # CPU seconds; 0: so many runs
    python: str = sys.executable


def speedup(order: Order, more: Proposer | None = None) -> StageResult:
    """Find a cheaper version of a script. `more`: another proposer, asked after the known patches.

    Raises InputError for what cannot be run or judged; nothing is changed.
    """
    if not 0 <= order.tolerance < 1 or order.budget < 0:
        raise InputError("a tolerance is a share, a budget is CPU seconds", hint="--tolerance 0.02 --budget 600")
    if order.metric == "" or not order.script.is_file():
        raise InputError(f"{order.script} is no file", hint="trimtab speedup train.py --metric loss")
    goal_of(order.metric, order.goal)
    script = Script(str(order.script.resolve()), order.arguments, order.metric, order.python)
    with open_bench("speedup", Edits) as bench:
        problem, notes = speeding(script, cache=bench.store / "cache", goal=order.goal, tolerance=order.tolerance)
        one_run = problem.reference(0).spent.cpu_seconds
        members = [Rules(NAME, first), Rules(NAME, each), *([more] if more is not None else [])]
        decision = optimize(
            problem,
            Portfolio(*members, derived=Derived(NAME, together), language=bench.language),
            search=Meter(cpu_seconds=order.budget or RUNS * one_run, tokens=100_000),
            check=Meter(cpu_seconds=max(order.budget, CHECK_RUNS * one_run)),
            ledger=bench.ledger,
        )
    require_decided(problem, decision)
    return _result(problem, decision, notes)


def version_of(problem: Speedup, plan: Json) -> str:
    """The script's text after a decision's plan, as the ledger holds it."""
    return patched(problem.source, load(PatchPlan, plan))


def _result(problem: Speedup, decision: Decision[PatchPlan], notes: list[str]) -> StageResult:
    plan = chosen_plan(decision)
    text, name = patched(problem.source, plan), Path(problem.script.path).name
    before = Path(problem.script.path).read_text(encoding="utf-8")
    diff = "".join(difflib.unified_diff(before.splitlines(True), text.splitlines(True), name, f"{name} (cheaper)"))
    row = Row(
        current=name,
        chosen=describe(plan) if plan != CURRENT else "as it is",
        saving=_saving(decision, problem),
        method=method(decision),
        by=author(decision),
    )
    facts: dict[str, Json] = {
        "plan": {"patches": list(plan.patches), "edits": [{"before": e.before, "after": e.after} for e in plan.edits]},
        "notes": [*notes, *_notes(decision, problem)],
        "diff": diff,
        "text": text,
        "tables": [_table(decision, problem.objective.unit)],
    }
    return StageResult("speedup", row, decision_view(decision, problem.objective), facts, (), decision.spent)


def _saving(decision: Decision[PatchPlan], problem: Speedup) -> str:
    said = gain_text(decision, problem.objective)
    if decision.winner is None or not isinstance(decision.winner.verdict, Comparison):
        return said
    now, before = decision.winner.verdict.metrics, decision.winner.verdict.reference
    sign = 1 if problem.goal_of_metric == "min" else -1
    return (
        f"{said}; {before['wall_seconds']:.3g} → {now['wall_seconds']:.3g} s, {problem.script.metric} "
        f"{sign * before['loss']:.4g} → {sign * now['loss']:.4g}"
    )


def _notes(decision: Decision[PatchPlan], problem: Speedup) -> list[str]:
    winner = decision.winner
    if winner is None or not isinstance(winner.verdict, Comparison):
        return ["no version was cheaper beyond doubt, no slower and as good"]
    saved = winner.verdict.reference[problem.cost] - winner.verdict.metrics[problem.cost]
    spent = decision.spent.wall_seconds if problem.is_on_gpu else decision.spent.cpu_seconds
    what = "s" if problem.is_on_gpu else "CPU-s"
    equal = kind(winner.proposal.plan)
    return [
        f"the search cost {spent:.0f} {what}: it has paid for itself after {spent / max(saved, 1e-9):,.0f} runs",
        f"its result is {equal}: on {HOLDOUT_SEEDS} shifts of its seeds that nothing was chosen on",
    ]


def _table(decision: Decision[PatchPlan], unit: str) -> Json:
    rows: list[Json] = [[describe(one.proposal.plan), one.proposal.by, _verdict(one)] for one in decision.trials]
    return {"title": "Versions, on the search's seeds", "head": ["version", "by", unit], "rows": rows}


def _verdict(trial: Trial[Any]) -> str:
    match trial.verdict:
        case Comparison(ruling="unsafe", gain=gain, reason=reason):
            return f"{gain.mid:+.1%} saved, but {reason}"
        case Comparison(gain=gain):
            return f"{gain.mid:+.1%} saved ({gain.low:+.1%} to {gain.high:+.1%})"
        case Refusal(reason=reason):
            return f"refused: {reason[:120]}"
    return ""
