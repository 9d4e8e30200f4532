"""Statistics of windows against a reference, and thresholds that clean windows calibrate."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trimtab.monitoring.drift.counts import FINEST, Counts
from trimtab.monitoring.drift.plan import DriftPlan

Values = npt.NDArray[np.float64]

DRAWS = 2000  # clean windows that a threshold is learned from
PSI_TEXTBOOK = 0.2
KS_TEXTBOOK = 1.358  # × sqrt((n + m) / (n m)): 5 % for one column (Smirnov 1948)


@dataclass(frozen=True)
class Detector:
    """A calibrated plan: a column has moved when its statistic exceeds its threshold."""

    plan: DriftPlan
    reference: Counts  # (columns, bins)
    thresholds: Values | None  # (columns,); None: the textbook's, which follow the window's size

    def statistics(self, windows: Counts) -> Values:
        """(windows, columns) of the plan's statistic."""
        return statistic(self.plan, windows, self.reference)

    def moved(self, windows: Counts) -> npt.NDArray[np.bool_]:
        """(windows, columns): whether each column moved."""
        limits = self.thresholds
        if limits is None:
            return np.asarray(self.statistics(windows) > textbook(self.plan, windows, self.reference))
        return np.asarray(self.statistics(windows) > limits)


def calibrate(plan: DriftPlan, daily: Counts, window_days: int, seed: int) -> Detector:
    """Learn thresholds from clean windows: days drawn from `daily` against the days that were not drawn.

    Whole days are drawn, so that what hangs together within a day stays together. For all columns at once, one clean
    window exceeds any threshold with chance `alpha`: each column's null is standardised, the largest one counts.
    """
    reference = daily.sum(axis=0)
    if plan.threshold == "textbook":
        return Detector(plan, reference, None)
    rng = np.random.default_rng(seed)
    null = np.concatenate([_null(plan, daily, window_days, rng) for _ in range(DRAWS // 50)])
    centre, spread = null.mean(axis=0), null.std(axis=0) + 1e-12
    # The largest of all columns, standardised: one number a window, whose quantile keeps the family's rate.
    largest = np.quantile(((null - centre) / spread).max(axis=1), 1 - plan.alpha)
    return Detector(plan, reference, np.maximum(plan.least, centre + largest * spread))


def _null(plan: DriftPlan, daily: Counts, window_days: int, rng: np.random.Generator) -> Values:
    windows, rests = clean_windows(daily, window_days, 50, rng)
    return np.stack([statistic(plan, one[None], rest)[0] for one, rest in zip(windows, rests, strict=True)])


def clean_windows(
    daily: Counts, window_days: int, count: int, rng: np.random.Generator
) -> tuple[list[Counts], list[Counts]]:
    """Windows of days drawn without replacement, and for each the counts of all other days."""
    whole = daily.sum(axis=0)
    size = min(window_days, max(1, len(daily) // 2))
    drawn = [daily[rng.choice(len(daily), size, replace=False)].sum(axis=0) for _ in range(count)]
    return drawn, [whole - one for one in drawn]


def statistic(plan: DriftPlan, windows: Counts, reference: Counts) -> Values:
    """(windows, columns) of: KS distance of the binned values (with missing ones as the last), PSI, or chi² by size."""
    p, q = _shares(_merged(windows, plan.bins)), _shares(_merged(reference[None], plan.bins))
    if plan.statistic == "psi":
        p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
        return np.asarray(((p - q) * np.log(p / q)).sum(axis=2))
    if plan.statistic == "chi2":
        return np.asarray(np.sqrt(((p - q) ** 2 / np.maximum(q, 1e-4)).sum(axis=2)))
    return np.asarray(np.abs(np.cumsum(p - q, axis=2)).max(axis=2))


def textbook(plan: DriftPlan, windows: Counts, reference: Counts) -> Values:
    """The usual thresholds of (windows, columns)."""
    if plan.statistic == "psi":
        return np.full(windows.shape[:2], PSI_TEXTBOOK)
    n, m = windows.sum(axis=2), reference.sum(axis=1)[None]
    if plan.statistic == "distance":
        return np.asarray(KS_TEXTBOOK * np.sqrt((n + m) / (n * m)))
    from scipy.stats import chi2

    return np.asarray(np.sqrt(chi2.ppf(0.95, plan.bins) / n))


def _merged(counts: Counts, bins: int) -> Counts:
    """Fewer, wider bins; missing values keep their own."""
    edges = _edges(bins)
    return np.concatenate([np.add.reduceat(counts[..., :FINEST], edges, axis=-1), counts[..., FINEST:]], axis=-1)


@functools.lru_cache(maxsize=64)
def _edges(bins: int) -> tuple[int, ...]:
    return tuple(sorted({i * FINEST // bins for i in range(bins)}))


def _shares(counts: Counts) -> Counts:
    return np.asarray(counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1))
