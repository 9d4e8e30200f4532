"""The one shape in which every face shows a decision (schema 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.core.model import Comparison, Decision, Guardrail, Json, Objective, Spend, Verdict
from trimtab.core.wire import dump

SCHEMA = 1


def decision_view(
    decision: Decision[Any], objective: Objective, *, net_dollars: float | None = None
) -> dict[str, Json]:
    """A decision as JSON. `net_dollars`: saved a month less what the search cost, where a price is known."""
    winner = decision.winner
    verdict = winner.verdict if winner is not None else None
    view: dict[str, Json] = {
        "id": decision.id,
        "problem": decision.problem,
        "current": dump(decision.current),
        "chosen": dump(winner.proposal.plan if winner is not None else decision.current),
        "by": winner.proposal.by if winner is not None else "current",
        "gain": gain_view(verdict, objective),
        "guardrails": dump([_guardrail(one) for one in objective.guardrails]),
        "method": verdict.method if isinstance(verdict, Comparison) else _method(decision),
        "holdout": dump(verdict.metrics) if isinstance(verdict, Comparison) else dump(_current_metrics(decision)),
        "holdout_current": dump(_current_metrics(decision)),
        "baselines": {name: dump(_metrics(one)) for name, one in decision.baselines.items()},
        "spent": spent_view(decision.spent),
        "net": net_dollars,
        "stopped": decision.stopped,
        "notes": dump(decision.notes),
    }
    return view


def _guardrail(one: Guardrail) -> str:
    side = one.side.replace("_", " ")
    bound = f"{one.bound:g}" if one.scale == "difference" else f"{one.bound:.1%}"
    return f"{one.metric}: {side} {bound}{' off the current' if one.relative else ''}"


def gain_view(verdict: Verdict | None, objective: Objective) -> dict[str, Json]:
    """A gain with its interval; zeros when the current plan is kept."""
    unit = "share" if objective.scale == "ratio" else objective.unit
    if not isinstance(verdict, Comparison):
        return {"low": 0.0, "mid": 0.0, "high": 0.0, "metric": objective.metric, "unit": unit}
    gain = verdict.gain
    return {
        "low": dump(gain.low),
        "mid": dump(gain.mid),
        "high": dump(gain.high),
        "metric": objective.metric,
        "unit": unit,
        "confidence": gain.confidence,
    }


def spent_view(spent: Spend) -> dict[str, Json]:
    """The quantities of a spend that every face shows."""
    return {
        "cpu_seconds": round(spent.cpu_seconds, 3),
        "wall_seconds": round(spent.wall_seconds, 3),
        "dollars": spent.dollars,
        "tokens": spent.tokens,
        "measurements": spent.measurements,
    }


def _metrics(verdict: Verdict) -> Mapping[str, Json]:
    if isinstance(verdict, Comparison):
        return dict(verdict.metrics)
    return {"refused": verdict.reason}


def _current_metrics(decision: Decision[Any]) -> Mapping[str, float]:
    """The current plan's metrics on the holdout, as measured beside whichever plan met it there."""
    verdicts = [decision.winner.verdict] if decision.winner is not None else []
    for verdict in [*verdicts, *decision.baselines.values()]:
        if isinstance(verdict, Comparison):
            return verdict.reference
    return {}


def _method(decision: Decision[Any]) -> str:
    for trial in decision.trials:
        if isinstance(trial.verdict, Comparison):
            return trial.verdict.method
    return ""
