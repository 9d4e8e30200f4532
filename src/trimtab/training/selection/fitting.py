"""Trains what a plan says on rows of a dataset. Knows nothing of splits, blocks or what is judged."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.adapters.models.artifact import Estimator, Fitted
from trimtab.adapters.models.boosting import Training, dataset, fit_dataset
from trimtab.adapters.models.current import fit_current
from trimtab.adapters.models.encoding import Encoding, Matrix
from trimtab.adapters.models.learn_encoding import encode, learn
from trimtab.adapters.sources.dataset import Dataset
from trimtab.core.errors import InputError
from trimtab.training.selection.families import linear_model, randomised_trees
from trimtab.training.selection.plan import Selection

TAIL_SHARE = 0.1  # of the training rows, the last ones: what early stopping watches
MOST_TAIL_ROWS = 20_000
LEAST_TAIL_ROWS = 200
LIKE_DEFAULT_L2 = 1e-6  # the low end of the log range stands for LightGBM's own default, none
SMOOTH = {"cat_smooth": 60.0, "cat_l2": 30.0, "min_data_per_group": 200}


class Rows:
    """Training rows, encoded and binned once however many plans train on them."""

    def __init__(self, rows: Dataset) -> None:
        self.dataset = rows
        self.encoding: Encoding = learn(rows)
        self._binned = functools.lru_cache(maxsize=3)(self._bin)

    @functools.cached_property
    def x(self) -> Matrix:
        return encode(self.dataset, self.encoding)

    @property
    def tail(self) -> int:
        """How many of the last rows early stopping watches; 0 when there are too few rows to spare any."""
        count = min(MOST_TAIL_ROWS, round(len(self.dataset) * TAIL_SHARE))
        return count if count >= LEAST_TAIL_ROWS else 0

    def binned(self, bins: int, is_native: bool, tail: int) -> Any:
        """All but the last `tail` rows as a LightGBM data set; shared, so no plan may change it."""
        return self._binned(bins, is_native, tail)

    def _bin(self, bins: int, is_native: bool, tail: int) -> Any:
        stop = len(self.dataset) - tail
        categorical = self.encoding.categorical_features if is_native else ()
        made = dataset(self.x[:stop], self.dataset.y[:stop], categorical, _dataset_params(bins))
        return made.construct()


@dataclass(frozen=True)
class Trained:
    """A fitted model and the rounds that it took (0: not boosted)."""

    fitted: Fitted
    rounds: int


@dataclass(frozen=True)
class Request:
    """What is trained and how: `rounds` given means that number, on all rows; `pace` below 1 means fewer, longer steps."""

    plan: Selection
    metric: str
    current: str = ""  # "file.py:function" of the user's model
    folder: str = ""  # that the path above starts from
    rounds: int = 0
    pace: float = 1.0
    seed: int = 0


def train(rows: Rows, request: Request) -> Trained:
    """Train one plan. Raises InputError when the user's model is asked for and cannot be used."""
    plan = request.plan
    if plan.family == "lightgbm":
        return _boost(rows, request)
    if plan.family == "current":
        if not request.current:
            raise InputError("there is no current model", hint="set model.current in trimtab.toml")
        return Trained(fit_current(request.current, Path(request.folder), rows.dataset, rows.encoding), 0)
    make = linear_model if plan.family == "linear" else randomised_trees
    model = make(plan, rows.encoding, rows.dataset.task, request.seed)
    y = rows.dataset.y if rows.dataset.task == "regression" else rows.dataset.y.astype(int)
    model.fit(rows.x, y)
    return Trained(_fitted(rows, Estimator(model, rows.dataset.task)), 0)


def _boost(rows: Rows, request: Request) -> Trained:
    plan = request.plan
    is_watched = plan.is_stopped_early and not request.rounds
    tail = rows.tail if is_watched else 0
    rate = min(0.5, plan.learning_rate / request.pace)
    steps = request.rounds or max(10, round(plan.rounds * plan.learning_rate / rate))
    training = Training(
        rows.dataset.task,
        max(2, len(rows.dataset.classes)),
        boosting_params(plan, request.metric) | {"learning_rate": rate},
        steps,
        early_stopping=round(10 + 2 / rate) if tail else 0,
        seed=request.seed,
    )
    binned = rows.binned(plan.bins, plan.categories != "ranks", tail)
    valid = _tail_of(rows, tail) if tail else None
    booster = fit_dataset(binned, training, valid=valid)
    return Trained(_fitted(rows, booster), int(booster.best_iteration if tail else booster.current_iteration()))


def boosting_params(plan: Selection, metric: str) -> dict[str, Any]:
    """LightGBM's names for a plan's knobs."""
    params: dict[str, Any] = {
        **_dataset_params(plan.bins),
        "learning_rate": plan.learning_rate,
        "num_leaves": plan.leaves,
        "min_data_in_leaf": plan.leaf_rows,
        "feature_fraction": plan.column_share,
        "lambda_l2": plan.l2 if plan.l2 > LIKE_DEFAULT_L2 else 0.0,
        "extra_trees": plan.is_random_split,
    }
    if plan.row_share < 1:
        params |= {"bagging_fraction": plan.row_share, "bagging_freq": 1}
    if plan.categories == "smooth":
        params |= SMOOTH
    if metric == "mae":
        params["objective"] = "regression_l1"
    return params


def _dataset_params(bins: int) -> dict[str, Any]:
    # No pre-filter: it would tie the data set to one value of min_data_in_leaf.
    return {"max_bin": bins, "feature_pre_filter": False, "verbosity": -1, "num_threads": 1}


def _tail_of(rows: Rows, tail: int) -> tuple[Matrix, npt.NDArray[np.float64]]:
    return rows.x[-tail:], rows.dataset.y[-tail:]


def _fitted(rows: Rows, predictor: Any) -> Fitted:
    return Fitted(rows.encoding, rows.dataset.task, rows.dataset.classes, predictor)


def thinned(rows: Dataset, share: float) -> Dataset:
    """An evenly spaced share of the rows: it covers the same span of time."""
    count = max(1, math.floor(len(rows) * share))
    return rows if count >= len(rows) else rows.take(np.linspace(0, len(rows) - 1, count).astype(np.int64))
