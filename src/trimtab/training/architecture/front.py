"""The front: models that no other one beats in quality, training, prediction and size at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trimtab.adapters.models.metrics import GOAL
from trimtab.core.model import Comparison, Decision
from trimtab.training.architecture.plan import ShrinkPlan

LEAST_SIZES = 4
COSTS = ("train_cpu_seconds", "predict_us_per_row", "model_bytes")


@dataclass(frozen=True)
class Point:
    """A model that was looked at: its means over the search split."""

    plan: ShrinkPlan
    quality: float
    metrics: Mapping[str, float]


def points(decision: Decision[ShrinkPlan], metric: str) -> list[Point]:
    """Every model of the search that could be measured, today's first."""
    compared = [(one.proposal.plan, one.verdict) for one in decision.trials if isinstance(one.verdict, Comparison)]
    found = [Point(plan, verdict.metrics[metric], verdict.metrics) for plan, verdict in compared]
    if compared:
        today = compared[0][1].reference
        found.insert(0, Point(decision.current, today[metric], today))
    return found


def front(found: Sequence[Point], metric: str, costs: tuple[str, ...] = COSTS) -> list[Point]:
    """Those that no other one beats in quality and these costs, the cheapest to predict first."""
    sign = -1.0 if GOAL[metric] == "max" else 1.0
    vectors = [(sign * one.quality, *(one.metrics[name] for name in costs)) for one in found]
    best = [one for one, mine in zip(found, vectors, strict=True) if not any(_beats(other, mine) for other in vectors)]
    return sorted(best, key=lambda one: one.metrics["predict_us_per_row"])


def ranked_by_size(found: Sequence[Point], metric: str) -> str:
    """How well parameters and FLOPs alone rank the sizes of a network; empty where there are too few."""
    sized = [one for one in found if one.metrics.get("flops")]
    if len(sized) < LEAST_SIZES:
        return ""
    from scipy.stats import spearmanr

    sign = 1.0 if GOAL[metric] == "max" else -1.0
    by = {name: [one.metrics[name] for one in sized] for name in ("flops", "parameters")}
    told = {name: float(spearmanr(values, [sign * one.quality for one in sized])[0]) for name, values in by.items()}
    return (
        f"FLOPs alone rank the {len(sized)} sizes of today's network by {metric} with Spearman's ρ "
        f"{told['flops']:+.2f}, parameters with {told['parameters']:+.2f}: what any proxy would have to beat"
    )


def _beats(ours: tuple[float, ...], theirs: tuple[float, ...]) -> bool:
    return ours != theirs and all(mine <= other for mine, other in zip(ours, theirs, strict=True))
