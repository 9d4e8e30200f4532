"""Trains what a plan says on rows of a dataset. Knows nothing of splits, blocks or what is judged."""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trimtab.adapters.models.artifact import Estimator, Fitted, Predictor
from trimtab.adapters.models.blend import Bounded, Reach, blended
from trimtab.adapters.models.boosting import Training, dataset, fit_dataset
from trimtab.adapters.models.current import fit_current
from trimtab.adapters.models.encoding import Encoding, Matrix
from trimtab.adapters.models.learn_encoding import encode, learn
from trimtab.adapters.sources.dataset import QUANTITIES, Dataset, Task
from trimtab.core.errors import InputError
from trimtab.training.selection.linear import linear_model
from trimtab.training.selection.network import Build, fit_network
from trimtab.training.selection.plan import ModelPlan, boosting_params
from trimtab.training.selection.symmetric import Growth, fit_symmetric

Places: TypeAlias = npt.NDArray[np.int64]

DEFAULT_ROUNDS = 100
MOST_ROUNDS = 2000  # of trees with MANY_LEAVES or more; smaller ones cost less, and are given as many leaves in all
MANY_LEAVES, MOST_TIMES = 16, 4
TAIL_SHARE = 0.1  # of the training rows, the last ones: what early stopping watches
MOST_TAIL_ROWS = 20_000
CHEAP_TAIL_ROWS = 3_000  # are kept, if there are so many, when the other rows are thinned
LEAST_TAIL_ROWS = 100  # with fewer there is no early stopping
FASTEST = 0.3  # no learning rate is raised beyond it for a cheaper look
UNWATCHED = 8.0  # learning rate × rounds where there are too few rows to watch any
# The same of symmetric trees, and the most where rows are watched: it was 2 to 60 on 25 sets, half of them below 17
# (`benchmarks/training/members.md`).
SLOW_UNWATCHED, MOST_STEPS = 20.0, 60.0
# How far a linear model in a leaf extends a column: beyond the middle 98 % of its values by so many times their range
# (`benchmarks/training/leaves.md`).
REACH, MIDDLE, SPACED_ROWS = 3.0, (0.01, 0.99), 20_000


@dataclass(frozen=True)
class Grid:
    """How columns are binned. is_native: categories as such; is_linear: with the values that leaves' models need."""

    max_bin: int
    is_native: bool
    is_linear: bool = False

    @property
    def params(self) -> dict[str, Any]:
        # No pre-filter: it would tie the data set to one value of min_data_in_leaf.
        held = {"linear_tree": True} if self.is_linear else {}
        return {"max_bin": self.max_bin, "feature_pre_filter": False, "verbosity": -1, **held}


