"""The share of a reference's room that a front of models takes: quality, training, prediction and size at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SPREAD = 200_000  # random points that the hypervolume is estimated with: a standard error of 0.1 %


@dataclass(frozen=True)
class Point:
    """A model: quality on both parts, and its costs in the units of the reference."""

    valid: float
    holdout: float
    train_cpu_seconds: float
    us_ratio: float
    bytes: float

    @property
    def costs(self) -> tuple[float, float, float]:
        return self.train_cpu_seconds, self.us_ratio, self.bytes


def best(points: Sequence[Point]) -> list[Point]:
    """Those that no other one beats on the valid part."""
    vectors = np.array([(-one.valid, *one.costs) for one in points])
    kept = []
    for point, mine in zip(points, vectors, strict=True):
        beats = (vectors <= mine).all(axis=1) & (vectors < mine).any(axis=1)
        if not beats.any():
            kept.append(point)
    return kept


class Box:
    """The room between the worst and the best of the reference, and the share of it that a front takes."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.low, self.high = self._raw(points).min(axis=0), self._raw(points).max(axis=0)
        self.probes = np.random.default_rng(0).random((SPREAD, 4))

    @staticmethod
    def _raw(points: Sequence[Point]) -> Any:
        return np.array([(one.holdout, *(-np.log(cost) for cost in one.costs)) for one in points])

    def volume(self, points: Sequence[Point]) -> float:
        """Of the front by the valid part, on the holdout."""
        scaled = np.clip((self._raw(best(points)) - self.low) / (self.high - self.low), 0.0, 1.0)
        taken = np.zeros(SPREAD, bool)
        for one in scaled:
            taken |= (self.probes <= one).all(axis=1)
        return float(taken.mean())
