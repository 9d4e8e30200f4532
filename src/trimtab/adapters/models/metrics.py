"""What quality means: the metrics by name, and which way is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trimtab.adapters.sources.dataset import Task
from trimtab.core.errors import InputError

Vector = npt.NDArray[np.float64]

GOAL: Mapping[str, Literal["min", "max"]] = {
    "auc": "max", "accuracy": "max", "f1": "max", "r2": "max",
    "log_loss": "min", "brier": "min", "rmse": "min", "mae": "min",
}  # fmt: skip
FOR_TASK: Mapping[Task, tuple[str, ...]] = {
    "binary": ("auc", "log_loss", "accuracy", "f1", "brier"),
    "multiclass": ("log_loss", "accuracy", "f1"),
    "regression": ("rmse", "mae", "r2"),
    "ranking": (),  # scored by query: see training.selection.scoring
}


def require_metric(metric: str, task: Task) -> None:
    """Raise InputError unless the metric fits the task."""
    if metric not in FOR_TASK[task]:
        raise InputError(f"the metric {metric!r} does not fit a {task} target", hint=f"use one of {FOR_TASK[task]}")


def score(metric: str, y: Vector, predicted: Vector) -> float:
    """A metric of predictions: P(class 1) as (n,), class probabilities as (n, k), or values as (n,).

    NaN where it is not defined, such as AUC on one class.
    """
    return float(_SCORES[metric](y, predicted))


def auc(y: Vector, predicted: Vector) -> float:
    """Area under the ROC curve by ranks; ties count half."""
    positives = y > 0.5
    count, yes = len(y), int(positives.sum())
    if yes in (0, count):
        return float("nan")
    _, inverse, counts = np.unique(predicted, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[positives].sum() - yes * (yes + 1) / 2) / (yes * (count - yes)))


def _log_loss(y: Vector, predicted: Vector) -> float:
    chances = _of_true_class(y, predicted)
    return float(-np.log(np.clip(chances, 1e-15, 1)).mean())


def _of_true_class(y: Vector, predicted: Vector) -> Vector:
    if predicted.ndim == 2:
        return np.asarray(predicted[np.arange(len(y)), y.astype(int)])
    return np.where(y > 0.5, predicted, 1 - predicted)


def _labels(predicted: Vector) -> npt.NDArray[np.int64]:
    return predicted.argmax(axis=1) if predicted.ndim == 2 else (predicted > 0.5).astype(np.int64)


def _f1(y: Vector, predicted: Vector) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(y, _labels(predicted), average="macro" if predicted.ndim == 2 else "binary", zero_division=0))


def _r2(y: Vector, predicted: Vector) -> float:
    return float(1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum())


_SCORES: Mapping[str, Callable[[Any, Any], float]] = {
    "auc": auc,
    "log_loss": _log_loss,
    "accuracy": lambda y, p: float((_labels(p) == y).mean()),
    "f1": _f1,
    "brier": lambda y, p: float(((y - p) ** 2).mean()),
    "rmse": lambda y, p: float(np.sqrt(((y - p) ** 2).mean())),
    "mae": lambda y, p: float(np.abs(y - p).mean()),
    "r2": _r2,
}
