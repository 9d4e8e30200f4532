"""Forecasts of a price or carbon series, for each step of it and the steps after, made from what was past by then.

Seasonal ones repeat the mean of the same step of the last days. The boosted one adds what trees have learned of the
departures from that (LightGBM, refitted along the series on its past only), and may be given a series that is known
ahead, such as day-ahead prices, which are published once a day for all of the next day.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.cluster.deferring.windows import Series

Table = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]

DAYS = {"yesterday": 1, "week": 7, "fortnight": 14, "month": 28}
KINDS = (*DAYS, "boosted")
FIRST_DAYS = 60  # before that, there is too little to learn from
REFIT_DAYS = 91
MEMORY_DAYS = 365
MOST_ROWS = 120_000  # of one fit
TREES = {
    "objective": "regression", "num_leaves": 31, "learning_rate": 0.04, "bagging_fraction": 0.5, "bagging_freq": 1,
    "feature_fraction": 0.5, "lambda_l2": 10.0, "num_threads": 1, "seed": 0,
    "deterministic": True, "force_row_wise": True, "verbosity": -1,
}  # fmt: skip
ROUNDS = 250
LEAVES_OF = 120  # rows: a leaf holds at least one in so many


@dataclass(frozen=True)
class Ahead:
    """A series that is known ahead: at step `published` of every day, all of the next day is."""

    series: Series
    published: int

    def seen(self, at: Steps, then: Steps, day: int) -> Series:
        """What is known at steps `at` of the steps `then`; NaN where it is not published."""
        is_out = at >= (then // day - 1) * day + self.published
        return np.where(is_out & (then < len(self.series)), self.series[np.minimum(then, len(self.series) - 1)], np.nan)


def seasonal(series: Series, horizon: int, days: int, day: int = 24) -> Table:
    """The mean of the same step of the last `days` days that have it: (steps, horizon). Knows the past of each step.

    Where no day has passed yet, the mean of what has; at the very first step, which has no past, 0.
    """
    steps = len(series)
    means = np.concatenate([[0.0], np.cumsum(series)[:-1] / np.maximum(1, np.arange(1, steps))])
    table = np.zeros((steps, horizon))
    for lead in range(horizon):
        total, count = np.zeros(steps), np.zeros(steps)
        first = lead // day + 1
        for back in range(first * day - lead, (first + days) * day - lead, day):
            if back < steps:
                total[back:] += series[: steps - back]
                count[back:] += 1
        table[:, lead] = np.where(count > 0, total / np.maximum(1, count), means)
    return table


def forecasts(series: Series, horizon: int, kind: str, day: int = 24, ahead: Ahead | None = None) -> Table:
    """The forecasts of a kind: (steps, horizon)."""
    if kind in DAYS:
        return seasonal(series, horizon, DAYS[kind], day)
    return boosted(series, horizon, day, ahead)


def boosted(series: Series, horizon: int, day: int = 24, ahead: Ahead | None = None) -> Table:
    """The fortnight's profile, and what trees fitted to the past make of the departures from it."""
    profiles = [seasonal(series, horizon, days, day) for days in (3, 14, 28)]
    table = profiles[1].copy()
    for first in range(FIRST_DAYS * day, len(series), REFIT_DAYS * day):
        oldest = max(28 * day, first - MEMORY_DAYS * day)
        known = np.arange(oldest, first - horizon)
        known = known[:: max(1, len(known) * horizon // MOST_ROWS)]
        model = _fit(series, known, profiles, day, ahead)
        now = np.arange(first, min(len(series), first + REFIT_DAYS * day))
        columns = _columns(series, now, profiles, day, ahead)
        table[now] += np.asarray(model.predict(columns.reshape(-1, columns.shape[2]))).reshape(len(now), horizon)
    return table


def _fit(series: Series, at: Steps, profiles: list[Table], day: int, ahead: Ahead | None) -> Any:
    import lightgbm

    horizon = profiles[1].shape[1]
    wanted = series[at[:, None] + np.arange(horizon)] - profiles[1][at]
    # Only the order of the hours within a window matters, not its level.
    wanted -= wanted.mean(axis=1, keepdims=True)
    columns = _columns(series, at, profiles, day, ahead)
    data = lightgbm.Dataset(columns.reshape(-1, columns.shape[2]), wanted.reshape(-1))
    fewest = max(20, wanted.size // LEAVES_OF)
    return lightgbm.train({**TREES, "min_data_in_leaf": fewest}, data, num_boost_round=ROUNDS)


def _columns(series: Series, at: Steps, profiles: list[Table], day: int, ahead: Ahead | None) -> Table:
    """What is known at the steps `at` (28 days or more into the series) of each step ahead: (at, horizon, columns)."""
    horizon = profiles[1].shape[1]
    state, level = _state(series, at, profiles[1], day), _mean(series, at, day)
    published, middle, spread = None, level, level
    if ahead is not None:
        state += _state(ahead.series, at, None, day)
        published = np.stack([ahead.seen(at, at + lead, day) for lead in range(horizon)], axis=1)
        middle, spread = _middle(published)
    made = []
    for lead in range(horizon):
        then = at + lead
        back = then - (lead // day + 1) * day
        turn = then / (365.25 * day) * 2 * np.pi
        one = [np.full(len(at), float(lead)), then % day, then // day % 7, np.sin(turn), np.cos(turn), *state]
        one += [series[back] - level, series[back - day] - level, series[then - 7 * day] - level]
        one += [table[at, lead] - table[at].mean(axis=1) for table in profiles]
        if published is not None and ahead is not None:
            seen = published[:, lead]
            one += [seen, seen - ahead.series[at - 1], seen - middle, spread]
        made.append(np.stack(one, axis=1))
    return np.stack(made, axis=1)


def _middle(published: Table) -> tuple[Series, Series]:
    """The mean and the spread of what is published of each window; 0 where nothing is."""
    is_out = np.isfinite(published)
    count = np.maximum(1, is_out.sum(axis=1))
    mean = np.where(is_out, published, 0.0).sum(axis=1) / count
    square = np.where(is_out, published - mean[:, None], 0.0) ** 2
    return mean, np.sqrt(square.sum(axis=1) / count)


def _state(series: Series, at: Steps, profile: Table | None, day: int) -> list[Series]:
    """How a series stands at steps: its level, its changes, its spread, its last departure from a profile."""
    level, hour = _mean(series, at, day), max(1, day // 24)
    last_day = np.lib.stride_tricks.sliding_window_view(series, day)[at - day]
    state = [series[at - 1] - level, series[at - 1] - series[at - 1 - hour], series[at - 1] - series[at - 1 - 3 * hour]]
    state += [level, level - _mean(series, at - day, day), level - _mean(series, at, 7 * day), last_day.std(axis=1)]
    return state if profile is None else [*state, series[at - 1] - profile[at - 1, 0], profile[at].mean(axis=1) - level]


def _mean(series: Series, at: Steps, count: int) -> Series:
    """The mean of the `count` steps before each."""
    total = np.concatenate([[0.0], np.cumsum(series)])
    return np.asarray((total[at] - total[at - count]) / count)
