"""Forecasts of a price or carbon series, for each step of it and the steps after, made from what was past by then.

Seasonal ones repeat the mean of the same step of the last days. The linear, the curved (`linear.py`) and the boosted
one (trees, LightGBM) add what was learned of the departures from that, refitted along the series on its past only, and
may be given a series that is known ahead, such as day-ahead prices, which are published once a day for all of the next
day. The mean of these three is the blend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trimtab.cluster.deferring.linear import curved, linear
from trimtab.cluster.deferring.profiles import Ahead, Steps, Table, mean_before, refits, seasonal
from trimtab.cluster.deferring.windows import Series

DAYS = {"yesterday": 1, "week": 7, "fortnight": 14, "month": 28}
LEARNED = ("linear", "curved", "boosted")
BLENDS = {"blend": LEARNED}
KINDS = (*DAYS, *LEARNED, *BLENDS)
REFIT_DAYS, MOST_FITS = 91, 12
MEMORY_DAYS = 365
MOST_ROWS = 120_000  # of one fit
TREES = {
    "objective": "regression", "num_leaves": 31, "learning_rate": 0.04, "bagging_fraction": 0.5, "bagging_freq": 1,
    "feature_fraction": 0.5, "lambda_l2": 10.0, "num_threads": 1, "seed": 0,
    "deterministic": True, "force_row_wise": True, "verbosity": -1,
}  # fmt: skip
ROUNDS = 250
LEAVES_OF = 120  # rows: a leaf holds at least one in so many


def forecasts(series: Series, horizon: int, kind: str, day: int = 24, ahead: Ahead | None = None) -> Table:
    """The forecasts of a kind: (steps, horizon)."""
    if kind in DAYS:
        return seasonal(series, horizon, DAYS[kind], day)
    if kind in BLENDS:
        return blend([forecasts(series, horizon, part, day, ahead) for part in BLENDS[kind]])
    return {"linear": linear, "curved": curved, "boosted": boosted}[kind](series, horizon, day, ahead)


def blend(parts: Sequence[Table]) -> Table:
    """The mean of forecasts."""
    return np.asarray(np.mean(parts, axis=0))


def boosted(series: Series, horizon: int, day: int = 24, ahead: Ahead | None = None) -> Table:
    """The fortnight's profile, and what trees fitted to the past make of the departures from it."""
    profiles = [seasonal(series, horizon, days, day) for days in (3, 14, 28)]
    table = profiles[1].copy()
    for first, end in refits(len(series), day, horizon, REFIT_DAYS, MOST_FITS):
        oldest = max(28 * day, first - MEMORY_DAYS * day)
        known = np.arange(oldest, first - horizon)
        known = known[:: max(1, len(known) * horizon // MOST_ROWS)]
        model = _fit(series, known, profiles, day, ahead)
        now = np.arange(first, end)
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
    state, level = _state(series, at, profiles[1], day), mean_before(series, at, day)
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
    level, hour = mean_before(series, at, day), max(1, day // 24)
    last_day = np.lib.stride_tricks.sliding_window_view(series, day)[at - day]
    state = [series[at - 1] - level, series[at - 1] - series[at - 1 - hour], series[at - 1] - series[at - 1 - 3 * hour]]
    state += [
        level,
        level - mean_before(series, at - day, day),
        level - mean_before(series, at, 7 * day),
        last_day.std(axis=1),
    ]
    return state if profile is None else [*state, series[at - 1] - profile[at - 1, 0], profile[at].mean(axis=1) - level]
