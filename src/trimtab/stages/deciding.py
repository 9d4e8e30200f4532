"""What every deciding stage shares: running the loop with the pipeline's budgets, and saying in words what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from trimtab.adapters.sources.dataset import DataSpec
from trimtab.core import portable
from trimtab.core.budget import Meter
from trimtab.core.errors import InputError, OutsideError
from trimtab.core.loop import optimize
from trimtab.core.model import (
    Brief,
    Comparison,
    Decision,
    Failure,
    Json,
    Measurement,
    Objective,
    Proposal,
    Sample,
    Trial,
)
from trimtab.core.ports import Problem, Proposer, Runner
from trimtab.pipeline import Results
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.recall import Recall
from trimtab.proposers.rules import Rules
from trimtab.proposers.search import Search
from trimtab.workplace import Workplace

P = TypeVar("P")
CHECK_SHARE = 3.0  # of the search budget: confirmation may train the current model once more, however slow it is

Ideas = Callable[[Brief[Any]], Sequence[Proposal[Any]]]


def decide(
    workplace: Workplace, problem: Problem[P], proposer: Proposer, cpu_seconds: float, *, runner: Runner | None = None
) -> Decision[P]:
    """Run the loop on a problem, with the workplace's runner or another.

    Raises InputError when the current plan cannot be measured: the user can mend it.
    """
    decision = optimize(
        problem,
        proposer,
        search=Meter(cpu_seconds=cpu_seconds),
        check=Meter(cpu_seconds=cpu_seconds * CHECK_SHARE),
        ledger=workplace.ledger,
        runner=runner or workplace.runner,
        limits=workplace.limits,
    )
    require_decided(problem, decision)
    return decision


def require_decided(problem: Problem[Any], decision: Decision[Any]) -> None:
    """Raise InputError when the current plan could not be measured: the user can mend it."""
    if decision.stopped.startswith("the current plan could not be measured"):
        raise InputError(f"{problem.name}: {decision.stopped}", hint="mend today's pipeline first, then run again")


def proposers(
    workplace: Workplace,
    problem: str,
    ideas: Ideas | None,
    *,
    search: Proposer | None = None,
    derived: Proposer | None = None,
) -> Portfolio:
    """The usual portfolio: past winners, known ideas, then search; a language model where it pays."""
    first: list[Proposer] = [Recall(workplace.ledger, problem)]
    if ideas is not None:
        first.append(Rules("ideas", ideas))
    return Portfolio(*first, search=search or Search(), language=workplace.proposer, derived=derived)


def gain_text(decision: Decision[Any], objective: Objective) -> str:
    """The confirmed gain in words, with its interval."""
    if decision.winner is None or not isinstance(decision.winner.verdict, Comparison):
        return "keeps the current plan"
    gain = decision.winner.verdict.gain
    if objective.scale == "ratio":
        return f"{gain.mid:.1%} less {objective.unit or objective.metric} ({gain.low:.1%} to {gain.high:.1%})"
    way = "more" if objective.goal == "max" else "less"
    return f"{gain.mid:.4g} {objective.unit or objective.metric} {way} ({gain.low:.4g} to {gain.high:.4g})"


def author(decision: Decision[Any]) -> str:
    """Who proposed what was chosen."""
    return "current" if decision.winner is None else decision.winner.proposal.by


def chosen_plan(decision: Decision[P]) -> P:
    """The winner's plan, or the current one."""
    return decision.current if decision.winner is None else decision.winner.proposal.plan


def method(decision: Decision[Any]) -> str:
    """How the decision was measured."""
    verdicts = [one.verdict for one in decision.trials if isinstance(one.verdict, Comparison)]
    return verdicts[0].method if verdicts else "-"


def holdout_metrics(
    workplace: Workplace, problem: Problem[Any], decision: Decision[Any]
) -> dict[str, Mapping[str, float]]:
    """Metrics on the holdout: of "current", of each baseline, and of "chosen"."""
    found: dict[str, Mapping[str, float]] = {}
    for name, verdict in decision.baselines.items():
        if isinstance(verdict, Comparison):
            found[name] = verdict.metrics
            found.setdefault("current", verdict.reference)
    if decision.winner is not None and isinstance(decision.winner.verdict, Comparison):
        found["current"] = decision.winner.verdict.reference
        found["chosen"] = decision.winner.verdict.metrics
    else:
        if "current" not in found:  # nothing could be compared with it
            found["current"] = measured_once(workplace, problem, decision.current).metrics
        found["chosen"] = found["current"]
    return found


def measured_once(workplace: Workplace, problem: Problem[P], plan: P) -> Measurement:
    """One measurement on the holdout, outside any study. Raises OutsideError when it fails."""
    (result,) = workplace.runner.map([portable.task(problem, plan, Sample("holdout", 0), workplace.limits)])
    outcome = portable.outcome(result)
    if isinstance(outcome, Failure):
        raise OutsideError(f"{problem.name}: {outcome.reason}", hint="run again; what was measured is kept")
    return outcome


def trial_points(decision: Decision[Any], x: str, y: str) -> list[Json]:
    """Every safe trial of the search as a point of two metrics, for a plot."""
    points: list[Json] = []
    for trial in decision.trials:
        verdict = trial.verdict
        if isinstance(verdict, Comparison) and {x, y} <= set(verdict.metrics):
            point: Json = {"x": verdict.metrics[x], "y": verdict.metrics[y], "label": trial.proposal.by, "mark": ""}
            points.append(point)
    return points


def trials_table(trials: Sequence[Trial[Any]], objective: Objective, most: int = 12) -> Json:
    """The best trials of the search, for a report."""
    compared = [one for one in trials if isinstance(one.verdict, Comparison)]
    best = sorted(compared, key=lambda one: -one.verdict.gain.mid)[:most]  # type: ignore[union-attr]
    rows: list[Json] = []
    for trial in best:
        verdict = trial.verdict
        if isinstance(verdict, Comparison):
            shown = f"{verdict.metrics[objective.metric]:.5g}"
            why = trial.proposal.because[:80]
            rows.append(
                [f"{trial.proposal.by}: {why}", shown, f"{verdict.gain.mid:+.4g}", str(verdict.samples), verdict.ruling]
            )
    head: Json = ["proposed by", objective.metric, "gain over current", "samples", "ruling"]
    return {"title": f"Best {len(rows)} of {len(trials)} trials, search split", "head": head, "rows": rows}


def cleaned(workplace: Workplace, results: Results) -> DataSpec:
    """The data as the check stage left it: without what leaks and what was dropped."""
    if "check" not in results:
        return workplace.data
    facts: Any = results["check"].facts
    excluded = tuple(dict.fromkeys((*workplace.data.exclude, *facts.get("exclude", ()))))
    data = replace(workplace.data, exclude=excluded, dropped=tuple(facts.get("dropped", ())))
    return replace(data, table=facts["table"]).stamped() if facts.get("table") else data


def model_folder(workplace: Workplace, results: Results, way: str) -> Path:
    """Where `tune` left the "current", "free" or "chosen" model."""
    models: Any = results["tune"].facts["models"]
    return workplace.store / str(models[way])
