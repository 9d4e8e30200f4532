"""What each router knows of each backend: its own answers, and the newest report that reached it."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from trimtab.inference.balancing.backends import REPORT
from trimtab.inference.balancing.signature import NEVER

# Of a router and a backend: requests without an answer, averages of the latency (s), last answer, uses of its probe,
# last probe, own requests since the newest report and their expected seconds, all requests; the report's numbers and
# when it was taken; then the last requests' times and expected seconds.
OUTSTANDING, LATENCY, PEAK, QUIET, USES, LAST, SENT, SENT_WORK, EVER, TOLD = range(10)
TAKEN = TOLD + REPORT
SENDS = TAKEN + 1
REMEMBERED = 8  # own requests that are told apart from those that a report counts
COLUMNS = SENDS + 2 * REMEMBERED

# Of a router: the place after the backend that was chosen last, probes that it may send, removals from its pool that
# are due, requests/s, when the last one came, the first of its probes on their way, how many they are, backends in its
# pool; then those, the oldest first.
NEXT, CREDIT, REMOVALS, PACE, CLOCK, FIRST, WAITING, POOLED, POOL = range(9)
POOL_SIZE = 16

DUE, ASKED, REPLY = range(3)  # of a probe: when its reply comes, whom it asked, the reply and when it was taken
MAIL = 32  # probes of one router on their way


def new_views(routers: int, backends: int) -> Any:
    """(By router and backend, by router, by router and probe on its way): routers that know nothing."""
    views, desks = np.zeros((routers, backends, COLUMNS)), np.zeros((routers, POOL + POOL_SIZE))
    views[:, :, TAKEN] = views[:, :, QUIET] = -NEVER
    views[:, :, SENDS:] = -NEVER
    views[:, :, TOLD + 4] = 1.0
    return views, desks, np.zeros((routers, MAIL, REPLY + REPORT + 1))


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def send(views: Any, r: int, b: int, now: float, expected: float) -> None:
    """Remember that the router sent a request."""
    views[r, b, OUTSTANDING] += 1.0
    views[r, b, SENT] += 1.0
    views[r, b, SENT_WORK] += expected
    place = SENDS + 2 * (int(views[r, b, EVER]) % REMEMBERED)
    views[r, b, place], views[r, b, place + 1] = now, expected
    views[r, b, EVER] += 1.0


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def answer(views: Any, r: int, b: int, now: float, latency: float, memory: float) -> None:
    """Count an answer in: the averages of its latency, over about `memory` seconds."""
    views[r, b, OUTSTANDING] -= 1.0
    if views[r, b, QUIET] < 0.0:
        views[r, b, LATENCY] = views[r, b, PEAK] = latency
    else:
        kept = math.exp((views[r, b, QUIET] - now) / memory)
        views[r, b, LATENCY] = views[r, b, LATENCY] * kept + latency * (1.0 - kept)
        views[r, b, PEAK] = max(latency, views[r, b, PEAK] * kept + latency * (1.0 - kept))
    views[r, b, QUIET] = now


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def hear(views: Any, r: int, b: int, taken: float, source: Any, row: int, column: int) -> None:
    """Keep a report, if it is newer than what is known, and recount the requests that it does not count."""
    if taken <= views[r, b, TAKEN]:
        return
    for one in range(REPORT):
        views[r, b, TOLD + one] = source[row, column + one]
    views[r, b, TAKEN] = taken
    views[r, b, SENT] = views[r, b, SENT_WORK] = 0.0
    last = int(views[r, b, EVER])
    for back in range(1, min(last, REMEMBERED) + 1):
        place = SENDS + 2 * ((last - back) % REMEMBERED)
        if views[r, b, place] < taken:
            return
        views[r, b, SENT] += 1.0
        views[r, b, SENT_WORK] += views[r, b, place + 1]


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def pool_in(views: Any, desks: Any, r: int, b: int) -> None:
    """Put a backend at the young end of the router's pool; the oldest makes room."""
    pool_out(desks, r, b)
    if desks[r, POOLED] >= POOL_SIZE:
        pool_out(desks, r, int(desks[r, POOL]))
    desks[r, POOL + int(desks[r, POOLED])] = b
    desks[r, POOLED] += 1.0
    views[r, b, USES] = 0.0


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def pool_out(desks: Any, r: int, b: int) -> None:
    """Take a backend out of the router's pool, if it is there."""
    end = POOL + int(desks[r, POOLED])
    for place in range(POOL, end):
        if desks[r, place] == b:
            for later in range(place, end - 1):
                desks[r, later] = desks[r, later + 1]
            desks[r, POOLED] -= 1.0
            return
