"""What a student learns from: some rows, some columns, and a target that may be softened by a teacher's answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trimtab.adapters.models.encoding import TIME_PARTS, Encoding, Matrix
from trimtab.adapters.sources.dataset import Task
from trimtab.training.architecture.plan import ShrinkPlan
from trimtab.training.selection.fitting import Rows

LEAST_ROWS = 50
LEAST_CHANCE = 0.02  # a class below it is left out of a row's soft target

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Lesson:
    """Rows and targets. Soft targets of classes are rows that occur once for each likely class, with weights."""

    x: Matrix
    y: Vector
    weights: Vector | None
    encoding: Encoding
    task: Task
    classes: tuple[str, ...]


def lesson(rows: Rows, plan: ShrinkPlan, names: Sequence[str], answers: Vector | None) -> Lesson:
    """The lesson of a plan on the named columns; `answers`: today's model's, for all of the rows."""
    count, whole = len(rows.dataset), rows.dataset
    some = max(min(LEAST_ROWS, count), round(count * plan.rows))
    places = np.linspace(0, count - 1, some).round().astype(np.int64)
    encoding = Encoding(tuple(column for column in rows.encoding.columns if column.name in set(names)))
    x = rows.x if len(encoding.columns) == len(rows.encoding.columns) else rows.x[:, _features(rows, encoding)]
    x, y, weights = (x if some == count else x[places]), whole.y[places], None
    if answers is not None:
        x, y, weights = _softened(x, y, answers[places], plan, whole.task)
    return Lesson(x, y, weights, encoding, whole.task, whole.classes)


def is_chance(plan: ShrinkPlan, task: Task) -> bool:
    """Whether the targets are chances between 0 and 1, which LightGBM can learn as they are."""
    return plan.kind == "boosted" and plan.taught > 0 and task == "binary"


def column_gains(encoding: Encoding, gains: Sequence[float]) -> dict[str, float]:
    """The gains of features, summed by the raw column that they come from."""
    found, place = {}, 0
    for column in encoding.columns:
        width = len(TIME_PARTS) if column.kind == "time" else 1
        found[column.name] = float(sum(gains[place : place + width]))
        place += width
    return found


def _features(rows: Rows, encoding: Encoding) -> list[int]:
    there = {name: place for place, name in enumerate(rows.encoding.feature_names)}
    return [there[name] for name in encoding.feature_names]


def _softened(
    x: Matrix, y: Vector, answers: Vector, plan: ShrinkPlan, task: Task
) -> tuple[Matrix, Vector, Vector | None]:
    if task == "regression" or is_chance(plan, task):
        return x, plan.taught * answers + (1 - plan.taught) * y, None
    chances = answers if answers.ndim == 2 else np.column_stack([1 - answers, answers])
    mixed = plan.taught * chances
    mixed[np.arange(len(y)), y.astype(int)] += 1 - plan.taught
    mixed[mixed < LEAST_CHANCE] = 0.0
    mixed /= mixed.sum(axis=1, keepdims=True)
    places, classes = mixed.nonzero()
    return x[places], classes.astype(float), mixed[places, classes]
