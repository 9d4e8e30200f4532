"""drift, composed: production replayed in windows. Which columns moved, and how good the model really was."""

from __future__ import annotations

from typing import Any

import numpy as np

from trimtab.adapters.models.artifact import load_fitted
from trimtab.adapters.models.metrics import score
from trimtab.adapters.sources.dataset import Dataset, DataSpec, load, part
from trimtab.core.budget import Meter, charged
from trimtab.core.model import Json
from trimtab.monitoring.drift.counts import count_by_day, learn_bins
from trimtab.monitoring.drift.detect import Detector
from trimtab.monitoring.drift.problem import DriftWatch, ideas
from trimtab.monitoring.performance.estimate import Estimate, estimate, sample_rows
from trimtab.monitoring.windows import window_name, windows
from trimtab.pipeline import Results, Row, StageResult
from trimtab.stages.deciding import (
    author,
    chosen_plan,
    cleaned,
    decide,
    holdout_metrics,
    method,
    model_folder,
    proposers,
)
from trimtab.views import decision_view
from trimtab.workplace import Workplace

BUDGET = 8.0  # CPU seconds: detectors are cheap to measure


def run(workplace: Workplace, results: Results) -> StageResult:
    """Choose a detector, then watch the later rows with it and with bought labels."""
    config, data = workplace.config, cleaned(workplace, results)
    problem = DriftWatch(data, config.production.window_days)
    decision = decide(workplace, problem, proposers(workplace, problem.name, ideas), BUDGET)
    watching = Meter()
    with charged(watching):
        seen = _watch(workplace, results, data, problem.detector(chosen_plan(decision)))
    metrics = holdout_metrics(workplace, problem, decision)
    plan = chosen_plan(decision)
    covered = [one for one in seen if one["low"] is not None and one["low"] <= one["true"] <= one["high"]]
    estimated = [one for one in seen if one["low"] is not None]
    row = Row(
        current="KS at 5 % for each column",
        chosen=f"{plan.statistic}, {plan.threshold} thresholds",
        saving=(
            f"{metrics['current']['false_alarms_per_100']:.0f} → {metrics['chosen']['false_alarms_per_100']:.1f} false "
            f"alarms in 100 clean windows, {metrics['chosen']['detected_share']:.0%} of small shifts noticed"
        ),
        method=method(decision),
        by=author(decision),
    )
    facts: dict[str, Json] = {
        "windows": seen,  # type: ignore[dict-item]
        "covered": f"{len(covered)} of {len(estimated)}",
        "notes": [
            f"In {len(covered)} of {len(estimated)} windows the true {config.model.metric} lay in the 95 % interval "
            f"from {config.production.labels} bought labels. An alarm is evidence: nothing is triggered by it.",
        ],
        "tables": [_windows_table(seen, config.model.metric)],
        "plots": [_performance_plot(seen, config.model.metric), _moved_plot(seen)],
    }
    spent = decision.spent + watching.spent
    return StageResult("drift", row, decision_view(decision, problem.objective), facts, (), spent)


def _watch(workplace: Workplace, results: Results, data: DataSpec, detector: Detector) -> list[dict[str, Any]]:
    config = workplace.config
    rows = part(load(data), data, "production")
    model = load_fitted(model_folder(workplace, results, "chosen"))
    binning = learn_bins(part(load(data), data, "search"), data)
    seen = []
    for number, window in enumerate(windows(rows, data, config.production.window_days)):
        looked = rows.rows(window.start, window.stop)
        counts = count_by_day(looked, data, binning).sum(axis=0)[None]
        statistics, moved = detector.statistics(counts)[0], detector.moved(counts)[0]
        predicted = model.predict_table(looked.table)
        guessed = _estimated(workplace, looked, predicted, number)
        seen.append(
            {
                "window": window_name(rows, data, window),
                "rows": len(looked),
                "moved": {binning.names[i]: round(float(statistics[i]), 4) for i in np.flatnonzero(moved)},
                "true": round(score(config.model.metric, looked.y, predicted), 5),
                "estimate": None if guessed is None else round(guessed.mid, 5),
                "low": None if guessed is None else round(guessed.low, 5),
                "high": None if guessed is None else round(guessed.high, 5),
            }
        )
    return seen


def _estimated(workplace: Workplace, rows: Dataset, predicted: Any, seed: int) -> Estimate | None:
    metric = workplace.config.model.metric
    if predicted.ndim > 1 or metric in ("f1", "r2"):
        return None
    bought = sample_rows(len(rows), workplace.config.production.labels, seed)
    return estimate(metric, predicted, bought, rows.y[bought]) if len(bought) >= 30 else None


def _windows_table(seen: list[dict[str, Any]], metric: str) -> Json:
    rows: list[Json] = []
    for one in seen:
        interval = "" if one["low"] is None else f"{one['estimate']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
        moved = ", ".join(f"{name} {value:.2f}" for name, value in one["moved"].items())
        rows.append([one["window"], f"{one['rows']:,}", interval, f"{one['true']:.3f}", moved or "none"])
    head: Json = ["window", "rows", f"{metric} from bought labels (95 %)", f"true {metric}", "columns that moved"]
    return {"title": "Production, window by window", "head": head, "rows": rows}


def _performance_plot(seen: list[dict[str, Any]], metric: str) -> Json:
    x: Json = list(range(1, len(seen) + 1))
    series: list[Json] = [{"name": f"true {metric}", "x": x, "y": [one["true"] for one in seen]}]
    if any(one["low"] is not None for one in seen):
        estimated: Json = {
            "name": "from bought labels", "x": x, "y": [one["estimate"] for one in seen],
            "low": [one["low"] for one in seen], "high": [one["high"] for one in seen],
        }  # fmt: skip
        series.append(estimated)
    title = f"{metric} in production: truth, and its 95 % interval from bought labels"
    return {"kind": "lines", "title": title, "x_label": "window", "y_label": metric, "series": series}


def _moved_plot(seen: list[dict[str, Any]]) -> Json:
    names = sorted({name for one in seen for name in one["moved"]})[:30]
    values: Json = [[one["moved"].get(name) for one in seen] for name in names]
    columns: Json = [one["window"][5:] for one in seen]
    return {
        "kind": "grid",
        "title": "Columns that moved, by window",
        "rows": names,
        "columns": columns,
        "values": values,
    }
