"""convert, composed: the chosen model in the form that answers soonest, at answers that are as equal as was asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trimtab.adapters.sources.dataset import load, part
from trimtab.core.model import Comparison, Decision, Json
from trimtab.inference.conversion.measure import current_latency
from trimtab.inference.conversion.plan import FormPlan
from trimtab.inference.conversion.problem import converting, ideas
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
from trimtab.views import decision_view
from trimtab.workplace import Workplace


def run(workplace: Workplace, results: Results) -> StageResult:
    """Choose the form; compare it with today's model's own predict as well."""
    config = workplace.config
    data = cleaned(workplace, results)
    model = model_folder(workplace, results, "chosen")
    problem = converting(
        data,
        config.model.metric,
        model,
        cache=Path(workplace.cache),
        tolerance=config.model.tolerance,
        exact=config.model.exact,
    )
    decision = decide(workplace, problem, proposers(workplace, problem.name, ideas), config.budget.convert)
    plan = chosen_plan(decision)
    form = problem.write(plan)
    metrics = holdout_metrics(workplace, problem, decision)
    served = metrics["chosen"]["served_us"]
    rows = part(load(data), data, "holdout")
    today = current_latency(model_folder(workplace, results, "current"), rows)
    row = Row(
        current="its library's own predict",
        chosen=_form_text(plan),
        saving=f"{gain_text(decision, problem.objective)}; {today / served:,.0f} × faster than today's model",
        method=method(decision),
        by=author(decision),
    )
    facts: dict[str, Json] = {
        "form": str(form),
        "today_us": today,
        "served_us": served,
        "times_today": today / served,
        "tables": [_forms_table(decision, config.model.metric)],
        "plots": [_bars(decision, today, plan)],
        "notes": [
            f"Today's model answers one row in {today / 1000:,.2f} ms by its own predict; the chosen form in "
            f"{served:,.1f} µs from raw row to answer: {today / served:,.0f} times faster.",
            *_refused(decision),
        ],
    }
    return StageResult("convert", row, decision_view(decision, problem.objective), facts, (), decision.spent)


def _form_text(plan: FormPlan) -> str:
    share = "" if plan.trees == 1 else f", {plan.trees:.0%} of the trees"
    return plan.form + share


def _compared(decision: Decision[FormPlan]) -> list[tuple[FormPlan, Comparison]]:
    found = [(one.proposal.plan, one.verdict) for one in decision.trials if isinstance(one.verdict, Comparison)]
    return [(plan, verdict) for plan, verdict in found if isinstance(verdict, Comparison)]


def _forms_table(decision: Decision[FormPlan], metric: str) -> Json:
    names = ("served_us", "predict_us", "batch64_us", "size_bytes", "max_difference", metric)
    rows: list[Json] = []
    compared = _compared(decision)
    if compared:
        rows.append(["native", *_cells(compared[0][1].reference, names), "current"])
    rows += [[_form_text(plan), *_cells(verdict.metrics, names), verdict.ruling] for plan, verdict in compared]
    head: Json = ["form", *names, "ruling"]
    return {"title": "Forms on the search split, µs by the median of interleaved rounds", "head": head, "rows": rows}


def _refused(decision: Decision[FormPlan]) -> list[Json]:
    """Why forms could not be measured: a line for each reason, whatever number of forms it stopped."""
    forms: dict[str, dict[str, None]] = {}
    for one in decision.trials:
        if not isinstance(one.verdict, Comparison):
            forms.setdefault(one.verdict.reason, {})[_form_text(one.proposal.plan)] = None
    return [f"Not measured ({reason}): {', '.join(names)}." for reason, names in forms.items()]


def _cells(metrics: Any, names: tuple[str, ...]) -> list[Json]:
    return [f"{metrics[name]:.4g}" if name in metrics else "" for name in names]


def _bars(decision: Decision[FormPlan], today: float, chosen: FormPlan) -> Json:
    rows: list[Json] = [{"label": "today's model", "value": today, "mark": "current"}]
    compared = _compared(decision)
    if compared and "served_us" in compared[0][1].reference:
        rows.append({"label": "native", "value": compared[0][1].reference["served_us"], "mark": "free"})
    for plan, verdict in compared:
        if "served_us" in verdict.metrics:
            mark = "chosen" if plan == chosen else ""
            rows.append({"label": _form_text(plan), "value": verdict.metrics["served_us"], "mark": mark})
    return {"kind": "bars", "title": "Latency of one row", "unit": "µs", "rows": rows, "log": True}
