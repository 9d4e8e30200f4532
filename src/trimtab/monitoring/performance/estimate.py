"""Estimates a metric of a window from a few bought labels.

AUC: the Mann-Whitney estimate with DeLong's variance on the logit scale (DeLong et al. 1988). Means (accuracy, Brier,
log loss, squared and absolute error): the difference estimator, which corrects what the model itself expects for all
rows by what the bought rows show (prediction-powered inference, Angelopoulos et al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from trimtab.core.errors import InputError

Vector = npt.NDArray[np.float64]

LEAST_LABELS = 30


@dataclass(frozen=True)
class Estimate:
    """A metric with its interval, and how many labels it cost."""

    metric: str
    low: float
    mid: float
    high: float
    confidence: float
    labels: int


def sample_rows(count: int, labels: int, seed: int) -> npt.NDArray[np.int64]:
    """Which rows to buy labels for: at random, without replacement."""
    return np.sort(np.random.default_rng(seed).choice(count, min(labels, count), replace=False))


def estimate(
    metric: str, predicted: Vector, bought: npt.NDArray[np.int64], y: Vector, confidence: float = 0.95
) -> Estimate:
    """The metric over all rows of `predicted`, from labels `y` of the `bought` rows.

    Raises InputError when there are too few labels or the metric has no such estimator.
    """
    if len(bought) < LEAST_LABELS:
        raise InputError(f"{len(bought)} labels are too few", hint=f"buy at least {LEAST_LABELS} a window")
    z = float(ndtri(0.5 + confidence / 2))
    if metric == "auc":
        low, mid, high = _auc_interval(y, predicted[bought], z)
        return Estimate(metric, low, mid, high, confidence, len(bought))
    if metric not in _LOSSES:
        raise InputError(f"there is no estimator of {metric!r} from a sample", hint=f"use auc or {', '.join(_LOSSES)}")
    loss, expected = _LOSSES[metric]
    gap = loss(y, predicted[bought]) - expected(predicted[bought])
    mid = float(expected(predicted).mean() + gap.mean())
    share = 1 - len(bought) / len(predicted)  # bought without replacement: what is bought is known
    half = z * float(gap.std(ddof=1)) * math.sqrt(share / len(bought))
    low, high = mid - half, mid + half
    if metric == "rmse":
        low, mid, high = (math.sqrt(max(0.0, square)) for square in (low, mid, high))
    return Estimate(metric, low, mid, high, confidence, len(bought))


def _auc_interval(y: Vector, predicted: Vector, z: float) -> tuple[float, float, float]:
    yes, no = np.sort(predicted[y > 0.5]), np.sort(predicted[y <= 0.5])
    if len(yes) < 2 or len(no) < 2:
        return 0.0, 0.5, 1.0
    above = (np.searchsorted(no, yes, "left") + np.searchsorted(no, yes, "right")) / 2 / len(no)
    below = 1 - (np.searchsorted(yes, no, "left") + np.searchsorted(yes, no, "right")) / 2 / len(yes)
    auc = float(above.mean())
    deviation = math.sqrt(above.var(ddof=1) / len(yes) + below.var(ddof=1) / len(no))
    inside = min(max(auc, 1e-6), 1 - 1e-6)
    logit, slope = math.log(inside / (1 - inside)), 1 / (inside * (1 - inside))
    return _expit(logit - z * deviation * slope), auc, _expit(logit + z * deviation * slope)


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def _binary(
    loss_yes: Callable[[Vector], Vector], loss_no: Callable[[Vector], Vector]
) -> tuple[Callable[[Vector, Vector], Vector], Callable[[Vector], Vector]]:
    """A loss of a yes/no target, and what a model expects of it by its own probabilities."""

    def loss(y: Vector, p: Vector) -> Vector:
        return np.where(y > 0.5, loss_yes(p), loss_no(p))

    def expected(p: Vector) -> Vector:
        return np.asarray(p * loss_yes(p) + (1 - p) * loss_no(p))

    return loss, expected


def _log(p: Vector) -> Vector:
    return np.asarray(-np.log(np.clip(p, 1e-15, 1)))


def _nothing(p: Vector) -> Vector:
    return np.zeros(len(p))


_LOSSES: Mapping[str, tuple[Callable[[Vector, Vector], Vector], Callable[[Vector], Vector]]] = {
    "accuracy": _binary(lambda p: (p > 0.5).astype(float), lambda p: (p <= 0.5).astype(float)),
    "brier": _binary(lambda p: (1 - p) ** 2, lambda p: p**2),
    "log_loss": _binary(_log, lambda p: _log(1 - p)),
    "rmse": (lambda y, p: (y - p) ** 2, _nothing),
    "mae": (lambda y, p: np.abs(y - p), _nothing),
}
