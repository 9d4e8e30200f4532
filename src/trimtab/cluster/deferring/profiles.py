"""Mean days of a series, which forecasts depart from, and when forecasts that learn are fitted anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trimtab.cluster.deferring.windows import Series

Table = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]

FIRST_DAYS = 60  # before that, there is too little to learn from


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


def refits(steps: int, day: int, horizon: int, every_days: int, most: int) -> Iterator[tuple[int, int]]:
    """Stretches (first, end) of a series, each forecast by one fit: at most `most`, of `every_days` or longer."""
    first = FIRST_DAYS * day + horizon
    length = max(every_days * day, -(-(steps - first) // most))
    for begin in range(first, steps, length):
        yield begin, min(steps, begin + length)


def mean_before(series: Series, at: Steps, count: int) -> Series:
    """The mean of the `count` steps before each."""
    total = np.concatenate([[0.0], np.cumsum(series)])
    return np.asarray((total[at] - total[at - count]) / count)
