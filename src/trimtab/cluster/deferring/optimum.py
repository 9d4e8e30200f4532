"""Foresight: the least that deferrable work costs one who knows the whole future. Bounds for every policy."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from trimtab.cluster.deferring.spot import Job, Table, Up

MOST_UNITS = 25  # that a step is cut into


def cheapest_jobs(up: Up, starts: npt.NDArray[np.int64], job: Job, step_hours: float) -> Table:
    """The least cost, in on-demand hours, of a job at each of `starts` (rising) that ends by its deadline.

    Time is cut into units of a step, chosen so that the overhead and the work are whole ones, or nearly so: both are
    rounded down, less is lost and done then, so that what comes out remains a bound.
    """
    unit = step_hours / _units(job, step_hours)
    sizes = [_whole(job.work / unit), _whole(job.overhead / unit), round(step_hours / unit), job.steps(step_hours)]
    return np.asarray(_cheapest(up, starts, np.array(sizes), job.price) * unit)


def _units(job: Job, step_hours: float) -> int:
    """The fewest units of a step that the overhead and the work are rounded least by."""

    def rounded(count: int) -> float:
        parts = [part * count / step_hours for part in (job.overhead, job.work) if part]
        return max(round(part / _whole(part) - 1, 6) if _whole(part) else 1.0 for part in parts)

    return min(range(1, MOST_UNITS + 1), key=rounded)


def _whole(units: float) -> int:
    return int(units + 1e-6)


@numba.njit(cache=True)
def _improve(now: Any, after: Any, lost: int, step: int, rate: float, least: int, most: int) -> None:
    """Take the cost of running for a step, of which `lost` units are lost, where it is less."""
    for left in range(least, most + 1):
        used = min(step, lost + left)
        now[left] = min(now[left], rate * used + after[left - (used - lost)])


@numba.njit(numba.f8[::1](numba.u1[::1], numba.i8[::1], numba.i8[::1], numba.f8), cache=True)
def _cheapest(up: Any, starts: Any, sizes: Any, price: float) -> Any:
    """By dynamic programming, backwards over (step, what it runs on and what its start still loses, units left).

    sizes: [work, overhead, step] in units, steps. Ways to stand: 0 idle; then `levels` for a start on spot that is so
    many steps old (the last: that has lost all it loses), then as many on demand.
    """
    work, overhead, step, steps = sizes
    levels = max(1, (overhead + step - 1) // step) + 1
    ways = 2 * levels + 1
    costs = np.zeros(len(starts))
    now, after = np.full((ways, work + 1), np.inf), np.full((ways, work + 1), np.inf)
    for job in range(len(starts)):
        after[:, 0], now[:, 0] = 0.0, 0.0
        for back in range(steps):
            at = starts[job] + steps - 1 - back
            # Less than `least` cannot be left by then, more than `most` cannot be done any more.
            least, most = max(1, work - (steps - 1 - back) * step), min(work, (back + 1) * step)
            after[:, min(work, back * step) + 1 : most + 1] = np.inf
            now[:, least : most + 1] = after[0, least : most + 1]
            for way in range(ways):
                for kind in range(2):
                    if kind == 0 and not up[at]:
                        continue
                    goes_on = way > 0 and (way - 1) // levels == kind
                    level = (way - 1) % levels if goes_on else 0
                    lost = min(step, max(0, overhead - level * step))
                    then = 1 + kind * levels + min(level + 1, levels - 1)
                    rate = price if kind == 0 else 1.0
                    _improve(now[way], after[then], lost, step, rate, least, most)
            now, after = after, now
        costs[job] = after[0, work]
    return costs
