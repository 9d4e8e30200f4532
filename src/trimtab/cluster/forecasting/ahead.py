"""Forecasts of a series for every step up to a horizon, made at many moments of its past, each with that past only."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.cluster.forecasting.plan import ForecastPlan

Series = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

REFIT_DAYS = 14
MEMORY_DAYS = 365
MOST_ROWS = 60_000  # of one fit
TREES = {
    "objective": "regression_l1", "num_leaves": 31, "learning_rate": 0.06, "bagging_fraction": 0.6, "bagging_freq": 1,
    "feature_fraction": 0.7, "lambda_l2": 5.0, "num_threads": 1, "seed": 0, "deterministic": True,
    "force_row_wise": True, "verbosity": -1,
}  # fmt: skip
ROUNDS = 120


def forecasts(series: Series, at: Ints, horizon: int, day: int, plan: ForecastPlan) -> Series:
    """(moments, horizon): the steps at, at + 1, … by what came before `at`; `day`: steps a day.

    Moments are a day or more into the series, and rise.
    """
    leads = np.arange(horizon)
    if plan.kind == "last":
        means = _means(series, at, max(1, day // 24))
        return np.repeat(means[:, None], horizon, axis=1)
    if plan.kind in ("day", "week"):
        period = day if plan.kind == "day" else 7 * day
        back = at[:, None] + leads - period * (leads // period + 1)
        safe = np.where(back >= 0, back, at[:, None] + leads - day * (leads // day + 1))
        return series[np.maximum(0, safe)]
    profile = _profile(series, at, horizon, day, plan)
    return profile if plan.kind == "profile" else _boosted(series, at, profile, day, plan)


def _means(series: Series, at: Ints, count: int) -> Series:
    """The mean of the `count` steps before each moment, or of as many as there are."""
    total = np.concatenate([[0.0], np.cumsum(series)])
    first = np.maximum(0, at - count)
    return np.asarray((total[at] - total[first]) / np.maximum(1, at - first))


def _profile(series: Series, at: Ints, horizon: int, day: int, plan: ForecastPlan) -> Series:
    """Means at the same time of the week, scaled by how far the last day lay from its own."""
    wanted = at[:, None] + np.arange(-day, horizon)  # the last day, too
    total, count = np.zeros(wanted.shape), np.zeros(wanted.shape)
    most = plan.weeks
    for period in (7 * day, day):
        # Days stand in where there is no week yet.
        total_now, count_now = np.zeros(wanted.shape), np.zeros(wanted.shape)
        for back in range(1, most + (horizon - 1) // period + 2):
            place = wanted - back * period
            known = (place >= 0) & (place < at[:, None]) & (count_now < most)
            total_now += np.where(known, series[np.clip(place, 0, len(series) - 1)], 0.0)
            count_now += known
        use = (count == 0) & (count_now > 0)
        total, count = np.where(use, total_now, total), np.where(use, count_now, count)
    means = np.where(count > 0, total / np.maximum(1, count), _means(series, at, day)[:, None])
    was = means[:, :day].mean(axis=1)
    ratio = np.where(was > 0, _means(series, at, day) / np.where(was > 0, was, 1.0), 1.0)
    return np.asarray(means[:, day:] * np.clip(ratio, 0.2, 5.0)[:, None] ** plan.level)


def _boosted(series: Series, at: Ints, profile: Series, day: int, plan: ForecastPlan) -> Series:
    """The profile times what trees make of its past errors; fitted again every fortnight, on the past alone."""
    import lightgbm

    made, horizon = profile.copy(), profile.shape[1]
    scale = max(1e-9, float(np.abs(series[: at[0]]).mean()) * 0.05)
    for first in range(int(at[0]), int(at[-1]) + 1, REFIT_DAYS * day):
        now = (at >= first) & (at < first + REFIT_DAYS * day)
        start = max(day, first - MEMORY_DAYS * day)
        known = np.arange(start, first - horizon + 1)
        if not now.any() or len(known) < 7 * day:
            continue
        known = known[:: max(1, len(known) * horizon // MOST_ROWS)]
        before = _profile(series, known, horizon, day, plan)
        truth = series[known[:, None] + np.arange(horizon)]
        wanted = np.log((np.maximum(0.0, truth) + scale) / (np.maximum(0.0, before) + scale))
        data = lightgbm.Dataset(_columns(series, known, before, day), wanted.reshape(-1))
        trees = {**TREES, "min_data_in_leaf": max(20, wanted.size // 200)}
        model = lightgbm.train(trees, data, num_boost_round=ROUNDS)
        moved: Any = model.predict(_columns(series, at[now], profile[now], day), num_threads=1)
        factor = np.exp(np.asarray(moved).reshape(-1, horizon))
        made[now] = np.maximum(0.0, (np.maximum(0.0, profile[now]) + scale) * factor - scale)
    return made


def _columns(series: Series, at: Ints, profile: Series, day: int) -> Series:
    """(moments × horizon, columns) of what is known at each moment of each step ahead."""
    count, horizon = profile.shape
    hour = max(1, day // 24)
    recent = [_means(series, at, span) for span in (1, hour, 3 * hour, day, 7 * day)]
    yesterday = [_means(series, np.maximum(1, at - day), span) for span in (hour, day)]
    then = at[:, None] + np.arange(horizon)
    parts = [np.repeat(one[:, None], horizon, axis=1) for one in (*recent, *yesterday)]
    daily = series[np.maximum(0, then - day * (np.arange(horizon) // day + 1))]
    leads = np.broadcast_to(np.arange(horizon), (count, horizon))
    parts += [profile, daily, *(np.asarray(one, float) for one in (leads, then % day, then // day % 7))]
    ratios = [recent[1] / (np.abs(recent[3]) + 1e-9), recent[3] / (np.abs(recent[4]) + 1e-9)]
    parts += [np.repeat(one[:, None], horizon, axis=1) for one in ratios]
    return np.stack([one.reshape(-1) for one in parts], axis=1)
