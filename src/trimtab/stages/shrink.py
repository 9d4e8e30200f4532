"""shrink, composed: what `tune` chose or today's model, the front of smaller ones, the choice by the user's prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trimtab.core.errors import OutsideError
from trimtab.core.model import Comparison, Decision, Json
from trimtab.core.wire import digest, dump, load
from trimtab.pipeline import Results, Row, StageResult
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.recall import Recall
from trimtab.proposers.rules import Derived, Rules
from trimtab.stages.deciding import (
    author,
    chosen_plan,
    cleaned,
    decide,
    gain_text,
    holdout_metrics,
    method,
)
from trimtab.stages.worth import worth_of
from trimtab.training.architecture.final import keep
from trimtab.training.architecture.front import Point, front, points, ranked_by_size
from trimtab.training.architecture.ideas import NAME, first, further
from trimtab.training.architecture.measure import BATCH
from trimtab.training.architecture.plan import CURRENT, ShrinkPlan, described
from trimtab.training.architecture.problem import Shrink, shrinking
from trimtab.training.selection.plan import CURRENT as OWN
from trimtab.training.selection.plan import DEFAULT, ModelPlan
from trimtab.views import decision_view
from trimtab.workplace import Workplace


def run(workplace: Workplace, results: Results) -> StageResult:
    """Look for the front, choose from it, confirm; keep the chosen model as an artifact."""
    config = workplace.config
    model, named = _model(workplace, results)
    problem = replace(
        shrinking(
            cleaned(workplace, results),
            config.model.metric,
            model,
            cache=Path(workplace.cache),
            current=config.model.current,
            folder=workplace.folder,
        ),
        tolerance=config.model.tolerance,
        worth=worth_of(workplace),
    )
    known = Portfolio(
        Recall(workplace.ledger, problem.name),
        Rules(NAME, first),
        derived=Derived(NAME, further),
        language=workplace.proposer,
    )
    decision = decide(workplace, problem, known, config.budget.shrink)
    plan, metrics = chosen_plan(decision), holdout_metrics(workplace, problem, decision)
    row = Row(named, described(plan), _saving(decision, problem, metrics), method(decision), author(decision))
    facts: dict[str, Json] = {
        "source": Path(problem.data.table).name,
        "sha256": problem.data.fingerprint,
        "model": _keep(workplace, problem, plan),
        "ways": {name: dict(metrics[name]) for name in ("current", "chosen")},
        "front": [_json(one) for one in _front(decision, problem)],
        "notes": _notes(decision, problem),
        "tables": [_table(decision, problem), _holdout(metrics, problem)],
        "plots": _plots(decision, problem),
    }
    return StageResult("shrink", row, decision_view(decision, problem.objective), facts, (), decision.spent)


def _model(workplace: Workplace, results: Results) -> tuple[ModelPlan, str]:
    """What is to be made smaller: what tune chose, or the user's own, or LightGBM as it comes."""
    if "tune" in results:
        decided: Any = results["tune"].decision
        return load(ModelPlan, decided["chosen"]), results["tune"].row.chosen
    if workplace.config.model.current:
        return OWN, workplace.config.model.current.partition(":")[2]
    return DEFAULT, "default LightGBM"


def _keep(workplace: Workplace, problem: Shrink, plan: ShrinkPlan) -> str:
    """The folder that `trimtab apply` puts in place. Raises OutsideError."""
    folder = workplace.place("models") / f"shrunk-{digest([problem.setting, plan])[:12]}"
    reason = keep(problem.setting, plan, folder, workplace.runner, workplace.limits)
    if reason:
        raise OutsideError(
            f"the chosen model could not be written: {reason}", hint="run again; what was fitted is kept"
        )
    return str(folder.relative_to(workplace.store))


def _saving(decision: Decision[ShrinkPlan], problem: Shrink, ways: Mapping[str, Mapping[str, float]]) -> str:
    said = gain_text(decision, problem.objective)
    if decision.winner is None:
        return said
    before, now = ways["current"], ways["chosen"]
    return (
        f"{said}; {before['predict_us_per_row']:.3g} → {now['predict_us_per_row']:.3g} µs a row, {problem.metric} "
        f"{before[problem.metric]:.4f} → {now[problem.metric]:.4f}"
    )


