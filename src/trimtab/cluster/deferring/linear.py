"""Linear forecasts of a series: how the steps ahead depart from the mean days, from how the last steps departed.

One ridge regression for each step of the day at which one looks ahead, for all steps ahead at once, refitted along the
series on its past only. A few seconds of CPU time for two years of hours, and better than trees on most series. What is
published ahead is compressed (asinh), since the highest prices tell little more than high ones; `curved` compresses the
series itself as well, so that the regressions are of ratios: of carbon intensities these are the steadier.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from trimtab.cluster.deferring.profiles import FIRST_DAYS, Ahead, Steps, Table, mean_before, refits, seasonal
from trimtab.cluster.deferring.windows import Series

PROFILES = (7, 28)  # days: what is forecast is the departure from their mean; the forecasts from each are averaged
SHAPES = (2, 3, 14, 56)  # days, whose profiles tell how the days change
LAG_HOURS = (*range(1, 25), 30, 36, 42, 48, 60, 72)
OLDEST_DAYS = 28  # of the series, that nothing is learned from
MEMORY_DAYS = 730
REFIT_DAYS, MOST_FITS = 28, 24
PENALTY = 300.0
FURTHEST = 4.0  # standard deviations: what lies further off counts as this far
RATIOS = 0.1  # of the usual size of a series: from there on its differences count by their ratios


@dataclass(frozen=True)
class Looks:
    """A series, its profiles, and what is published ahead: whatever may be known at a step of it."""

    series: Series
    day: int
    days: int  # of the profile
    profile: Table
    shapes: tuple[Table, ...]
    ahead: Ahead | None
    ahead_profile: Table | None = None

    def by(self, first: int) -> Looks:
        """With what is published compressed, about its median and in the units that are usual by the step `first`."""
        if self.ahead is None:
            return self
        known = self.ahead.series[max(0, first - MEMORY_DAYS * self.day) : first]
        known = known[np.isfinite(known)]
        middle = float(np.median(known)) if len(known) else 0.0
        size = float(np.median(np.abs(known - middle))) if len(known) else 0.0
        bent = np.arcsinh((self.ahead.series - middle) / (size or 1.0))
        profile = seasonal(np.nan_to_num(bent), self.profile.shape[1], self.days, self.day)
        return replace(self, ahead=Ahead(bent, self.ahead.published), ahead_profile=profile)

    def columns(self, at: Steps) -> Table:
        """What is known at the steps `at`: (at, columns)."""
        series, day = self.series, self.day
        departures = series - self.profile[:, 0]
        lags = np.unique([max(1, round(hours * day / 24)) for hours in LAG_HOURS])
        level = mean_before(series, at, day)
        last_day = np.lib.stride_tricks.sliding_window_view(series, day)[at - day]
        columns = [departures[at - lag] for lag in lags]
        columns += [level, last_day.std(axis=1)]
        columns += [level - mean_before(series, at - back * day, day) for back in (1, 3, 7)]
        return np.concatenate([np.stack(columns, axis=1), *self._shapes(at), *self._weekdays(at), *self._ahead(at)], 1)

    def _shapes(self, at: Steps) -> Iterator[Table]:
        every = max(1, self.day // 8)
        for shape in self.shapes:
            turned = shape[at] - self.profile[at]
            yield (turned - turned.mean(axis=1, keepdims=True))[:, ::every]

    def _weekdays(self, at: Steps) -> Iterator[Table]:
        # No time of the year: from one year or less, regressions would carry its trend on.
        yield (at[:, None] // self.day % 7 == np.arange(7)).astype(np.float64)

    def _ahead(self, at: Steps) -> Iterator[Table]:
        """How what is published departs from its own profile; 0 where nothing is."""
        if self.ahead is None or self.ahead_profile is None:
            return
        for lead in range(min(self.profile.shape[1], 2 * self.day)):
            seen = self.ahead.seen(at, at + lead, self.day)
            yield np.nan_to_num(seen - self.ahead_profile[at, lead])[:, None]


def curved(series: Series, horizon: int, day: int = 24, ahead: Ahead | None = None) -> Table:
    """`linear` of the compressed series, brought back: (steps, horizon)."""
    size = RATIOS * (float(np.median(np.abs(series[: FIRST_DAYS * day]))) or 1.0)
    return np.asarray(np.sinh(linear(np.arcsinh(series / size), horizon, day, ahead)) * size)


def linear(series: Series, horizon: int, day: int = 24, ahead: Ahead | None = None) -> Table:
    """Forecasts for each step and those after it: (steps, horizon). The mean of the profiles while little is known."""
    import threadpoolctl

    shapes = tuple(seasonal(series, horizon, days, day) for days in SHAPES)
    tables = []
    for days in PROFILES:
        looks = Looks(series, day, days, seasonal(series, horizon, days, day), shapes, ahead)
        # The systems are small: several threads would mostly wait for one another.
        with threadpoolctl.threadpool_limits(1, "blas"):
            tables.append(_departing(looks))
    return np.asarray(np.mean(tables, axis=0))


def _departing(looks: Looks) -> Table:
    series, day, horizon = looks.series, looks.day, looks.profile.shape[1]
    table = looks.profile.copy()
    for first, end in refits(len(series), day, horizon, REFIT_DAYS, MOST_FITS):
        known = np.arange(max(OLDEST_DAYS * day, first - MEMORY_DAYS * day), first - horizon)
        wanted = series[known[:, None] + np.arange(horizon)] - looks.profile[known]
        told, now = looks.by(first), np.arange(first, end)
        columns = told.columns(known)
        middle, spread = columns.mean(axis=0), columns.std(axis=0) + 1e-9
        columns = _scaled(columns, middle, spread)
        asked = _scaled(told.columns(now), middle, spread)
        for step in range(day):
            weights, mine = _nearness(known, step, day), now % day == step
            is_near = weights > 0
            table[now[mine]] += _ridge(columns[is_near], wanted[is_near], weights[is_near], asked[mine])
    return table


def _scaled(columns: Table, middle: Series, spread: Series) -> Table:
    return np.clip((columns - middle) / spread, -FURTHEST, FURTHEST)


def _nearness(at: Steps, step: int, day: int) -> Series:
    """How much a step teaches about looks at a step of the day: those of the neighbouring ones count for less."""
    reach = min(2, day // 12)
    away = np.abs((at - step + day // 2) % day - day // 2)
    return np.maximum(0.0, 1.0 - away / (reach + 1.0))


def _ridge(columns: Table, wanted: Table, weights: Series, asked: Table) -> npt.NDArray[np.float64]:
    mean = np.average(wanted, axis=0, weights=weights)
    weighted = columns * weights[:, None]
    gram = weighted.T @ columns + PENALTY * np.eye(columns.shape[1])
    return np.asarray(mean + asked @ np.linalg.solve(gram, weighted.T @ (wanted - mean)))
