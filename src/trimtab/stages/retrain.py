"""retrain, composed: the chosen model's plan, trained again at each window, and the prices of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.adapters.models.artifact import about
from trimtab.adapters.runners.local import LocalRunner
from trimtab.core.model import Json
from trimtab.core.wire import dump, load
from trimtab.monitoring.retraining.losses import Production, train_ahead
from trimtab.monitoring.retraining.plan import NEVER, RetrainingPlan
from trimtab.monitoring.retraining.problem import Retraining, ideas
from trimtab.pipeline import Results, Row, StageResult
from trimtab.stages.deciding import (
    author,
    chosen_plan,
    cleaned,
    decide,
    gain_text,
    holdout_metrics,
    method,
    model_folder,
    proposers,
)
from trimtab.stages.trainer import TRAINER
from trimtab.training.selection.fitting import Request
from trimtab.training.selection.plan import ModelPlan
from trimtab.views import decision_view
from trimtab.workplace import Workplace, cores

Metrics = Mapping[str, Mapping[str, float]]


def run(workplace: Workplace, results: Results) -> StageResult:
    """Choose the retraining policy."""
    config = workplace.config
    every = config.production.retrain_every
    production = _production(workplace, results)
    # Trained one thread each, and side by side: two threads of one training cost more CPU than they save time.
    with LocalRunner(cores()) as runner:
        trained = train_ahead(production, runner, workplace.limits)
    problem = Retraining(
        production=production,
        quality_value=config.production.quality_value,
        cpu_hour=config.prices.cpu_hour,
        label=config.prices.label,
        training_dollars=config.production.training_dollars,
        current=RetrainingPlan("every", windows=min(every, 12)) if every else NEVER,
    )
    decision = decide(workplace, problem, proposers(workplace, problem.name, ideas), config.budget.retrain)
    metrics = holdout_metrics(workplace, problem, decision)
    best = problem.best(problem.half("holdout"))
    row = Row(
        current=_policy_text(decision.current),
        chosen=_policy_text(chosen_plan(decision)),
        saving=gain_text(decision, problem.objective),
        method=method(decision),
        by=author(decision),
    )
    facts: dict[str, Json] = {
        "ways": {
            "current": dict(metrics["current"]),
            "free": dict(metrics["current"]),
            "chosen": dict(metrics["chosen"]),
        },
        "optimum_trainings": list(best.trained_before),
        "notes": [
            f"On the unseen half, the chosen policy costs ${metrics['chosen']['regret_dollars_per_month']:,.2f} a "
            f"month more than hindsight, today's ${metrics['current']['regret_dollars_per_month']:,.2f}. "
            f"Trainings that hindsight would have paid for: {len(best.trained_before)}.",
        ],
        "tables": [_policies_table(metrics)],
        "plots": [_bars(metrics)],
    }
    return StageResult("retrain", row, decision_view(decision, problem.objective), facts, (), decision.spent + trained)


def _production(workplace: Workplace, results: Results) -> Production:
    config = workplace.config
    described: Any = about(model_folder(workplace, results, "chosen"))
    plan = load(ModelPlan, described["plan"])
    request = Request(
        plan,
        config.model.metric,
        config.model.current,
        str(workplace.folder),
        rounds=tuple(described.get("rounds", ())) if plan.family == "lightgbm" else (),
        threads=1,  # waiting threads spin on a busy host: one costs least
    )
    recipe: Any = dump(request)
    return Production(
        cleaned(workplace, results),
        config.model.metric,
        TRAINER,
        recipe,
        config.production.window_days,
        workplace.cache,
    )


def _policy_text(plan: RetrainingPlan) -> str:
    if plan.kind == "every":
        return f"every {plan.windows} windows" if plan.windows > 1 else "every window"
    if plan.kind == "triggered":
        return f"when the loss rises by {plan.rise:.2g} ({plan.labels} labels)"
    return plan.kind if plan.kind == "never" else f"ski rental, factor {plan.factor:.2g} ({plan.labels} labels)"


def _policies_table(metrics: Metrics) -> Json:
    names = ("dollars_per_month", "trainings_per_month", "labels_per_month", "mean_loss", "regret_dollars_per_month")
    rows: list[Json] = []
    for name, one in metrics.items():
        rows.append([name, *(f"{one[key]:,.4g}" for key in names)])
    return {"title": "Policies on the unseen half", "head": ["policy", *names], "rows": rows}


def _bars(metrics: Metrics) -> Json:
    rows: list[Json] = []
    for name, one in metrics.items():
        mark = name if name in ("current", "chosen") else ""
        rows.append({"label": name, "value": max(0.0, one["regret_dollars_per_month"]), "mark": mark})
    title = "Dollars a month above hindsight, unseen half"
    return {"kind": "bars", "title": title, "unit": "$", "rows": rows}
