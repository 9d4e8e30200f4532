"""Weekly seasonal quantiles: what the same minute of past weeks says of this one. Knows only a minute's past."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.float64]

WEEK_MINUTES = 7 * 24 * 60
STEP_MINUTES = 5  # forecasts are made for every fifth minute and held in between
SPREAD_STEPS = 3  # neighbours on each side that count as the same time of the week


def seasonal_quantile(rates: Series, *, weeks: int, quantile: float) -> Series:
    """For each minute, the quantile of the rates around the same minute of the last `weeks` weeks.

    `rates` is (minutes,) in any unit; where no week has passed yet, the forecast is NaN.
    """
    coarse = _coarse(rates)
    week = WEEK_MINUTES // STEP_MINUTES
    padded = np.concatenate([np.full(SPREAD_STEPS, np.nan), coarse, np.full(SPREAD_STEPS, np.nan)])
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * SPREAD_STEPS + 1)
    pool = np.full((len(coarse), weeks * around.shape[1]), np.nan)
    for back in range(1, weeks + 1):
        if back * week < len(coarse):
            place = slice((back - 1) * around.shape[1], back * around.shape[1])
            pool[back * week :, place] = around[: len(coarse) - back * week]
    forecast = np.full(len(coarse), np.nan)
    known = np.isfinite(pool).any(axis=1)
    forecast[known] = row_quantiles(pool[known], quantile)
    return np.repeat(forecast, STEP_MINUTES)[: len(rates)]


def row_quantiles(rows: npt.NDArray[np.float64], quantile: float) -> Series:
    """Each row's quantile, as `np.nanquantile` gives it, which takes a call of Python for every row."""
    ordered = np.sort(rows, axis=1)  # NaN comes last
    last = (~np.isnan(rows)).sum(axis=1) - 1
    place = last * quantile
    below = np.floor(place).astype(np.int64)
    low, high = (np.take_along_axis(ordered, one[:, None], 1)[:, 0] for one in (below, np.minimum(below + 1, last)))
    share = place - below
    return np.asarray(np.where(share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share)))


def level(rates: Series, expected: Series, *, minutes: int = 60) -> Series:
    """For each minute, how far the last `minutes` minutes lay above or below what was expected, as a ratio."""
    actual, hoped = (_trailing_sum(np.nan_to_num(one), minutes) for one in (rates, expected))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(hoped > 0, actual / hoped, 1.0)
    return np.clip(ratio, 0.2, 5.0)


def backtest(rates: Series, *, weeks: int, quantile: float) -> tuple[float, float]:
    """(share of minutes at or below the forecast, mean pinball loss) over all minutes that have a forecast."""
    forecast = seasonal_quantile(rates, weeks=weeks, quantile=quantile)
    known = np.isfinite(forecast)
    gap = rates[known] - forecast[known]
    return float((gap <= 0).mean()), float(np.maximum(quantile * gap, (quantile - 1) * gap).mean())


def _coarse(rates: Series) -> Series:
    pad = -len(rates) % STEP_MINUTES
    padded = np.concatenate([rates, np.repeat(rates[-1:], pad)])
    return np.asarray(padded.reshape(-1, STEP_MINUTES).mean(axis=1))


def _trailing_sum(values: Series, count: int) -> Series:
    total = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(len(values))  # excludes the minute itself: it is not known yet
    return np.asarray(total[ends] - total[np.maximum(0, ends - count)])
