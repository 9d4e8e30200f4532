"""Intervals around forecasts from the errors of earlier ones, and how often the truth lay within: rolling conformal.

For a step so many steps ahead, the bounds are quantiles of the relative errors that forecasts as far ahead have shown
by then (split conformal prediction, Vovk et al. 2005, on a window that moves with time), at a level that rises when
intervals have missed and falls when they have held (adaptive conformal inference, Gibbs and Candès 2021), for series
that drift.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from trimtab.cluster.forecasting.ahead import Ints, Series

LEAST_ERRORS = 20
PACE = 0.005  # of the level, a forecast


def bounds(
    table: Series, truth: Series, at: Ints, coverages: Sequence[float], newest: int, *, pad: float
) -> list[tuple[Series, Series]]:
    """For each coverage, (low, high) of each forecast: (moments, horizon); NaN where too few errors were known.

    table, truth: (moments, horizon), moments `at` rising and evenly spaced; newest: how many known errors count; pad:
    what is added before ratios are taken, in the unit of the series.
    """
    padded = np.maximum(0.0, table) + pad
    ratios = np.log((np.maximum(0.0, truth) + pad) / padded)
    spacing = int(at[1] - at[0]) if len(at) > 1 else 1
    levels = np.array(coverages)
    below, above = (np.full((len(levels), *table.shape), np.nan) for _ in range(2))
    for lead in range(table.shape[1]):
        lag = lead // spacing + 1  # an error is known once its step has passed
        _rolling(np.ascontiguousarray(ratios[:, lead]), lag, newest, levels, (below[:, :, lead], above[:, :, lead]))
    unpad = [np.maximum(0.0, padded * np.exp(side) - pad) for side in (below, above)]
    return list(zip(*unpad, strict=True))


@numba.njit(cache=True, nogil=True)
def _rolling(ratios, lag, newest, coverages, out):  # type: ignore[no-untyped-def]
    """Fills out = (low, high), each (coverages, rows), with quantiles of the last `newest` ratios, `lag` rows ago."""
    low, high = out
    held = np.empty(newest + 1)  # sorted
    count = 0
    levels = coverages.copy()
    for row in range(len(ratios)):
        new, old = row - lag, row - lag - newest
        if new >= 0:
            place = np.searchsorted(held[:count], ratios[new])
            held[place + 1 : count + 1] = held[place:count].copy()
            held[place] = ratios[new]
            count += 1
            for one in range(len(coverages)):
                if np.isfinite(low[one, new]):
                    missed = ratios[new] < low[one, new] or ratios[new] > high[one, new]
                    levels[one] += PACE * (coverages[one] - (0.0 if missed else 1.0))
                    levels[one] = min(1.0, max(0.0, levels[one]))
        if old >= 0:
            place = np.searchsorted(held[:count], ratios[old])
            held[place : count - 1] = held[place + 1 : count].copy()
            count -= 1
        if count < LEAST_ERRORS:
            continue
        for one in range(len(coverages)):
            # The finite-sample level of conformal prediction: at n errors, the ceil((n + 1) level)-th of them.
            rank = min(count, max(1, int(np.ceil((count + 1) * (1 + levels[one]) / 2))))
            high[one, row] = held[rank - 1]
            low[one, row] = held[count - rank]


def covered(low: Series, high: Series, truth: Series) -> float:
    """The share of what has bounds that lay within them."""
    known = np.isfinite(low) & np.isfinite(truth)
    within = (truth >= low - 1e-9) & (truth <= high + 1e-9)
    return float(within[known].mean()) if known.any() else float("nan")
