"""The front: models that no other one beats in quality, training, prediction and size at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.adapters.models.metrics import GOAL
from trimtab.core.model import Comparison, Decision
from trimtab.training.architecture.plan import ShrinkPlan

COSTS = ("train_cpu_seconds", "predict_us_per_row", "model_bytes")


@dataclass(frozen=True)
class Point:
    """A model that was looked at: its means over the search split."""

    plan: ShrinkPlan
    quality: float
    metrics: Mapping[str, float]

    @property
    def costs(self) -> tuple[float, ...]:
        """Training, prediction and bytes: less is better."""
        return tuple(self.metrics[name] for name in COSTS)


def points(decision: Decision[ShrinkPlan], metric: str) -> list[Point]:
    """Every model of the search that could be measured, today's first. Sizes change no quality that costs nothing."""
    compared = [(one.proposal.plan, one.verdict) for one in decision.trials if isinstance(one.verdict, Comparison)]
    found = [Point(plan, verdict.metrics[metric], verdict.metrics) for plan, verdict in compared]
    if compared:
        today = compared[0][1].reference
        found.insert(0, Point(decision.current, today[metric], today))
    return found


def front(found: Sequence[Point], metric: str) -> list[Point]:
    """Those that no other one beats, the cheapest to predict first."""
    sign = -1.0 if GOAL[metric] == "max" else 1.0
    vectors = [(sign * one.quality, *one.costs) for one in found]
    best = [one for one, mine in zip(found, vectors, strict=True) if not any(_beats(other, mine) for other in vectors)]
    return sorted(best, key=lambda one: one.metrics["predict_us_per_row"])


def _beats(ours: tuple[float, ...], theirs: tuple[float, ...]) -> bool:
    return ours != theirs and all(mine <= other for mine, other in zip(ours, theirs, strict=True))