class Pool:
    """Rows, encoded once and binned once for each grid. Folds of them, and shares of folds, are cut from the bins."""

    def __init__(self, rows: Dataset) -> None:
        self.dataset = rows
        self.encoding: Encoding = learn(rows)
        self.binned = functools.lru_cache(maxsize=4)(self._bin)

    @functools.cached_property
    def x(self) -> Matrix:
        """The encoded rows."""
        return encode(self.dataset, self.encoding)

    @functools.cached_property
    def reach(self) -> Reach:
        """The values beyond which a column is no straight line, for leaves' linear models.

        One wind of 1,048 miles an hour among winds below 50 would turn the line of all that share a leaf with it.
        """
        sample = self.x[_spaced(0, len(self.x), min(1.0, SPACED_ROWS / len(self.x)))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of columns without any value
            low, high = np.nanquantile(sample, MIDDLE, axis=0)
            width = high - low
        is_free = ~(width > 0)
        is_free[list(self.encoding.categorical_features)] = True
        return np.where(is_free, -np.inf, low - REACH * width), np.where(is_free, np.inf, high + REACH * width)

    def _bin(self, grid: Grid) -> Any:
        words = self.encoding.categorical_features if grid.is_native else ()
        x = np.clip(self.x, *self.reach) if grid.is_linear else self.x
        return dataset(x, self.dataset.y, words, grid.params, query_sizes(self.dataset)).construct()


class Rows:
    """Training rows of a pool, and how many of the last ones early stopping watches. Plans share what is binned."""

    def __init__(self, pool: Pool, places: Places | None = None, tail: int = 0) -> None:
        self._pool, self.encoding, self.tail = pool, pool.encoding, tail
        self._places = np.arange(len(pool.dataset)) if places is None else places
        self.is_whole = len(self._places) == len(pool.dataset)
        self.dataset = pool.dataset if self.is_whole else pool.dataset.take(self._places)
        self.binned = functools.lru_cache(maxsize=6)(self._bin)

    @classmethod
    def of(cls, rows: Dataset, share: float = 1.0) -> Rows:
        """A pool's own rows, `share` of them, evenly spaced."""
        places, tail = chosen(len(rows), share)
        return cls(Pool(rows if len(places) == len(rows) else rows.take(places)), tail=tail)

    @functools.cached_property
    def x(self) -> Matrix:
        """The encoded rows."""
        return self._pool.x if self.is_whole else self._pool.x[self._places]

    @property
    def reach(self) -> Reach:
        """Of the pool's columns."""
        return self._pool.reach

    def _bin(self, grid: Grid, start: int, stop: int, is_log: bool = False) -> Any:
        """The rows from start to before stop as a LightGBM data set. None may change it."""
        whole = self._pool.binned(grid)
        if self.is_whole and (start, stop) == (0, len(self.dataset)) and not is_log:
            return whole
        made = whole.subset(self._places[start:stop], params=grid.params).construct()
        return made.set_label(np.log(self.dataset.y[start:stop])) if is_log else made


def query_sizes(rows: Dataset) -> list[int] | None:
    """How many rows each query has, in their order; None where nothing is ranked."""
    if rows.queries is None:
        return None
    starts = np.flatnonzero(np.diff(rows.queries, prepend=rows.queries[0] - 1))
    return [int(one) for one in np.diff(starts, append=len(rows.queries))]


@dataclass(frozen=True)
class Trained:
    """A fitted model and the rounds that each of its boosters took (none: not boosted)."""

    fitted: Fitted
    rounds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Request:
    """What is trained and how. `rounds`: so many for each member, on all rows; `pace` below 1: fewer, longer steps."""

    plan: ModelPlan
    metric: str
    current: str = ""  # "file.py:function" of the user's model
    folder: str = ""  # that the path above starts from
    rounds: tuple[int, ...] = ()
    pace: float = 1.0
    threads: int = 1
    most_cpu_seconds: float = math.inf  # for one booster, which then ends with the trees that it has
    seed: int = 0  # of the rows and columns that are drawn


def train(rows: Rows, request: Request) -> Trained:
    """Train one plan. Raises InputError when the user's model is asked for and cannot be used."""
    plan = request.plan
    if plan.family == "current":
        if plan.others:
            raise ValueError("the current model cannot be blended")
        if not request.current:
            raise InputError("there is no current model", hint="name it as model.current = 'file.py:function'")
        return Trained(fit_current(request.current, Path(request.folder), rows.dataset))
    rounds = request.rounds or (0,) * len(plan.members)
    if len(rounds) != len(plan.members):
        raise ValueError(f"{len(plan.members)} members cannot have {len(rounds)} numbers of rounds")
    made = [_member(rows, replace(request, plan=one), count) for one, count in zip(plan.members, rounds, strict=True)]
    return joined([Trained(_fitted(rows, model), (number,)) for model, number in made], rows.dataset.task)


def joined(made: Sequence[Trained], task: Task) -> Trained:
    """Models of the same rows as one, whose raw score is the mean of theirs."""
    predictor = blended([one.fitted.predictor for one in made], task)
    return Trained(replace(made[0].fitted, predictor=predictor), tuple(itertools.chain(*(one.rounds for one in made))))


def _member(rows: Rows, request: Request, rounds: int) -> tuple[Any, int]:
    """A model of any family, and its number of rounds."""
    plan, task, y = request.plan, rows.dataset.task, rows.dataset.y
    if plan.family != "linear":
        return _boost(rows, request, rounds)
    if plan.hidden:
        build = Build(plan.hidden, request.seed, request.threads)
        return Estimator(fit_network(rows.x, y, rows.encoding, task, build), task), 0
    model = linear_model(plan.strength, rows.encoding, task)
    model.fit(rows.x, y if task in QUANTITIES else y.astype(int))
    return Estimator(model, task), 0


def more_rounds(rounds: tuple[int, ...], times: float) -> tuple[int, ...]:
    """As many rounds as pay on so many times the rows that early stopping saw.

    On the sets that the portfolio is learned on the root lowered the held-out loss in 68 % of trainings, by 0.3 % in
    the median, beside the same number of rounds (`benchmarks/training/rounds.py`).
    """
    return tuple(round(one * times**0.5) for one in rounds)


def _boost(rows: Rows, request: Request, rounds: int) -> tuple[Any, int]:
    """A booster and its number of rounds, which is found when 0 is given."""
    plan = request.plan
    if plan.trees == "symmetric":
        return _symmetric(rows, request, rounds)
    is_default = plan.family == "lightgbm-default"
    grid = Grid(plan.max_bin, plan.categories != "ranks", plan.leaf == "linear")
    tail = 0 if is_default or rounds else rows.tail
    rate = _rate(plan, request)
    training = Training(
        rows.dataset.task,
        max(2, len(rows.dataset.classes)),
        grid.params | boosting_params(plan, request.metric) | ({} if is_default else {"learning_rate": rate}),
        DEFAULT_ROUNDS if is_default else rounds or _most_rounds(plan, rate, tail),
        early_stopping=_patience(rate) if tail else 0,
        threads=request.threads,
        seed=request.seed,
        most_cpu_seconds=request.most_cpu_seconds,
    )
    cut = len(rows.dataset) - tail
    is_log = _is_log(plan, rows)
    binned = rows.binned(grid, 0, cut, is_log)
    valid = rows.binned(grid, cut, len(rows.dataset), is_log) if tail else None
    booster = fit_dataset(binned, training, valid=valid)
    count = int(booster.best_iteration if tail else booster.current_iteration())
    reach = rows.reach if grid.is_linear else None
    return (_bounded(booster, rows, is_log, reach) if is_log or grid.is_linear else booster), count


def _is_log(plan: ModelPlan, rows: Rows) -> bool:
    """Whether it is taught the target's logarithm. Raises ValueError where there is none."""
    if plan.target == "log" and (rows.dataset.task != "regression" or rows.dataset.y.min() <= 0):
        raise ValueError("logarithms are of values above zero only")
    return plan.target == "log"


def _bounded(model: Predictor, rows: Rows, is_log: bool, reach: Reach | None = None) -> Estimator:
    """A regression that says nothing beyond the targets that it has seen."""
    low, high = float(rows.dataset.y.min()), float(rows.dataset.y.max())
    return Estimator(Bounded(model, low, high, is_log, reach), rows.dataset.task)


def _symmetric(rows: Rows, request: Request, rounds: int) -> tuple[Any, int]:
    """Boosted symmetric trees and their number, which is found when 0 is given."""
    plan, whole = request.plan, rows.dataset
    if whole.task == "ranking":
        raise ValueError("symmetric trees are not for rankings")
    tail = 0 if rounds else rows.tail
    rate = _rate(plan, request)
    growth = Growth(
        rate=rate,
        rounds=rounds or math.ceil((MOST_STEPS if tail else SLOW_UNWATCHED) / rate),
        tail=tail,
        patience=_patience(rate),
        reads_words=plan.categories != "ranks",
        seed=request.seed,
        threads=request.threads,
    )
    is_log = _is_log(plan, rows)
    y = np.log(whole.y) if is_log else whole.y
    model, count = fit_symmetric(rows.x, y, rows.encoding, whole.task, request.metric, growth)
    made = Estimator(model, whole.task)
    return (_bounded(made, rows, is_log) if whole.task == "regression" else made), count


def _rate(plan: ModelPlan, request: Request) -> float:
    return min(max(FASTEST, plan.learning_rate), plan.learning_rate / request.pace)


def _patience(rate: float) -> int:
    return round(10 + 2 / rate)


def _most_rounds(plan: ModelPlan, rate: float, tail: int) -> int:
    if not tail:
        return math.ceil(UNWATCHED / rate)
    times = min(MOST_TIMES, max(1.0, MANY_LEAVES / plan.leaves))
    return math.ceil(MOST_ROUNDS * times * plan.learning_rate / rate)


def _fitted(rows: Rows, predictor: Any) -> Fitted:
    return Fitted(rows.encoding, rows.dataset.task, rows.dataset.classes, predictor)


def chosen(count: int, share: float) -> tuple[Places, int]:
    """The places of an evenly spaced share of `count` rows, and how many of the last ones early stopping watches.

    The tail is thinned less than the rest, since a small one stops at random; 0 when there are too few to spare any.
    """
    tail = min(MOST_TAIL_ROWS, round(count * TAIL_SHARE))
    if tail < LEAST_TAIL_ROWS:
        return _spaced(0, count, share), 0
    watched = _spaced(count - tail, count, min(1.0, max(share, CHEAP_TAIL_ROWS / tail)))
    return np.concatenate([_spaced(0, count - tail, share), watched]), len(watched)


def _spaced(start: int, stop: int, share: float) -> Places:
    count = max(1, math.floor((stop - start) * share))
    return np.linspace(start, stop - 1, count).round().astype(np.int64)
