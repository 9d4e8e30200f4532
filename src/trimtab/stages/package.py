"""package, composed: a service around the chosen form, judged beside today's under load, verified: only then done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trimtab.adapters.models.form import load_form
from trimtab.adapters.sources.dataset import Dataset, load, part
from trimtab.core.model import Json
from trimtab.core.wire import digest
from trimtab.deployment.packaging.measure import example_of, offline
from trimtab.deployment.packaging.plan import CHOSEN, ServicePlan
from trimtab.deployment.packaging.problem import Packaging, ideas
from trimtab.deployment.packaging.service import options_for, write_service
from trimtab.deployment.packaging.verify import Verified, verify_service
from trimtab.inference.conversion.plan import FormPlan
from trimtab.inference.conversion.problem import convert
from trimtab.pipeline import Results, Row, StageResult
from trimtab.stages.deciding import (
    author,
    chosen_plan,
    cleaned,
    decide,
    gain_text,
    holdout_metrics,
    measured_once,
    method,
    model_folder,
    proposers,
)
from trimtab.views import decision_view
from trimtab.workplace import Workplace

ROWS = 1000


def run(workplace: Workplace, results: Results) -> StageResult:
    """Choose how the form is served, write the service, verify it."""
    config = workplace.config
    data = cleaned(workplace, results)
    cache = Path(workplace.cache)
    form = Path(str(results["convert"].facts["form"]))
    today = convert(model_folder(workplace, results, "current"), FormPlan(), cache)
    free = convert(model_folder(workplace, results, "free"), FormPlan(), cache)
    problem = Packaging(data, str(form), str(cache), str(today), config.serving.latency_ms)
    decision = decide(workplace, problem, proposers(workplace, problem.name, ideas), config.budget.package)
    plan = chosen_plan(decision)
    metrics = holdout_metrics(workplace, problem, decision)
    # The strong free default under the same load: default LightGBM, its own predict, the plain service.
    plain = Packaging(data, str(free), str(cache), "", config.serving.latency_ms)
    default = measured_once(workplace, plain, CHOSEN)
    served = today if plan.form == "current" else form
    rows = _rows(part(load(data), data, "holdout"))
    service = workplace.place("services") / f"{config.name}-{digest([str(served), plan])[:12]}"
    example = example_of(problem.setting, served)
    write_service(served, options_for(plan, config.name, f"chance of {config.data.target}", example), service)
    verified = verify_service(service, rows, offline(load_form(served), rows), cache)
    row = Row(
        current="today's pickle, one request at a time",
        chosen=_service_text(plan),
        saving=gain_text(decision, problem.objective),
        method=method(decision),
        by=author(decision),
    )
    ways = {"current": metrics["current"], "free": default.metrics, "chosen": metrics["chosen"]}
    facts: dict[str, Json] = {
        "service": str(service),
        "ways": {name: dict(one) for name, one in ways.items()},
        "verified": verified.holds,
        "notes": [_verified_text(verified, service.name)],
        "tables": [_ways_table(ways), _checks_table(verified)],
        "plots": [_bars(ways)],
    }
    failed = tuple(
        {"kind": "unverified", "column": one.name, "message": one.found, "remedy": "see the service's log"}
        for one in verified.checks
        if not one.holds
    )
    view = decision_view(decision, problem.objective)
    return StageResult("package", row, view, facts, failed, decision.spent + default.cost)


def _rows(dataset: Dataset) -> Dataset:
    return dataset.rows(0, min(ROWS, len(dataset)))


def _service_text(plan: ServicePlan) -> str:
    batching = f", batches of {plan.batch_window_ms:g} ms" if plan.batch_window_ms else ""
    return f"{plan.form} form, {plan.workers} worker{'s' if plan.workers > 1 else ''}{batching}"


def _verified_text(verified: Verified, name: str) -> str:
    held = sum(one.holds for one in verified.checks)
    load = verified.load
    return (
        f"{name}: {held} of {len(verified.checks)} checks held in an environment of its own. Under load it answered "
        f"{load.get('requests_per_second', 0):,.0f} requests a second at a p99 of {load.get('p99_ms', 0):.1f} ms, for "
        f"{load.get('cpu_ms_per_request', 0):.3f} CPU-ms a request."
    )


def _ways_table(ways: dict[str, Any]) -> Json:
    names = ("cpu_ms_per_request", "requests_per_second", "p50_ms", "p99_ms")
    rows: list[Json] = []
    for label, one in zip(("today's pickle", "default LightGBM, own predict", "chosen"), ways.values(), strict=True):
        rows.append([label, *(f"{one[name]:.4g}" if name in one else "" for name in names)])
    return {"title": "The same service around three models, under load", "head": ["", *names], "rows": rows}


def _checks_table(verified: Verified) -> Json:
    rows: list[Json] = [[one.name, "holds" if one.holds else "FAILS", one.found] for one in verified.checks]
    return {"title": "Verification", "head": ["check", "", "found"], "rows": rows}


def _bars(ways: dict[str, Any]) -> Json:
    labels = {"current": "today's pickle", "free": "default LightGBM, own predict", "chosen": "chosen"}
    rows: list[Json] = [
        {"label": labels[name], "value": one["cpu_ms_per_request"], "mark": name} for name, one in ways.items()
    ]
    return {"kind": "bars", "title": "CPU time a request, as served", "unit": "ms", "rows": rows, "log": True}
