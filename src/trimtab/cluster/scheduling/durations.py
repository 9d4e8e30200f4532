"""How long jobs will run, as distributions learnt from those that ended, and what follows for who goes first.

A quantile regression forest (Meinshausen 2006): LightGBM's random forest on log durations, its leaves holding the
durations of the jobs that fell into them. From each distribution: the median, the mean work left after any work done,
and the Gittins index (Gittins 1979; Scully et al. 2020): the least mean work invested for each chance that it ends.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from trimtab.cluster.scheduling.joblog import JobLog
from trimtab.cluster.scheduling.jobs import Series, Table
from trimtab.cluster.scheduling.recent import looks_of

BINS = 32
EDGES: Series = np.concatenate([[0.0], np.geomspace(15.0, 6e6, BINS)])
"""Seconds: durations are counted between these, evenly in their logs."""
LEAVES = 127
FOREST = {
    "objective": "regression", "boosting": "rf", "num_leaves": LEAVES, "min_data_in_leaf": 30, "bagging_fraction": 0.6,
    "bagging_freq": 1, "feature_fraction": 0.5, "feature_fraction_bynode": 0.7, "num_threads": 1, "seed": 0,
    "deterministic": True, "force_row_wise": True, "verbosity": -1,
}  # fmt: skip
TREES = 40
LEAST_FIT, MOST_FIT = 200, 50_000  # jobs of one fit, the newest
REFIT, REFIT_SHARE = 6000, 1 / 16  # jobs between fits, or this share of the log if that is more
GROWTH = 1.4  # of what is known between the first fits
DOUBT = 0.01  # of a distribution: any duration that was ever seen
CHUNK = 20_000

Looks = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Predicted:
    """Of jobs: median durations (n,), and (2, n, BINS + 1) mean work left and Gittins index at `EDGES` of work done."""

    median: Series
    looks: Looks


def predict(log: JobLog, rows: slice, ended: Series) -> Predicted:
    """What is predicted of jobs when they are submitted; `ended` (n,): when each job is known to have ended."""
    looks, categories = looks_of(log, ended)
    median, made = np.zeros(rows.stop - rows.start), np.zeros((2, rows.stop - rows.start, BINS + 1), np.float32)
    for first, last in _spans(log, rows, ended):
        known = np.flatnonzero(ended <= log.submit[first])[-MOST_FIT:]
        known = known[known < first]
        for start in range(first, last, CHUNK):
            place = slice(start, min(last, start + CHUNK))
            if start == first:
                forest = _Forest(looks[known], log.duration[known], categories)
            at = slice(place.start - rows.start, place.stop - rows.start)
            median[at], made[:, at] = _tables(forest.chances(looks[place]), EDGES)
    return Predicted(median, made)


def _spans(log: JobLog, rows: slice, ended: Series) -> list[tuple[int, int]]:
    """Between fits: from 200 known jobs on, whenever they have grown by two fifths, later by a number of jobs."""
    step = max(REFIT, int(len(log) * REFIT_SHARE))
    cuts, at = [rows.start], rows.start
    while at < rows.stop:
        known = int((ended[:at] <= log.submit[at]).sum())
        at += int(min(step, max(LEAST_FIT, known * (GROWTH - 1.0))))
        cuts.append(min(at, rows.stop))
    return list(itertools.pairwise(cuts))


class _Forest:
    """The distributions of durations in the leaves of a forest; of all that is known where that is too little."""

    def __init__(self, looks: Table, durations: Series, categories: list[int]) -> None:
        self._bins = np.clip(np.searchsorted(EDGES, durations, side="right") - 1, 0, BINS - 1)
        self._all = (np.bincount(self._bins, minlength=BINS) + 0.5) / (len(durations) + 0.5 * BINS)
        self._model: Any = None
        if len(durations) >= LEAST_FIT and float(np.ptp(durations)) > 0:
            import lightgbm

            data = lightgbm.Dataset(looks, np.log(durations + 1.0), categorical_feature=categories)
            self._model = lightgbm.train(FOREST, data, num_boost_round=TREES)
            self._leaves = [self._counted(leaf) for leaf in self._placed(looks).T]

    def chances(self, looks: Table) -> Table:
        """(n, BINS) of jobs."""
        made = np.tile(self._all, (len(looks), 1))
        if self._model is None:
            return made
        made *= DOUBT
        placed = self._placed(looks)
        for leaves, leaf in zip(self._leaves, placed.T, strict=True):
            made += leaves[leaf] * ((1.0 - DOUBT) / len(self._leaves))
        return np.asarray(made)

    def _placed(self, looks: Table) -> npt.NDArray[np.int64]:
        return np.asarray(self._model.predict(looks, pred_leaf=True, num_threads=1)).astype(np.int64)

    def _counted(self, leaf: npt.NDArray[np.int64]) -> Table:
        found = np.bincount(leaf * BINS + self._bins, minlength=LEAVES * BINS).reshape(LEAVES, BINS).astype(float)
        total = found.sum(axis=1, keepdims=True)
        return np.where(total > 0, found / np.maximum(1.0, total), self._all)


@numba.njit(cache=True)
def _tables(chances: Any, edges: Any) -> Any:
    """(medians, (2, n, bins + 1) mean work left and Gittins index); durations are even between two edges."""
    count, bins = chances.shape
    median, made = np.zeros(count), np.zeros((2, count, bins + 1), np.float32)
    over = np.zeros(bins + 1)
    for job in range(count):
        over[bins] = 0.0
        for at in range(bins - 1, -1, -1):
            over[at] = over[at + 1] + chances[job, at]
        for at in range(bins):
            if over[at + 1] <= over[0] / 2:
                share = (over[at] - over[0] / 2) / max(1e-12, chances[job, at])
                median[job] = edges[at] + (edges[at + 1] - edges[at]) * share
                break
        for at in range(bins + 1):
            if at == bins or over[at] <= 1e-9:  # longer than anything known: it may go on for as long again
                for row in range(2):
                    made[row, job, at] = max(edges[at], made[row, job, max(0, at - 1)])
                continue
            work, best = 0.0, np.inf
            for end in range(at, bins):
                work += (over[end] + over[end + 1]) / 2 * (edges[end + 1] - edges[end])
                ends = over[at] - over[end + 1]
                if ends > 1e-9:
                    best = min(best, work / ends)
            made[0, job, at], made[1, job, at] = work / over[at], best
    return median, made
