"""Boosted symmetric trees, whose every level asks one question: CatBoost's (Prokhorenkova et al., NeurIPS 2018)."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.adapters.models.encoding import Encoding, Matrix
from trimtab.adapters.sources.dataset import QUANTITIES, Task
from trimtab.core.errors import InputError

Vector = npt.NDArray[np.float64]

LOSSES: Mapping[Task, str] = {"binary": "Logloss", "multiclass": "MultiClass", "regression": "RMSE"}
DEPTH = 6
UNKNOWN = -1  # in place of a category that is missing or was never seen
USUAL_ROUNDS = 500
# CPU seconds of a round: for itself, a row, a value of a row, and a place where a column can be split. On 25 sets a
# round took 0.5 to 0.9 times what these say (`benchmarks/training/members.md`).
ROUND_SECONDS, ROW_SECONDS, VALUE_SECONDS, PLACE_SECONDS = 7e-4, 1e-7, 3e-9, 6.5e-7
MOST_PLACES, LOOKED_AT = 254, 2000
WORDS_TIMES = 3.0  # what reading words as such makes of it: 0.9 to 2.9 there


@dataclass(frozen=True)
class Symmetric:
    """A fitted model, as scikit-learn shows one. `words`: the columns whose categories it reads as such."""

    model: Any
    words: tuple[int, ...]

    def predict(self, x: Any) -> Vector:
        """Values of a regression, as (n,)."""
        return np.asarray(self.model.predict(_pool(x, self.words), thread_count=1), float)

    def predict_proba(self, x: Any) -> Vector:
        """Chances of the classes, as (n, k)."""
        found = self.model.predict(_pool(x, self.words), prediction_type="Probability", thread_count=1)
        return np.asarray(found, float)


@dataclass(frozen=True)
class Growth:
    """How it is boosted. `patience`: rounds without a gain on the last `tail` rows after which it ends.

    `reads_words`: categories as such, by what targets their earlier rows had; else their ranks by frequency.
    """

    rate: float
    rounds: int
    tail: int
    patience: int
    reads_words: bool
    seed: int
    threads: int


def is_installed() -> bool:
    """Whether CatBoost is there."""
    return importlib.util.find_spec("catboost") is not None


def fit_symmetric(x: Matrix, y: Vector, encoding: Encoding, task: Task, loss: str, growth: Growth) -> Any:
    """The model and its number of rounds; the tail's rows are watched, not trained on. Raises InputError without it."""
    try:
        from catboost import CatBoost
    except ImportError:
        hint = "pip install 'trimtab[catboost]'"
        raise InputError("this plan grows symmetric trees, and CatBoost is not installed", hint=hint) from None
    words = encoding.categorical_features if growth.reads_words else ()
    labels = y if task in QUANTITIES else y.astype(int)
    cut = len(x) - growth.tail
    model = CatBoost(
        {
            "loss_function": "MAE" if loss == "mae" else LOSSES[task],
            "learning_rate": growth.rate,
            "iterations": growth.rounds,
            "depth": DEPTH,
            "max_ctr_complexity": 1,  # no pairs of words: they cost three times as much
            "random_seed": growth.seed,
            "thread_count": growth.threads,
            "logging_level": "Silent",
            "allow_writing_files": False,
        }
    )
    watched = _pool(x[cut:], words, labels[cut:]) if growth.tail else None
    patience = growth.patience if growth.tail else None
    model.fit(_pool(x[:cut], words, labels[:cut]), eval_set=watched, early_stopping_rounds=patience)
    return Symmetric(model, words), int(model.tree_count_)


def expected_seconds(rows: int, x: Matrix, outputs: int) -> float:
    """CPU seconds that training on so many rows like those of x will take, about, where words are read as ranks."""
    some = x[:: max(1, len(x) // LOOKED_AT)]
    places = sum(min(MOST_PLACES, len(np.unique(column))) for column in some.T)
    a_round = ROUND_SECONDS + rows * (ROW_SECONDS + x.shape[1] * VALUE_SECONDS) + places * PLACE_SECONDS
    return float(USUAL_ROUNDS * outputs * a_round)


def _pool(x: Any, words: Sequence[int], labels: Any = None) -> Any:
    """What CatBoost reads: it takes words from a frame only."""
    from catboost import Pool

    if not words:
        return Pool(x, labels)
    import pandas as pd

    frame = pd.DataFrame(x)
    for place in words:
        frame[place] = frame[place].fillna(UNKNOWN).astype(int)
    return Pool(frame, labels, cat_features=list(words))
