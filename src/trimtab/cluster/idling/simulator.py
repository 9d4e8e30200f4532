"""Replays calls of many functions, one replica each, of which a policy program says when it is loaded, compiled.

After every answer a program is asked, for each of the stretches that the idle time is cut into (`EDGES`), whether the
replica is loaded then. A call that finds it loaded is warm; a replica that is loaded anew before a call costs its
loading time. What a program knows are gaps that have ended by the time of the answer.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from trimtab.adapters.programs import POLICY, Input, Policy, Signature

Series = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

EDGES = np.array(
    [0, 5, 10, 20, 30, 45, 60, 90, 120, 180, 240, 300, 420, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 10_800,
     14_400, 21_600, 43_200, 86_400, 172_800, 345_600], float
)  # fmt: skip
"""Seconds of idle time at which stretches begin; beyond the last nobody is waited for."""
PRIOR = 10.0  # gaps: how much what all functions do counts beside a function's own
WARM = Signature(
    "warm",
    (
        Input("idle", "seconds since the last answer, at the beginning of the stretch"),
        Input("stretch", "how long the stretch lasts, seconds"),
        Input("hazard", "calls a second that come after so long an idle time, of this function and, if few, of all"),
        Input("usual", "the same, of all functions"),
        Input("gaps", "how many idle times of this function have ended"),
        Input("last", "its last one, seconds; 0 if none"),
        Input("mean", "geometric mean of its idle times, seconds, the newer counting more; 0 if none"),
        Input("head", "the 5th percentile of its idle times, seconds, rounded down to a stretch"),
        Input("tail", "the 99th percentile, rounded up"),
        Input("spread", "coefficient of variation of the counts of its idle times by stretch"),
        Input("hour", "hour of the day, 0 to 24"),
        Input("load", "seconds that loading takes"),
    ),
    "above 0: the replica is loaded in this stretch",
    when_nan=-1.0,
)
_MEMORY = 0.2  # weight of the newest gap in the mean


@numba.njit(cache=True)
def _place(gap: float, edges: Any) -> int:
    """The stretch in which a gap ends."""
    return int(np.searchsorted(edges, gap, side="right")) - 1


@numba.njit(cache=True)
def _count(gap: float, ended: Any, stayed: Any, edges: Any) -> None:
    """Count a gap that has ended: its end, and the seconds spent in each stretch."""
    last = _place(gap, edges)
    ended[last] += 1.0
    for at in range(last + 1):
        until = edges[at + 1] if at + 1 < len(edges) else gap
        stayed[at] += min(gap, until) - edges[at]


@numba.njit(cache=True)
def _quantile(ended: Any, share: float) -> int:
    """The stretch that holds a quantile of the gaps."""
    wanted, total = share * ended.sum(), 0.0
    for at in range(len(ended)):
        total += ended[at]
        if total >= wanted:
            return at
    return len(ended) - 1


@numba.njit(cache=True)
def _look(x: Any, ended: Any, stayed: Any, recent: Any, edges: Any) -> None:
    """What a program is told of a function, the same for all stretches."""
    x[4], x[5], x[6] = ended.sum(), recent[0], np.exp(recent[1]) if recent[0] > 0 else 0.0
    x[7], x[8], x[9] = 0.0, 0.0, 0.0
    if x[4] > 0:
        x[7] = edges[_quantile(ended, 0.05)]
        x[8] = edges[min(_quantile(ended, 0.99) + 1, len(edges) - 1)]
        x[9] = ended.std() / ended.mean()


_F1, _I1, _F2 = numba.f8[::1], numba.i8[::1], numba.f8[:, ::1]


@numba.njit(numba.void(_F1, _F1, _I1, _I1, _F2, _F1, numba.f8, POLICY), cache=True)
def _replay(starts: Any, gaps: Any, who: Any, order: Any, out: Any, edges: Any, load: float, policy: Any) -> None:
    """Fill `out` (gaps, 2): seconds loaded without work, and whether the call that ended the gap was cold.

    starts: when each gap begins, sorted; gaps: its seconds, negative: still open after so many. order: by their ends.
    """
    functions, width, done = who.max() + 1, len(edges), 0
    ended, stayed = np.zeros((functions, width)), np.zeros((functions, width))
    all_ended, all_stayed = np.zeros(width), np.zeros(width)
    recent, x, state = np.zeros((functions, 2)), np.zeros(12), np.zeros(1)
    for i in range(len(starts)):
        while done < len(order) and starts[order[done]] + gaps[order[done]] <= starts[i]:
            j = order[done]
            _count(gaps[j], ended[who[j]], stayed[who[j]], edges)
            _count(gaps[j], all_ended, all_stayed, edges)
            newest = np.log(max(1.0, gaps[j]))
            weight = _MEMORY if recent[who[j], 0] > 0.0 else 1.0
            recent[who[j], 0] = max(1.0, gaps[j])
            recent[who[j], 1] += weight * (newest - recent[who[j], 1])
            done += 1
        mine, seen, gap = ended[who[i]], stayed[who[i]], abs(gaps[i])
        _look(x, mine, seen, recent[who[i]], edges)
        x[10], x[11], loaded, was = starts[i] / 3600.0 % 24.0, load, True, 0.0
        for at in range(_place(gap, edges) + 1):
            length = (edges[at + 1] if at + 1 < width else 2.0 * edges[at]) - edges[at]
            x[0], x[1] = edges[at], length
            x[3] = (all_ended[at] + 0.5) / (all_stayed[at] + 0.5 * length + load)
            x[2] = (mine[at] + PRIOR * x[3] * length) / (seen[at] + PRIOR * length)
            is_warm = at + 1 < width and policy(x, state) > 0.0
            if is_warm:
                was += min(gap, edges[at] + length) - edges[at] + (0.0 if loaded else load)
            loaded = is_warm
        out[i, 0], out[i, 1] = was, 0.0 if loaded else 1.0


def replay(starts: Series, gaps: Series, who: Ints, load_seconds: float, policy: Policy) -> Series:
    """(gaps, 2): idle seconds loaded, and whether the next call was cold, of each gap (negative: it has not ended)."""
    closed = np.flatnonzero(gaps >= 0)
    order = closed[np.argsort((starts + gaps)[closed], kind="stable")]
    out = np.zeros((len(starts), 2))
    _replay(starts, gaps, who, order, out, EDGES, load_seconds, policy)
    return out
