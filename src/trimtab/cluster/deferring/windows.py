"""Replays work that may wait on a series of prices or carbon intensities, step by step, compiled.

Work of so many steps must be done within so many more: in one piece, or in any. A policy program chooses at every step
whether it runs now; it knows the steps that are over and a forecast made from them, not even the step that begins.
A shield outside the program runs the work when it could not be done in time otherwise, and what must be in one piece
goes on once it has begun.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from trimtab.adapters.programs import POLICY, Input, Policy, Signature

Series = npt.NDArray[np.float64]
Starts = npt.NDArray[np.int64]

PAST, AHEAD = 168, 96  # steps that a program sees
DEFER = Signature(
    "defer",
    (
        Input("past", "the series in the steps that are over, the newest first", PAST),
        Input("expected", "the forecast for the step that begins now, and for those after it", AHEAD),
        Input("remaining", "steps of work that are not done"),
        Input("left", "steps until the deadline, with the one that begins now"),
        Input("waited", "steps since the work was handed in"),
        Input("running", "1 when the work ran in the last step"),
        Input("whole", "1 when the work must be in one piece"),
        Input("day", "steps a day"),
    ),
    "above 0: run in the step that begins now",
    state=8,
    when_nan=1.0,
)


@dataclass(frozen=True)
class Work:
    """Work that may wait: steps that it takes, steps within which it must be done, and whether in one piece."""

    steps: int = 4
    within: int = 24
    is_whole: bool = False

    def fault(self) -> str:
        """Why there is no such work; empty when there is."""
        if not 1 <= self.steps <= self.within:
            return f"{self.steps} steps of work do not fit into {self.within}"
        return f"a window has at most {AHEAD} steps, not {self.within}" if self.within > AHEAD else ""


_FLOATS = numba.types.Array(numba.f8, 1, "C", readonly=True)
_TABLE = numba.f8[:, ::1]


@numba.njit(numba.f8[::1](_FLOATS, _TABLE, numba.i8[::1], numba.i8[::1], POLICY), cache=True)
def run_work(series: Any, forecast: Any, starts: Any, terms: Any, policy: Any) -> Any:
    """What the work costs when handed in at each of `starts`: the sum of the series over the steps that it ran in.

    forecast: for each step of the series, of it and of those after it; terms: [steps, within, whole, steps a day].
    """
    costs = np.zeros(len(starts))
    inputs = np.zeros(PAST + AHEAD + 6)
    ahead = min(AHEAD, forecast.shape[1])
    steps, within, whole, day = terms
    inputs[PAST + AHEAD + 4], inputs[PAST + AHEAD + 5] = whole, day
    for job in range(len(starts)):
        state = np.zeros(8)
        remaining, running = steps, 0
        for waited in range(within):
            at, left = starts[job] + waited, within - waited
            for back in range(PAST):
                inputs[back] = series[max(0, at - 1 - back)]
            for then in range(AHEAD):
                inputs[PAST + then] = forecast[at, min(then, ahead - 1)]
            inputs[PAST + AHEAD], inputs[PAST + AHEAD + 1] = remaining, left
            inputs[PAST + AHEAD + 2], inputs[PAST + AHEAD + 3] = waited, running
            running = policy(inputs, state) > 0.0 or left <= remaining or (whole and 0 < remaining < steps)
            if running:
                costs[job] += series[at]
                remaining -= 1
                if remaining == 0:
                    break
    return costs


def worked(series: Series, forecast: Series, starts: Starts, work: Work, policy: Policy, day: int = 24) -> Series:
    """`run_work` for a work: the cost of each."""
    terms = np.array([work.steps, work.within, int(work.is_whole), day])
    return np.asarray(run_work(series, forecast, starts, terms, policy))


def cheapest_work(series: Series, starts: Starts, work: Work) -> Series:
    """Foresight: the least that the work can cost when handed in at each of `starts`."""
    windows = np.lib.stride_tricks.sliding_window_view(series, work.within)[starts]
    if work.is_whole:
        pieces = np.lib.stride_tricks.sliding_window_view(windows, work.steps, axis=1).sum(axis=2)
        return np.asarray(pieces.min(axis=1))
    return np.asarray(np.sort(windows, axis=1)[:, : work.steps].sum(axis=1))


def work_at_once(series: Series, starts: Starts, work: Work) -> Series:
    """What the work costs that does not wait."""
    return np.asarray(np.lib.stride_tricks.sliding_window_view(series, work.steps)[starts].sum(axis=1))
