"""tune, composed: the data as checked, the user's model, the budget; leaves the models that later stages serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from trimtab.core.model import Decision, Json
from trimtab.core.wire import digest
from trimtab.pipeline import Results, Row, StageResult
from trimtab.proposers.rules import Derived
from trimtab.proposers.search import Search
from trimtab.stages.deciding import (
    author,
    chosen_plan,
    cleaned,
    decide,
    gain_text,
    holdout_metrics,
    method,
    proposers,
    trial_points,
    trials_table,
)
from trimtab.stages.worth import worth_of
from trimtab.training.selection.final import fit_final
from trimtab.training.selection.plan import DEFAULT, SEARCHED, ModelPlan
from trimtab.training.selection.portfolio import derived, portfolio
from trimtab.training.selection.problem import Selection, selecting
from trimtab.views import decision_view
from trimtab.workplace import Workplace


def run(workplace: Workplace, results: Results) -> StageResult:
    """Race models; keep the current, the default and the chosen one as artifacts."""
    config = workplace.config
    problem = replace(
        selecting(
            cleaned(workplace, results),
            config.model.metric,
            cache=Path(workplace.cache),
            current=config.model.current,
            folder=workplace.folder,
            threads=1,  # waiting threads spin on a busy host: one costs least
        ),
        worth=worth_of(workplace),
    )
    # The portfolio's plans are what the model of the space starts from: few random ones are needed.
    search = Search(startup=4, fixed=SEARCHED)
    ideas = proposers(workplace, problem.name, portfolio, search=search, derived=Derived("derived", derived))
    decision = decide(workplace, problem, ideas, config.budget.tune)
    models = _keep_models(workplace, problem, decision)
    metrics = holdout_metrics(workplace, problem, decision)
    ways = {
        "current": metrics["current"],
        "free": metrics.get("lightgbm-default", metrics["current"]),
        "chosen": metrics["chosen"],
    }
    row = Row(
        current=_model_text(decision.current, config.model.current),
        chosen=_model_text(chosen_plan(decision), config.model.current),
        saving=_saving(decision, problem, ways),
        method=method(decision),
        by=author(decision),
    )
    facts: dict[str, Json] = {
        "ways": {name: dict(one) for name, one in ways.items()},
        "models": models,
        "tables": [_ways_table(ways, config.model.metric), trials_table(decision.trials, problem.objective)],
        "plots": _plots(decision, problem, ways),
    }
    return StageResult("tune", row, decision_view(decision, problem.objective), facts, (), decision.spent)


def _keep_models(workplace: Workplace, problem: Selection, decision: Decision[ModelPlan]) -> Json:
    plans = {"current": decision.current, "free": DEFAULT, "chosen": chosen_plan(decision)}
    folders: dict[str, Json] = {}
    for name, plan in plans.items():
        folder = workplace.place("models") / f"{name}-{digest([problem.setting, plan])[:12]}"
        if not (folder / "model.json").exists():
            fit_final(problem.setting, plan, folder)
        folders[name] = str(folder.relative_to(workplace.store))
    return folders


def _model_text(plan: ModelPlan, current: str) -> str:
    if plan.family == "current":
        return f"{current.partition(':')[2]}"
    if plan.family == "lightgbm":
        blend = f"mean of {len(plan.members)} × " if plan.others else ""
        return f"{blend}LightGBM, {plan.leaves} leaves, rate {plan.learning_rate:.2g}"
    return {"lightgbm-default": "default LightGBM", "linear": "linear model"}.get(plan.family, plan.family)


def _saving(decision: Decision[ModelPlan], problem: Selection, ways: dict[str, Any]) -> str:
    if decision.winner is None:
        return gain_text(decision, problem.objective)
    before, after = ways["current"], ways["chosen"]
    return (
        f"{gain_text(decision, problem.objective)}; {problem.metric} {before[problem.metric]:.4f} → "
        f"{after[problem.metric]:.4f}, training {before['train_cpu_seconds']:.0f} → "
        f"{after['train_cpu_seconds']:.1f} CPU-s"
    )


def _ways_table(ways: dict[str, Any], metric: str) -> Json:
    names = ("today", "default LightGBM", "chosen")
    heads: dict[str, Callable[[Any], str]] = {
        metric: lambda one: f"{one[metric]:.4f}",
        "training, CPU-s": lambda one: f"{one['train_cpu_seconds']:.1f}",
        "batch, µs a row": lambda one: f"{one['predict_us_per_row']:.1f}",
        "one row, ms": lambda one: f"{one['predict_ms_single']:.2f}",
        "size, MB": lambda one: f"{one['model_bytes'] / 1e6:.2f}",
    }
    rows: list[Json] = [
        [name, *(show(one) for show in heads.values())] for name, one in zip(names, ways.values(), strict=True)
    ]
    return {"title": "On the holdout", "head": ["", *heads], "rows": rows}


def _plots(decision: Decision[ModelPlan], problem: Selection, ways: dict[str, Any]) -> Json:
    metric = problem.metric
    points = trial_points(decision, "train_cpu_seconds", metric)
    bars: list[Json] = [
        {"label": label, "value": ways[name]["train_cpu_seconds"], "mark": name}
        for name, label in (("current", "today"), ("free", "default LightGBM"), ("chosen", "chosen"))
    ]
    return [
        {
            "kind": "points",
            "title": f"Every trial: {metric} on the search split against training cost",
            "x_label": "training, CPU-s (log scale)",
            "y_label": metric,
            "x_log": True,
            "points": points,
        },
        {"kind": "bars", "title": "CPU-s of one training", "unit": "s", "rows": bars, "log": True},
    ]
