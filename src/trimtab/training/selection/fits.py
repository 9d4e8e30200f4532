"""Trains plans on folds of rows in memory, each once, and keeps what they predicted."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from trimtab.adapters.models.boosting import mean_prediction
from trimtab.core.budget import Stopwatch
from trimtab.core.space import settle
from trimtab.training.selection.fitting import Pool, Request, Rows, Trained, chosen, joined, more_rounds, train
from trimtab.training.selection.folds import Folds
from trimtab.training.selection.measure import FEWEST_ROWS
from trimtab.training.selection.memory import free_bytes, predicted_bytes, require_memory
from trimtab.training.selection.plan import ModelPlan

MOST_MODELS = 8  # that are trained to be one in the end
SLACK = 1.3  # times what a training cost: what must be left for another one
HOLDOUT = -1  # in the place of a fold's number: the last fold's model, scored on the holdout
Key: TypeAlias = tuple[ModelPlan, int, float]


@dataclass(frozen=True)
class Fit:
    """What a model predicted for the rows that it is scored on, and its costs."""

    predicted: npt.NDArray[np.float64]
    rounds: tuple[int, ...]
    train_cpu_seconds: float
    predict_us_per_row: float


class Fits:
    """The fits of one table. Apart from words of free text, nothing of the holdout is read before the confirmation."""

    def __init__(self, everything: Pool, folds: Folds, loss: str, threads: int) -> None:
        self._everything, self.rows, self.folds = everything, everything.dataset, folds
        self._loss, self.threads = loss, threads
        self._searched = np.setdiff1d(np.arange(len(self.rows)), folds.holdout)
        self._known: dict[Key, Fit] = {}
        self._models: dict[tuple[ModelPlan, int], Trained] = {}  # of full looks: the confirmation trains nothing
        self._training_rows = functools.lru_cache(maxsize=16)(self._training_rows_of)

    @functools.cached_property
    def pool(self) -> Pool:
        """All rows but the holdout's, which the folds share."""
        return Pool(self.rows if len(self._searched) == len(self.rows) else self.rows.take(self._searched))

    def fit(self, plan: ModelPlan, fold: int, fraction: float = 1.0) -> Fit:
        """Train and predict, or what was predicted before. Raises MemoryError for what would not fit."""
        plan = settle(plan)
        key = plan, fold, fraction
        if key not in self._known:
            look = self._blended if plan.others else self._confirmed if fold == HOLDOUT else self._fitted
            self._known[key] = look(plan, fold, fraction)
        return self._known[key]

    def final(self, plan: ModelPlan, known: Mapping[ModelPlan, Trained], left: Callable[[], float]) -> Trained:
        """The plan trained on every row, the holdout included, with the rounds that the search's imply.

        What is `left` of the budget, in CPU seconds, trains it again with other seeds, as often as that pays: the mean
        errs less. `known`: plans that were trained on every row before.
        """
        seen = statistics.fmean(len(trained_on) for trained_on, _ in self.folds.search)
        rounds = more_rounds(self.rounds(plan), len(self.rows) / seen)
        rows = Rows(self._everything)
        made: list[Trained] = []
        once = dict(known)
        for seed in range(max(1, MOST_MODELS // len(set(plan.members)))):
            before = left()
            now: dict[ModelPlan, Trained] = {}
            for one, number in zip(plan.members, rounds, strict=True):
                if one not in now:  # a member may count twice
                    request = Request(one, self._loss, rounds=(number,), threads=self.threads, seed=seed)
                    now[one] = once.get(one) or train(rows, request)
                made.append(now[one])
            once |= {one: trained for one, trained in now.items() if not one.draws}
            if not any(one.draws for one in plan.members) or left() <= SLACK * (before - left()):
                break
        return joined(made, self.rows.task)

    def rounds(self, plan: ModelPlan) -> tuple[int, ...]:
        """The mean over the folds on which the plan was looked at fully; none for what is not stopped early."""
        seen = [
            self.fit(plan, fold).rounds
            for fold in range(len(self.folds.search))
            if all(self.knows(one, fold) for one in plan.members)
        ]
        return tuple(round(statistics.fmean(one)) for one in zip(*seen, strict=True))

    def knows(self, plan: ModelPlan, fold: int) -> bool:
        """Whether a single plan was looked at fully on a fold."""
        return (settle(plan), fold, 1.0) in self._known

    def _confirmed(self, plan: ModelPlan, fold: int, fraction: float) -> Fit:
        """What the last fold's model predicts for the holdout."""
        last = len(self.folds.search) - 1
        seen = self.fit(plan, last)
        rows = self.rows.take(self.folds.holdout)
        return replace(seen, predicted=self._models[settle(plan), last].fitted.predict_table(rows.table))

    def _blended(self, plan: ModelPlan, fold: int, fraction: float) -> Fit:
        """What a blend would predict, from what its members did. Its costs are theirs, summed."""
        parts = [self.fit(one, fold, fraction) for one in plan.members]
        distinct = [self.fit(one, fold, fraction) for one in dict.fromkeys(plan.members)]
        return Fit(
            mean_prediction([one.predicted for one in parts], self.rows.task),
            tuple(number for one in parts for number in one.rounds),
            sum(one.train_cpu_seconds for one in distinct),
            sum(one.predict_us_per_row for one in distinct),
        )

    def _fitted(self, plan: ModelPlan, fold: int, fraction: float) -> Fit:
        trained_on, scored_on = self.folds.search[fold]
        share = self._share(len(trained_on), fraction)
        rows = self._training_rows(fold, share)
        require_room(self.pool, len(rows.dataset), plan)
        _ = rows.x  # shared by all plans: it is no plan's cost
        pace = fraction if share == 1.0 else fraction**0.5
        watch = Stopwatch()
        trained = train(rows, Request(plan, self._loss, pace=pace, threads=self.threads))
        cost = watch.read().cpu_seconds
        if fraction >= 1:
            self._models[plan, fold] = trained
        watch = Stopwatch()
        predicted = trained.fitted.predict(self.pool.x[np.searchsorted(self._searched, scored_on)])
        return Fit(predicted, trained.rounds, cost, watch.read().cpu_seconds / len(scored_on) * 1e6)

    def _training_rows_of(self, fold: int, share: float) -> Rows:
        places = np.searchsorted(self._searched, self.folds.search[fold][0])
        kept, tail = chosen(len(places), share)
        places = places[kept]
        if self.rows.queries is not None and tail:  # no query is cut in two
            queries = self.pool.dataset.queries
            assert queries is not None
            tail = len(places) - int(np.argmax(queries[places] == queries[places[-tail]]))
        return Rows(self.pool, places, tail)

    def _share(self, count: int, fraction: float) -> float:
        # Queries are wholes: thinned ones would rank other lists.
        return 1.0 if self.rows.queries is not None or fraction >= 1 else min(1.0, max(fraction, FEWEST_ROWS / count))


def require_room(pool: Pool, rows: int, plan: ModelPlan) -> None:
    """Raise MemoryError where training a plan on so many rows of a pool would not fit."""
    columns, classes = len(pool.encoding.feature_names), len(pool.dataset.classes)
    require_memory(predicted_bytes(rows, columns, classes, plan), free_bytes())