def _notes(decision: Decision[ShrinkPlan], problem: Shrink) -> list[Json]:
    found, fits = points(decision, problem.metric), {_fit(one.plan) for one in points(decision, problem.metric)}
    notes: list[Json] = [
        f"{len(found)} models from {len(fits)} fits; {len(_front(decision, problem))} of them on the front",
        f"at most {problem.tolerance:g} of {problem.metric} may be lost; "
        + ("dollars a month decide" if problem.worth else "no requests are known: the cheapest prediction wins"),
    ]
    refused = [one for one in decision.trials if not isinstance(one.verdict, Comparison)]
    kinds = {one.proposal.plan.kind: one.verdict.reason for one in reversed(refused)}
    notes += [f"{_KINDS.get(kind, kind)}: {_plain(reason)}" for kind, reason in kinds.items()]
    told = ranked_by_size(found, problem.metric)
    return [*notes, told] if told else notes


_KINDS = {"cut": "not cut", "resized": "no other width or depth"}


def _plain(reason: str) -> str:
    """A refusal without the name of the error and its place in the source."""
    return reason.partition("Error: ")[2].rpartition(" (")[0] or reason


def _fit(plan: ShrinkPlan) -> ShrinkPlan:
    return CURRENT if plan.kind == "cut" else replace(plan, trees=1)


def _front(decision: Decision[ShrinkPlan], problem: Shrink) -> list[Point]:
    return front(points(decision, problem.metric), problem.metric)


def _json(point: Point) -> Json:
    return {"plan": dump(point.plan), "model": described(point.plan), "metrics": dump(point.metrics)}


def _table(decision: Decision[ShrinkPlan], problem: Shrink) -> Json:
    """The best quality for what a prediction costs; all other models of the front are in the facts."""
    found = front(points(decision, problem.metric), problem.metric, ("predict_us_per_row",))
    plan = chosen_plan(decision)
    rows: list[Json] = [
        [described(one.plan) + " ← chosen" * (one.plan == plan), *_cells(one.metrics, problem)] for one in found
    ]
    return {"title": "Best quality for the cost of a prediction, search split", "head": _head(problem), "rows": rows}


def _holdout(ways: Mapping[str, Mapping[str, float]], problem: Shrink) -> Json:
    rows: list[Json] = [[name, *_cells(ways[way], problem)] for way, name in (("current", "today"), ("chosen",) * 2)]
    return {"title": "On the holdout", "head": _head(problem), "rows": rows}


def _columns(problem: Shrink) -> dict[str, tuple[str, str]]:
    """Heads of a table: the metric behind each and how it is written."""
    money = {"$ a month": ("dollars_per_month", ",.2f")} if problem.worth else {}
    network = {"parameters": ("parameters", ",.0f"), "FLOPs a row": ("flops", ",.0f")}
    return {
        problem.metric: (problem.metric, ".4f"),
        "training, CPU-s": ("train_cpu_seconds", ".3g"),
        f"{BATCH:,} rows, µs a row": ("predict_us_per_row", ".3g"),
        "one row, ms": ("predict_ms_single", ".3g"),
        "kB": ("model_bytes", ".1f"),
        **money,
        **(network if problem.model.family == "current" else {}),
    }


def _head(problem: Shrink) -> Json:
    return ["model", *_columns(problem)]


def _cells(metrics: Mapping[str, float], problem: Shrink) -> list[Json]:
    scaled = {**metrics, "model_bytes": metrics["model_bytes"] / 1000}
    return [f"{scaled[name]:{form}}" if name in scaled else "" for name, form in _columns(problem).values()]


def _plots(decision: Decision[ShrinkPlan], problem: Shrink) -> Json:
    """Quality against each cost, with the best that was found for it."""
    found, plan, metric = points(decision, problem.metric), chosen_plan(decision), problem.metric
    axes = {
        "predict_us_per_row": "CPU time of a prediction, µs a row (log scale)",
        "train_cpu_seconds": "training, CPU-s (log scale)",
        "model_bytes": "size, bytes (log scale)",
    }
    return [
        {
            "kind": "points",
            "title": f"{metric} against {label.partition(' (')[0].partition(',')[0]}, search split",
            "x_label": label,
            "y_label": metric,
            "x_log": True,
            "points": [_dot(one, cost, plan) for one in found],
            "front": [[one.metrics[cost], one.quality] for one in front(found, metric, (cost,))],
        }
        for cost, label in axes.items()
    ]


def _dot(point: Point, cost: str, chosen: ShrinkPlan) -> Json:
    marks = {CURRENT: ("current", "today"), chosen: ("chosen", "chosen")}
    mark, label = marks.get(point.plan, ("", described(point.plan)))
    return {"x": point.metrics[cost], "y": point.quality, "label": label, "mark": mark}
