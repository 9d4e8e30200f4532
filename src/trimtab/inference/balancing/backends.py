"""Backends, followed lazily: each runs on its own between two requests, so that no global queue of events is needed.

First come, first served over some slots, or processor sharing among some cores. A backend's list holds its requests in
the order in which they leave: those whose answer is on its way, then those that are in service or wait. Numbers lie in
few plain arrays with named columns: tuples of arrays cost numba a count of references at every call.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

FIFO, SHARED = 0, 1

# Of a request, float: when it came (s) and leaves, in time (FIFO) or in its backend's virtual time (SHARED); when its
# service starts; when it left; its seconds of service there; the seconds that are expected of it at speed 1; from SAID
# on, the five numbers of the backend's report that its answer carries.
CAME, KEY, START, LEFT, NEEDS, EXPECTED, SAID = range(7)
AFTER, BEFORE, ROUTER, MET = range(4)  # of a request, whole: its neighbours in the list; whom it met in flight

# Of a backend, float: speed, clock, virtual time, sums over those in service of their starts and over all in flight of
# their expected seconds, its mean seconds for an expected one; how long requests took by LEVEL; when each slot is free.
SPEED, CLOCK, VIRTUAL, RUNNING, DUE, SERVICE, TOOK = range(7)
LEVELS = 32
FREE = TOOK + LEVELS
# Of a backend, whole: slots, the first request whose answer is on its way, the first and last that has not left, in
# flight, the discipline.
SLOTS, ANSWERING, HEAD, TAIL, COUNT, DISCIPLINE = range(6)

REPORT = 5  # numbers: in flight, expected work (s), elapsed (s), latency at this level (s), seconds for an expected one
_SERVICE_MEMORY = 1 / 200  # weight of one request in the mean that a backend reports
_LEVEL_MEMORY = 0.1


def new_backends(speed: Any, slots: Any, discipline: int) -> Any:
    """(Floats, wholes) of idle backends."""
    numbers, wholes = np.zeros((len(speed), FREE + int(slots.max()))), np.full((len(speed), 6), -1)
    numbers[:, SPEED], numbers[:, TOOK : TOOK + LEVELS] = speed, -1.0
    wholes[:, SLOTS], wholes[:, COUNT], wholes[:, DISCIPLINE] = slots, 0, discipline
    return numbers, wholes


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def report(numbers: Any, wholes: Any, b: int, now: float, to: Any, row: int, column: int) -> None:
    """Write what a backend says of itself to `to[row, column:]`."""
    count, service = wholes[b, COUNT], numbers[b, SERVICE] if numbers[b, SERVICE] > 0.0 else 1.0
    running = count if wholes[b, DISCIPLINE] == SHARED else min(count, wholes[b, SLOTS])
    to[row, column] = count
    to[row, column + 1] = max(0.0, numbers[b, DUE]) * service
    to[row, column + 2] = max(0.0, running * now - numbers[b, RUNNING])
    to[row, column + 3] = _took(numbers, b, count)
    to[row, column + 4] = service


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def _took(numbers: Any, b: int, count: int) -> float:
    """How long requests took lately at the nearest level that is known."""
    level = min(count, LEVELS - 1)
    for away in range(LEVELS):
        if level - away >= 0 and numbers[b, TOOK + level - away] >= 0.0:
            return float(numbers[b, TOOK + level - away])
        if level + away < LEVELS and numbers[b, TOOK + level + away] >= 0.0:
            return float(numbers[b, TOOK + level + away])
    return 0.0


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def place(asked: Any, links: Any, numbers: Any, wholes: Any, b: int, i: int, now: float, needs: float) -> None:
    """Put request i, which needs `needs` seconds at speed 1, on a backend that was brought to `now`."""
    needs /= numbers[b, SPEED]
    start = now
    if wholes[b, DISCIPLINE] == FIFO:
        slot = FREE
        for other in range(FREE + 1, FREE + wholes[b, SLOTS]):
            if numbers[b, other] < numbers[b, slot]:
                slot = other
        start = max(now, numbers[b, slot])
        asked[i, KEY] = numbers[b, slot] = start + needs
        if start <= now:
            numbers[b, RUNNING] += start
    else:
        if wholes[b, COUNT] == 0:
            numbers[b, CLOCK] = now
        asked[i, KEY] = numbers[b, VIRTUAL] + needs
        numbers[b, RUNNING] += now
    asked[i, START], asked[i, NEEDS] = start, needs
    links[i, MET] = wholes[b, COUNT]
    wholes[b, COUNT] += 1
    numbers[b, DUE] += asked[i, EXPECTED]
    _insert(asked, links, wholes, b, i)


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def _insert(asked: Any, links: Any, wholes: Any, b: int, i: int) -> None:
    """Into the list, by the key, from its end."""
    head, later, earlier = wholes[b, HEAD], -1, wholes[b, TAIL]
    while head >= 0 and later != head and asked[earlier, KEY] > asked[i, KEY]:
        later, earlier = earlier, links[earlier, BEFORE]
    links[i, BEFORE], links[i, AFTER] = earlier, later
    if earlier >= 0:
        links[earlier, AFTER] = i
    if later >= 0:
        links[later, BEFORE] = i
    else:
        wholes[b, TAIL] = i
    if later == head:  # both -1: nothing was in flight
        wholes[b, HEAD] = i
        if wholes[b, ANSWERING] == head:
            wholes[b, ANSWERING] = i


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def bring(asked: Any, links: Any, numbers: Any, wholes: Any, b: int, now: float, is_reporting: bool) -> None:
    """Let a backend run until `now`."""
    i = wholes[b, HEAD]
    while i >= 0:
        if wholes[b, DISCIPLINE] == FIFO:
            leaves = asked[i, KEY]
            if leaves > now:
                return
        else:
            rate = min(1.0, wholes[b, SLOTS] / wholes[b, COUNT])
            leaves = numbers[b, CLOCK] + max(0.0, asked[i, KEY] - numbers[b, VIRTUAL]) / rate
            if leaves > now:
                numbers[b, VIRTUAL] += (now - numbers[b, CLOCK]) * rate
                numbers[b, CLOCK] = now
                return
            numbers[b, VIRTUAL], numbers[b, CLOCK] = asked[i, KEY], leaves
        _leave(asked, links, numbers, wholes, b, i, leaves)
        if is_reporting:
            report(numbers, wholes, b, leaves, asked, i, SAID)
        i = wholes[b, HEAD]


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def _leave(asked: Any, links: Any, numbers: Any, wholes: Any, b: int, i: int, now: float) -> None:
    asked[i, LEFT] = now
    wholes[b, HEAD] = links[i, AFTER]
    numbers[b, RUNNING] -= asked[i, START]
    if wholes[b, DISCIPLINE] == FIFO and wholes[b, COUNT] > wholes[b, SLOTS]:
        numbers[b, RUNNING] += now  # the next one starts
    wholes[b, COUNT] -= 1
    numbers[b, DUE] -= asked[i, EXPECTED]
    if asked[i, EXPECTED] > 1e-6:
        seen, known = asked[i, NEEDS] / asked[i, EXPECTED], numbers[b, SERVICE]
        numbers[b, SERVICE] = seen if known == 0.0 else known + (seen - known) * _SERVICE_MEMORY
    level, took = TOOK + min(links[i, MET], LEVELS - 1), now - asked[i, CAME]
    past = numbers[b, level]
    numbers[b, level] = took if past < 0.0 else past + (took - past) * _LEVEL_MEMORY


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def true_wait(asked: Any, links: Any, numbers: Any, wholes: Any, b: int, now: float) -> float:
    """Seconds until a backend could begin a new request (FIFO), or its unfinished work per core (SHARED)."""
    if wholes[b, DISCIPLINE] == FIFO:
        soonest = numbers[b, FREE]
        for slot in range(FREE + 1, FREE + wholes[b, SLOTS]):
            soonest = min(soonest, numbers[b, slot])
        return float(max(0.0, soonest - now))
    left, i = 0.0, wholes[b, HEAD]
    while i >= 0:
        left += asked[i, KEY] - numbers[b, VIRTUAL]
        i = links[i, AFTER]
    return float(left / wholes[b, SLOTS])
