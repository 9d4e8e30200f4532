"""LightGBM, deterministic and silent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from trimtab.adapters.models.encoding import Matrix
from trimtab.adapters.sources.dataset import Task

OBJECTIVES: Mapping[Task, str] = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}


@dataclass(frozen=True)
class Training:
    """How to train: LightGBM's own parameters beside what trimtab fixes for all of them."""

    task: Task
    classes: int = 2
    params: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 100
    early_stopping: int = 0  # rounds without a gain on the validation rows; 0: never
    seed: int = 0
    threads: int = 1


def full_params(training: Training) -> dict[str, Any]:
    """The parameters that LightGBM gets. Deterministic: the same data and parameters give the same trees."""
    params = {
        "objective": OBJECTIVES[training.task],
        "verbosity": -1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": training.seed,
        "num_threads": training.threads,
        **training.params,
    }
    if training.task == "multiclass":
        params["num_class"] = training.classes
    return params


def dataset(x: Matrix, y: npt.NDArray[np.float64], categorical: Sequence[int], params: Mapping[str, Any]) -> Any:
    """A binned data set, which several trainings with the same `max_bin` can share."""
    return lightgbm.Dataset(x, y, categorical_feature=list(categorical), params=dict(params), free_raw_data=False)


def fit(
    x: Matrix,
    y: npt.NDArray[np.float64],
    training: Training,
    *,
    categorical: Sequence[int] = (),
    valid: tuple[Matrix, npt.NDArray[np.float64]] | None = None,
) -> lightgbm.Booster:
    """Train a booster on x (rows, features); with `valid` and early stopping, its best iteration is what predicts."""
    params = full_params(training)
    rows = dataset(x, y, categorical, params)
    return fit_dataset(rows, training, valid=valid)


def fit_dataset(
    rows: Any, training: Training, *, valid: tuple[Matrix, npt.NDArray[np.float64]] | None = None
) -> lightgbm.Booster:
    """Train on a data set that is binned already."""
    callbacks: list[Callable[..., Any]] = []
    held_out = None
    if valid is not None:
        held_out = [lightgbm.Dataset(valid[0], valid[1], reference=rows)]
        if training.early_stopping:
            callbacks.append(lightgbm.early_stopping(training.early_stopping, verbose=False))
    return lightgbm.train(
        full_params(training), rows, num_boost_round=training.rounds, valid_sets=held_out, callbacks=callbacks
    )
