"""The one judge: compares a plan with the current one on the same samples. It does not know who proposed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trimtab.core.errors import ContractError
from trimtab.core.model import Comparison, Guardrail, Interval, Measurement, Objective, Split
from trimtab.core.statistics import lower_bound, on_scale, paired_gains, paired_interval

CONFIDENCE = 0.95


def compare(
    objective: Objective,
    current: Sequence[Measurement],
    plan: Sequence[Measurement],
    *,
    split: Split = "search",
    tests: int = 1,
) -> Comparison:
    """The verdict on a plan, sample by sample. `tests`: how many plans are compared at once, which widens intervals.

    On the holdout, relative guardrails must hold by their confidence bound; in the search, by their mean.
    """
    gains = paired_gains(objective, values(current, objective.metric), values(plan, objective.metric))
    gain = on_scale(objective, paired_interval(gains, confidence=CONFIDENCE, tests=tests))
    broken = [reason for rail in objective.guardrails if (reason := _breach(rail, current, plan, split, tests))]
    if broken:
        ruling, reason = "unsafe", "; ".join(broken)
    elif gain.low > objective.margin:
        ruling, reason = "better", f"{objective.metric} gains at least {gain.low:.4g}"
    else:
        ruling, reason = "no_better", f"{objective.metric} may gain as little as {gain.low:.4g}"
    return Comparison(
        ruling=ruling,  # type: ignore[arg-type]
        reason=reason,
        gain=gain,
        metrics=means(plan),
        reference=means(current),
        method=plan[0].method,
        split=split,
        samples=len(plan),
        notes="; ".join(dict.fromkeys(one.notes for one in plan if one.notes)),
    )


def can_win(comparison: Comparison, objective: Objective) -> bool:
    """Whether more samples could still make the plan a winner."""
    return comparison.ruling != "unsafe" and comparison.gain.high > objective.margin


def means(measurements: Sequence[Measurement]) -> Mapping[str, float]:
    """The mean of every metric that all measurements have."""
    shared = set.intersection(*(set(one.metrics) for one in measurements))
    return {
        name: sum(one.metrics[name] for one in measurements) / len(measurements)
        for name in measurements[0].metrics
        if name in shared
    }


def values(measurements: Sequence[Measurement], metric: str) -> list[float]:
    """One metric over measurements. Raises ContractError when one lacks it."""
    try:
        return [one.metrics[metric] for one in measurements]
    except KeyError:
        known = ", ".join(measurements[0].metrics)
        raise ContractError(f"a measurement lacks the metric {metric!r}", hint=f"it has: {known}") from None


def _breach(
    rail: Guardrail, current: Sequence[Measurement], plan: Sequence[Measurement], split: Split, tests: int
) -> str:
    """Why a guardrail does not hold; empty when it does."""
    new = values(plan, rail.metric)
    sign = -1.0 if rail.side == "at_most" else 1.0
    side = rail.side.replace("_", " ")
    if not rail.relative:
        mean = sum(new) / len(new)
        holds = sign * (mean - rail.bound) >= 0
        return "" if holds else f"{rail.metric} is {mean:.4g}, must be {side} {rail.bound:.4g}"
    # The same comparison as that of an objective's metric.
    same = Objective(rail.metric, "min" if rail.side == "at_most" else "max", scale=rail.scale)
    slack = paired_gains(same, values(current, rail.metric), new)
    mean = sum(slack) / len(slack)
    # Equal to the bit on every sample is non-inferior by any bound.
    worst = mean if split == "search" or not any(slack) else lower_bound(slack, confidence=CONFIDENCE, tests=tests)
    loss, bound = -on_scale(same, Interval(worst, worst, worst)).low, abs(rail.bound)
    change = "rises" if rail.side == "at_most" else "falls"
    told, allowed = (f"{one:.4g}" if rail.scale == "difference" else f"{one:.1%}" for one in (loss, bound))
    return "" if loss <= bound else f"{rail.metric} {change} by up to {told}, may by {allowed}"
