"""Which backend the next request goes to: a compiled policy over what this router knows of each backend.

The policy is swapped by one assignment; requests that are under way are not touched. Backends that are ejected or full
are never offered to it: limits are kept outside the program.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numba
import numpy as np

from trimtab.adapters.programs import POLICY, Policy, compile_program
from trimtab.inference.balancing.signature import NEVER, PICK

(
    OUTSTANDING, IN_FLIGHT, REPORTED_AT, SENT, LATENCY, PEAK, ANSWERED_AT, SLOTS, IS_OPEN, ASKED_AT, STARTED_SUM
) = range(11)  # fmt: skip
_COLUMNS = 11
DECAY_SECONDS = 10.0  # of the moving averages
LEAST_REQUEST = f"{PICK.head}\n    return outstanding + draw * 0.5\n"
_PLACES = PICK.starts()
_WIDTH = PICK.width
_X = {name: np.int64(place) for name, place in _PLACES.items()}
_ORDER = tuple(_X[name] for name in (
    "outstanding", "in_flight", "age", "sent", "latency", "peak", "quiet", "slots", "service", "size", "pace",
    "routers", "backends", "turn", "draw", "work", "sent_work", "elapsed", "reported",
))  # fmt: skip
_FLOATS = numba.f8[::1]


@numba.njit(numba.i8(POLICY, numba.f8[:, ::1], _FLOATS, _FLOATS, numba.f8, numba.f8, numba.i8), cache=True)
def _lowest(policy: Any, rows: Any, inputs: Any, state: Any, now: float, pace: float, last: int) -> Any:
    """The open backend with the lowest score, one of them by chance among equals; -1 when none is open."""
    best, lowest, luck = -1, np.inf, 0.0
    count = len(rows)
    mean, known = 0.0, 0
    for place in range(count):
        if rows[place, LATENCY] > 0.0:
            mean += rows[place, LATENCY]
            known += 1
    mean = mean / known if known else 0.0
    for place in range(count):
        row = rows[place]
        if row[IS_OPEN] == 0.0 or row[OUTSTANDING] >= row[SLOTS]:
            continue
        inputs[_ORDER[0]] = row[OUTSTANDING]
        inputs[_ORDER[1]] = row[IN_FLIGHT]
        inputs[_ORDER[2]] = now - row[REPORTED_AT] if row[REPORTED_AT] > 0.0 else NEVER
        inputs[_ORDER[3]] = min(8.0, row[SENT])
        inputs[_ORDER[4]] = row[LATENCY]
        inputs[_ORDER[5]] = row[PEAK]
        inputs[_ORDER[6]] = now - row[ANSWERED_AT] if row[ANSWERED_AT] > 0.0 else NEVER
        inputs[_ORDER[7]] = row[SLOTS]
        inputs[_ORDER[8]] = row[LATENCY] / mean if mean > 0.0 and row[LATENCY] > 0.0 else 1.0
        inputs[_ORDER[9]] = mean
        inputs[_ORDER[10]] = pace
        inputs[_ORDER[11]] = 1.0
        inputs[_ORDER[12]] = count
        inputs[_ORDER[13]] = (place - last - 1) % count
        draw = np.random.random()
        inputs[_ORDER[14]] = draw
        inputs[_ORDER[15]] = row[IN_FLIGHT] * mean
        inputs[_ORDER[16]] = min(8.0, row[SENT]) * mean
        inputs[_ORDER[17]] = max(0.0, row[OUTSTANDING] * now - row[STARTED_SUM])
        inputs[_ORDER[18]] = row[LATENCY]
        score = policy(inputs, state)
        if score < lowest or (score == lowest and draw < luck):
            best, lowest, luck = place, score, draw
    return best


@numba.njit(numba.void(numba.f8[:, ::1], numba.i8, numba.f8), cache=True)
def _sent(rows: Any, place: int, now: float) -> None:
    rows[place, OUTSTANDING] += 1
    rows[place, SENT] += 1
    rows[place, STARTED_SUM] += now


@numba.njit(numba.void(numba.f8[:, ::1], numba.i8, numba.f8, numba.f8, numba.b1), cache=True)
def _ended(rows: Any, place: int, began: float, now: float, is_answer: bool) -> None:
    row = rows[place]
    row[OUTSTANDING] -= 1
    row[STARTED_SUM] -= began
    if not is_answer:
        return
    took = now - began
    weight = 1.0 if row[ANSWERED_AT] == 0.0 else 1.0 - math.exp((row[ANSWERED_AT] - now) / DECAY_SECONDS)
    row[LATENCY] += weight * (took - row[LATENCY])
    row[PEAK] = took if took > row[PEAK] else row[PEAK] + weight * (took - row[PEAK])
    # One router sees all requests: what it counts is what the backend would report.
    row[IN_FLIGHT], row[REPORTED_AT], row[SENT], row[ANSWERED_AT] = row[OUTSTANDING], now, 0.0, now


class Choice:
    """What a router knows of its backends, and the policy that chooses among them."""

    def __init__(self, most_backends: int = 1024, *, slots: int = 256) -> None:
        self._rows = np.zeros((0, _COLUMNS))
        self._slots, self._most = slots, most_backends
        self._inputs, self._state = np.zeros(_WIDTH), np.zeros(max(1, PICK.state))
        self._last, self._pace, self._arrived = -1, 0.0, 0.0
        self.source = LEAST_REQUEST
        self._policy: Policy = compile_program(LEAST_REQUEST, PICK)

    def swap(self, source: str) -> None:
        """Take another policy for all requests from now on. Raises ProgramFault; the old one stays then."""
        policy = compile_program(source, PICK)
        self._policy, self.source, self._state = policy, source, np.zeros(max(1, PICK.state))

    def use(self, policy: Policy, state: Any) -> None:
        """Take a compiled policy that brings its own state."""
        self._policy, self._state = policy, state

    def add(self) -> int:
        """A place for one more backend, closed at first. Raises ValueError when there is none left."""
        if len(self._rows) >= self._most:
            raise ValueError(f"a router has at most {self._most} backends")
        row = np.zeros((1, _COLUMNS))
        row[0, SLOTS] = self._slots
        self._rows = np.ascontiguousarray(np.concatenate([self._rows, row]))
        return len(self._rows) - 1

    def open(self, place: int, *, is_open: bool) -> None:
        """Offer a backend to the policy, or no more."""
        self._rows[place, IS_OPEN] = float(is_open)

    def is_open(self, place: int) -> bool:
        """Whether the policy is offered a backend."""
        return bool(self._rows[place, IS_OPEN])

    def next(self, without: frozenset[int] = frozenset()) -> int:
        """The backend for a request that arrives now, -1 when none may have it."""
        now = time.monotonic()
        gap, self._arrived = now - self._arrived, now
        self._pace += (1.0 / max(gap, 1e-6) - self._pace) * min(1.0, gap / DECAY_SECONDS)
        hidden = [place for place in without if self._rows[place, IS_OPEN]] if without else ()
        for place in hidden:
            self._rows[place, IS_OPEN] = 0.0
        chosen = _lowest(self._policy, self._rows, self._inputs, self._state, now, self._pace, self._last)
        for place in hidden:
            self._rows[place, IS_OPEN] = 1.0
        if chosen >= 0:
            self._last = chosen
        return int(chosen)

    def sent(self, place: int, now: float) -> None:
        """A request went to a backend."""
        _sent(self._rows, place, now)

    def ended(self, place: int, began: float, now: float, *, is_answer: bool) -> None:
        """A request came back from a backend, or will not."""
        _ended(self._rows, place, began, now, is_answer)

    def outstanding(self, place: int) -> int:
        """Requests at a backend that are not answered."""
        return int(self._rows[place, OUTSTANDING])
