"""forecast, composed: a way of forecasting, the coverage of its intervals on unseen time, and what comes next."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trimtab.adapters.files import write_whole
from trimtab.adapters.runners.local import LocalRunner
from trimtab.adapters.sources.tables import fingerprint
from trimtab.cluster.forecasting.ahead import Series
from trimtab.cluster.forecasting.intervals import bounds, covered
from trimtab.cluster.forecasting.plan import PEERS, ForecastPlan
from trimtab.cluster.forecasting.problem import Forecasting, Half, ideas, made
from trimtab.core.errors import InputError
from trimtab.core.model import Decision, Json
from trimtab.core.ports import Limits
from trimtab.pipeline import Row, StageResult
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules
from trimtab.proposers.search import Search
from trimtab.stages.bench import decided, open_bench
from trimtab.stages.deciding import author, chosen_plan, gain_text, method
from trimtab.views import decision_view

SEARCH_SECONDS = 20.0  # CPU time
LIMITS = Limits(cpu_seconds=120.0, wall_seconds=600.0, memory_bytes=4 * 2**30)  # of one measurement
COVERAGES = (0.5, 0.8, 0.95)
KNOWN_DAYS = 28.0  # whose errors make an interval
SHOWN_DAYS = 3
ROWS_SHOWN = 12  # of the table of what comes next


def forecast_file(
    trace: Path, hours: float = 24.0, out: Path | None = None, budget: float = SEARCH_SECONDS
) -> StageResult:
    """`trimtab forecast traffic.csv --hours 24`: raises InputError, and TargetError when `out` cannot be written."""
    if not 0.25 <= hours <= 28 * 24:
        raise InputError(f"{hours:g} hours cannot be forecast", hint="--hours from 0.25 to 672")
    problem = Forecasting(str(trace.resolve()), hours, fingerprint(trace))
    problem.series  # noqa: B018  what is wrong with the input is said before anything is spent
    with open_bench(problem.name) as bench, LocalRunner() as runner:
        decision = decided(problem, Portfolio(Rules("ideas", ideas), search=Search()), bench, runner, LIMITS, budget)
    result = _result(problem, decision)
    if out is not None:
        _write(result, out)
    return result


def _result(problem: Forecasting, decision: Decision[ForecastPlan]) -> StageResult:
    plan = chosen_plan(decision)
    low, high = _bounds(problem, plan)
    _, truth = made(problem, plan, "holdout")
    found = {share: covered(low[share][:-1], high[share][:-1], truth) for share in COVERAGES}
    ahead = made(problem, plan, "now")[0][0]
    errors = {name: _error(problem, one) for name, one in {**problem.baselines(), "chosen": plan}.items()}
    row = Row(
        current=_plan_text(problem.current),
        chosen=_plan_text(plan),
        saving=f"{gain_text(decision, problem.objective)}; 95 % intervals held {found[0.95]:.1%}",
        method=method(decision),
        by=author(decision),
    )
    every = max(1, problem.horizon // ROWS_SHOWN)
    rows: list[Json] = [
        [
            f"{(lead + 1) * problem.step_minutes / 60:.4g}",
            _rate(ahead[lead]),
            *(f"{_rate(low[share][-1, lead])} to {_rate(high[share][-1, lead])}" for share in (0.8, 0.95)),
        ]
        for lead in range(every - 1, problem.horizon, every)
    ]
    facts: dict[str, Json] = {
        "plan": {"kind": plan.kind, "weeks": plan.weeks, "level": plan.level},
        "errors": dict(errors),
        "coverage": {f"{share:.0%}": one for share, one in found.items()},
        "step_minutes": problem.step_minutes,
        "forecast": [float(one) for one in ahead],
        "low": {f"{share:.0%}": [float(one) for one in low[share][-1]] for share in COVERAGES},
        "high": {f"{share:.0%}": [float(one) for one in high[share][-1]] for share in COVERAGES},
        "notes": [
            f"On the unseen half the mean error over {problem.hours:g} h is {errors['chosen']:.1%} of the mean, "
            f"yesterday's {errors['yesterday']:.1%}; intervals of {_shares(found)} held."
        ],
        "tables": [_errors_table(errors), {"title": "What comes next", "head": _HEAD, "rows": rows}],
        "plots": [_plot(problem, ahead, low[0.95][-1], high[0.95][-1])],
    }
    return StageResult("forecast", row, decision_view(decision, problem.objective), facts, (), decision.spent)


_HEAD: list[Json] = ["hours ahead", "requests/s", "80 %", "95 %"]


def _bounds(problem: Forecasting, plan: ForecastPlan) -> tuple[dict[float, Series], dict[float, Series]]:
    """By coverage, the bounds at the moments of the unseen half and, last, now; errors of both halves make them."""
    halves: tuple[Half, ...] = ("search", "holdout", "now")
    found = [made(problem, plan, half) for half in halves]
    tables, truths = (np.concatenate([one[place] for one in found]) for place in (0, 1))
    moments = problem.moments("holdout")
    unseen = len(moments) + 1
    spacing = int(moments[1] - moments[0]) if len(moments) > 1 else 1
    newest = max(100, int(KNOWN_DAYS * problem.day / spacing))
    pad = 0.05 * float(problem.series[: len(problem.series) // 2].mean())
    sides = bounds(tables, truths, np.arange(len(tables)) * spacing, COVERAGES, newest, pad=pad)
    low, high = ({share: one[side][-unseen:] for share, one in zip(COVERAGES, sides, strict=True)} for side in (0, 1))
    return low, high


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _error(problem: Forecasting, plan: ForecastPlan) -> float:
    table, truth = made(problem, plan, "holdout")
    return float(np.abs(table - truth).mean() / max(1e-9, np.abs(truth).mean()))


def _plan_text(plan: ForecastPlan) -> str:
    named = next((name for name, one in PEERS.items() if one == plan), "")
    return named or f"{plan.kind}, {plan.weeks} weeks, level {plan.level:.2g}"


def _shares(found: dict[float, float]) -> str:
    return ", ".join(f"{share:.0%} held {one:.1%}" for share, one in found.items()).replace(" held ", " in ")


def _errors_table(errors: dict[str, float]) -> Json:
    rows: list[Json] = [[name, f"{one:.1%}"] for name, one in errors.items()]
    return {"title": "Error / mean, unseen", "head": ["forecast", "error"], "rows": rows}


def _plot(problem: Forecasting, ahead: Series, low: Series, high: Series) -> Json:
    shown = min(len(problem.series), SHOWN_DAYS * problem.day)
    hours = problem.step_minutes / 60
    past: Json = {
        "name": "past",
        "x": [float((place - shown) * hours) for place in range(shown)],
        "y": [float(one) for one in problem.series[-shown:]],
    }
    following: Json = {
        "name": "forecast, 95 %",
        "x": [float(place * hours) for place in range(len(ahead))],
        "y": [float(one) for one in ahead],
        "low": [float(one) for one in low],
        "high": [float(one) for one in high],
    }
    return {
        "kind": "lines",
        "title": "What comes next",
        "x_label": "hours from now",
        "y_label": "requests/s",
        "series": [past, following],
    }


def _write(result: StageResult, out: Path) -> None:
    """The forecast as a CSV, whole or not at all."""
    facts = result.facts
    columns: list[list[float]] = [facts["forecast"]]  # type: ignore[list-item]
    names = ["hours", "forecast"]
    for share in COVERAGES:
        for side in ("low", "high"):
            columns.append(facts[side][f"{share:.0%}"])  # type: ignore[call-overload,index,arg-type]
            names.append(f"{side}_{share:.0%}".replace("%", ""))
    step = float(facts["step_minutes"]) / 60  # type: ignore[arg-type]
    lines = [",".join(names)]
    for place, values in enumerate(zip(*columns, strict=True)):
        lines.append(",".join(f"{one:.6g}" for one in ((place + 1) * step, *values)))
    write_whole(out, "\n".join(lines) + "\n")
