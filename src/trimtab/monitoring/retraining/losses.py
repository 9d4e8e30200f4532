"""The losses of every model on every window: models really trained at each window's start, kept on disk."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.adapters.models.artifact import Fitted
from trimtab.adapters.models.metrics import GOAL, score
from trimtab.adapters.sources.dataset import Dataset, DataSpec, load, part
from trimtab.core.budget import Stopwatch
from trimtab.core.errors import InputError
from trimtab.core.model import Failure, Json, Spend
from trimtab.core.portable import imported
from trimtab.core.ports import Limits, Runner, Task
from trimtab.core.wire import digest, dump
from trimtab.core.wire import load as load_wire
from trimtab.monitoring.windows import windows

Vector = npt.NDArray[np.float64]

MOST_WINDOWS = 14  # more are joined: each costs one training


@dataclass(frozen=True)
class Production:
    """What is replayed: the data, how models are trained, and where what was made is kept.

    `trainer`: "module:function" that takes (recipe, rows) and returns a fitted model.
    """

    data: DataSpec
    metric: str
    trainer: str
    recipe: Mapping[str, Json]
    window_days: int
    cache: str

    @property
    def key(self) -> str:
        return digest([self.data, self.metric, self.trainer, self.recipe, self.window_days])[:24]

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True)
class Trained:
    """A model trained before a window: its predictions from that window's first row on, and what it took."""

    predicted: Vector
    cpu_seconds: float


@functools.lru_cache(maxsize=2)
def production_rows(production: Production) -> Dataset:
    """The rows that are replayed."""
    return part(load(production.data), production.data, "production")


@functools.lru_cache(maxsize=2)
def production_windows(production: Production) -> tuple[slice, ...]:
    """At most MOST_WINDOWS windows of at least `window_days`."""
    rows = production_rows(production)
    made = windows(rows, production.data, production.window_days)
    joined = -(-len(made) // MOST_WINDOWS)
    return tuple(
        slice(made[start].start, made[min(start + joined, len(made)) - 1].stop) for start in range(0, len(made), joined)
    )


@functools.lru_cache(maxsize=64)
def model_before(production: Production, window: int) -> Trained:
    """Train on all rows before a window, or read what an earlier replay kept."""
    place = _place(production, window)
    if place.exists():
        with np.load(place) as kept:
            return Trained(kept["predicted"], float(kept["cpu_seconds"]))
    whole, later = load(production.data), production_rows(production)
    first = production_windows(production)[window].start
    train: Any = imported(production.trainer)
    watch = Stopwatch()
    fitted: Fitted = train(dict(production.recipe), whole.rows(0, len(whole) - len(later) + first))
    seconds = watch.read().cpu_seconds
    made = Trained(fitted.predict_table(later.rows(first, len(later)).table), seconds)
    _keep(place, made)
    return made


def train_ahead(production: Production, runner: Runner, limits: Limits) -> Spend:
    """Train every window's model that is not kept yet, as many at a time as the runner works on; what that took.

    Raises InputError when one cannot be trained within the limits.
    """
    recipe: Json = dump(production)
    missing = [i for i in range(len(production_windows(production))) if not _place(production, i).exists()]
    tasks = [
        Task(f"{__name__}:keep_before", {"production": recipe, "window": i}, f"{production.key}-{i}", limits)
        for i in missing
    ]
    spent = Spend()
    for window, result in zip(missing, runner.map(tasks), strict=True):
        if isinstance(result.outcome, Failure):
            raise InputError(
                f"the model cannot be trained before window {window} of production: {result.outcome.reason}",
                hint="raise budget.measurement_seconds or budget.memory_gb, or lengthen production.window_days",
            )
        spent += result.cost
    return spent


def keep_before(*, production: Json, window: int) -> Json:
    """Train the model before a window and keep it: what a task of `train_ahead` does in a child process."""
    return model_before(load_wire(Production, production), window).cpu_seconds


def loss_between(production: Production, model: int, window: int, rows: npt.NDArray[np.int64] | None = None) -> float:
    """The loss of the model trained before `model` on the rows of `window`: the metric itself, or 1 minus it."""
    place = production_windows(production)[window]
    offset = production_windows(production)[model].start
    y = production_rows(production).y[place]
    predicted = model_before(production, model).predicted[place.start - offset : place.stop - offset]
    chosen = slice(None) if rows is None else rows
    value = score(production.metric, y[chosen], predicted[chosen])
    return value if GOAL[production.metric] == "min" else 1 - value


def training_cpu_seconds(production: Production) -> float:
    """What one training takes, the median of those that were done."""
    count = len(production_windows(production))
    return float(np.median([model_before(production, i).cpu_seconds for i in range(count)]))


def _place(production: Production, window: int) -> Path:
    return Path(production.cache) / "production" / f"{production.key}-{window}.npz"


def _keep(place: Path, made: Trained) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=place.parent, suffix=".tmp", delete=False) as file:
        np.savez_compressed(file, predicted=made.predicted, cpu_seconds=made.cpu_seconds)
    os.replace(file.name, place)
