"""Backends, followed lazily: each runs on its own between two requests, so that no global queue of events is needed.

First come, first served over some slots, or processor sharing among some cores. A backend's list holds its requests in
the order in which they leave: those whose answer is on its way, then those that are in service or wait.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

FIFO, SHARED = 0, 1
LEVELS = 32  # of requests in flight, by which a backend remembers how long requests took
_SERVICE_MEMORY = 1 / 200  # weight of one request in the mean speed that a backend reports
_LEVEL_MEMORY = 0.1


class Requests(NamedTuple):
    """By request: when it came, what it needs at speed 1, what is expected of it; then what became of it."""

    times: Any
    work: Any  # seconds, without the prefix
    prefix: Any  # seconds that the prefix takes where it is not cached
    guess: Any  # seconds expected, without the prefix
    key: Any  # when it leaves: in time (FIFO) or in the backend's virtual time (SHARED)
    start: Any
    left: Any
    own: Any  # seconds of service at its backend
    expected: Any  # seconds of work that its backend counts for it
    router: Any
    met: Any  # requests that it met in flight
    report: Any  # (n, 5): the backend's report that the answer carries
    after: Any
    before: Any


class Backends(NamedTuple):
    """By backend."""

    speed: Any
    slots: Any
    free: Any  # (backends, most slots): when each slot becomes free
    clock: Any
    virtual: Any
    answering: Any  # the first request whose answer is on its way
    head: Any  # the first that has not left
    tail: Any
    count: Any  # in flight
    running: Any  # sum of the starts of those in service
    expected: Any  # sum of the expected work of those in flight
    service: Any
    took: Any  # (backends, LEVELS)


@numba.njit(cache=True)
def new_backends(speed: Any, slots: Any) -> Any:
    """Idle backends."""
    count = len(speed)
    return Backends(
        speed, slots, np.zeros((count, slots.max())), np.zeros(count), np.zeros(count),
        np.full(count, -1), np.full(count, -1), np.full(count, -1), np.zeros(count, np.int64),
        np.zeros(count), np.zeros(count), np.zeros(count), np.full((count, LEVELS), -1.0),
    )  # fmt: skip


@numba.njit(cache=True)
def report(backends: Any, b: int, now: float, to: Any) -> None:
    """What a backend says of itself: in flight, expected work (s), elapsed (s), latency at this level (s), service."""
    count, service = backends.count[b], backends.service[b] if backends.service[b] > 0.0 else 1.0
    to[0] = count
    to[1] = max(0.0, backends.expected[b]) * service
    to[2] = max(0.0, min(count, backends.slots[b]) * now - backends.running[b])
    to[3] = _took(backends, b, count)
    to[4] = service


@numba.njit(cache=True)
def _took(backends: Any, b: int, count: int) -> float:
    level = min(count, LEVELS - 1)
    for away in range(LEVELS):
        for near in (level - away, level + away):
            if 0 <= near < LEVELS and backends.took[b, near] >= 0.0:
                return float(backends.took[b, near])
    return 0.0


@numba.njit(cache=True)
def place(requests: Any, backends: Any, b: int, i: int, now: float, needs: float, discipline: int) -> None:
    """Put request i, which needs `needs` seconds at speed 1, on a backend that was brought to `now`."""
    own = needs / backends.speed[b]
    requests.own[i], requests.met[i] = own, backends.count[b]
    if discipline == FIFO:
        slot = 0
        for other in range(1, backends.slots[b]):
            if backends.free[b, other] < backends.free[b, slot]:
                slot = other
        start = max(now, backends.free[b, slot])
        backends.free[b, slot] = requests.key[i] = start + own
    else:
        start = now
        requests.key[i] = backends.virtual[b] + own
    requests.start[i] = start
    if discipline == SHARED or start <= now:
        backends.running[b] += start
    backends.count[b] += 1
    backends.expected[b] += requests.expected[i]
    _insert(requests, backends, b, i)


@numba.njit(cache=True)
def _insert(requests: Any, backends: Any, b: int, i: int) -> None:
    """Into the list, by the key, from its end."""
    later, place = -1, backends.tail[b]
    is_empty = backends.head[b] < 0
    while not is_empty and place >= 0 and requests.key[place] > requests.key[i]:
        later = place
        if place == backends.head[b]:
            place = requests.before[place]
            break
        place = requests.before[place]
    requests.before[i], requests.after[i] = place, later
    if place >= 0:
        requests.after[place] = i
    if later >= 0:
        requests.before[later] = i
    else:
        backends.tail[b] = i
    if is_empty or later == backends.head[b]:
        backends.head[b] = i
    if backends.answering[b] < 0 or backends.answering[b] == later:
        backends.answering[b] = i


@numba.njit(cache=True)
def bring(requests: Any, backends: Any, b: int, now: float, discipline: int, is_reporting: bool) -> None:
    """Let a backend run until `now`."""
    while backends.head[b] >= 0:
        i = backends.head[b]
        if discipline == FIFO:
            leaves = requests.key[i]
            if leaves > now:
                return
        else:
            rate = min(1.0, backends.slots[b] / backends.count[b])
            leaves = backends.clock[b] + max(0.0, requests.key[i] - backends.virtual[b]) / rate
            if leaves > now:
                backends.virtual[b] += (now - backends.clock[b]) * rate
                backends.clock[b] = now
                return
            backends.virtual[b], backends.clock[b] = requests.key[i], leaves
        _leave(requests, backends, b, i, leaves, discipline)
        if is_reporting:
            report(backends, b, leaves, requests.report[i])
    backends.clock[b] = now


@numba.njit(cache=True)
def _leave(requests: Any, backends: Any, b: int, i: int, now: float, discipline: int) -> None:
    requests.left[i] = now
    backends.head[b] = requests.after[i]
    backends.running[b] -= requests.start[i]
    if discipline == FIFO and backends.count[b] > backends.slots[b]:
        backends.running[b] += now  # the next one starts
    backends.count[b] -= 1
    backends.expected[b] -= requests.expected[i]
    seen = requests.own[i] / max(1e-9, requests.expected[i])
    known = backends.service[b]
    backends.service[b] = seen if known == 0.0 else known + (seen - known) * _SERVICE_MEMORY
    level, took = min(requests.met[i], LEVELS - 1), now - requests.times[i]
    past = backends.took[b, level]
    backends.took[b, level] = took if past < 0.0 else past + (took - past) * _LEVEL_MEMORY


@numba.njit(cache=True)
def true_wait(requests: Any, backends: Any, b: int, now: float, discipline: int) -> float:
    """Seconds until a backend could begin a new request (FIFO), or its unfinished work per core (SHARED)."""
    if discipline == FIFO:
        soonest = backends.free[b, 0]
        for slot in range(1, backends.slots[b]):
            soonest = min(soonest, backends.free[b, slot])
        return max(0.0, soonest - now)
    left, i = 0.0, backends.head[b]
    while i >= 0:
        left += requests.key[i] - backends.virtual[b]
        i = requests.after[i]
    return left / backends.slots[b]
