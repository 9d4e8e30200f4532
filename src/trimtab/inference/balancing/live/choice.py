"""Which backend the next request goes to: a compiled policy over what this router knows of each backend.

The policy is swapped by one assignment; requests that are under way are not touched. Backends that are ejected or full
are never offered to it: limits are kept outside the program.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection
from typing import Any

import numba
import numpy as np

from trimtab.adapters.programs import Policy, compile_program
from trimtab.inference.balancing.signature import NEVER, PICK

(
    OUTSTANDING, IN_FLIGHT, REPORTED_AT, SENT, LATENCY, PEAK, ANSWERED_AT, SLOTS, IS_OPEN, ASKED_AT, STARTED_SUM
) = range(11)  # fmt: skip
_COLUMNS = 11
DECAY_SECONDS = 10.0  # of the moving averages
LEAST_REQUEST = f"{PICK.head}\n    return outstanding + draw * 0.5\n"
_X = {name: np.int64(place) for name, place in PICK.starts().items()}
_ORDER = tuple(_X[name] for name in (
    "outstanding", "in_flight", "age", "sent", "latency", "peak", "quiet", "slots", "service", "work", "sent_work",
    "elapsed", "reported",
))  # fmt: skip
_SIZE, _PACE, _ROUTERS, _BACKENDS = _X["size"], _X["pace"], _X["routers"], _X["backends"]
_TURN, _DRAW = _X["turn"], _X["draw"]
LAST, PACE, ARRIVED = range(3)  # what the router knows of itself
_FLOATS, _ROWS = numba.f8[::1], numba.f8[:, ::1]


@numba.njit(numba.f8(_ROWS), cache=True)
def _mean_latency(rows: Any) -> Any:
    """Seconds, of the backends that have answered; 0 when none has."""
    mean, known = 0.0, 0
    for place in range(len(rows)):
        if rows[place, LATENCY] > 0.0:
            mean += rows[place, LATENCY]
            known += 1
    return mean / known if known else 0.0


@numba.njit(numba.void(_FLOATS, _FLOATS, numba.f8, numba.f8), cache=True)
def _describe(row: Any, inputs: Any, now: Any, mean: Any) -> Any:
    """What a policy is told of one backend."""
    inputs[_ORDER[0]] = row[OUTSTANDING]
    inputs[_ORDER[1]] = row[IN_FLIGHT]
    inputs[_ORDER[2]] = now - row[REPORTED_AT] if row[REPORTED_AT] > 0.0 else NEVER
    inputs[_ORDER[3]] = min(8.0, row[SENT])
    inputs[_ORDER[4]] = row[LATENCY]
    inputs[_ORDER[5]] = row[PEAK]
    inputs[_ORDER[6]] = now - row[ANSWERED_AT] if row[ANSWERED_AT] > 0.0 else NEVER
    inputs[_ORDER[7]] = row[SLOTS]
    inputs[_ORDER[8]] = row[LATENCY] / mean if mean > 0.0 and row[LATENCY] > 0.0 else 1.0
    inputs[_ORDER[9]] = row[IN_FLIGHT] * mean
    inputs[_ORDER[10]] = min(8.0, row[SENT]) * mean
    inputs[_ORDER[11]] = max(0.0, row[OUTSTANDING] * now - row[STARTED_SUM])
    inputs[_ORDER[12]] = row[LATENCY]


@numba.njit(numba.void(_ROWS, _FLOATS, _FLOATS, numba.f8, numba.f8), cache=True)
def _greet(rows: Any, inputs: Any, own: Any, now: Any, mean: Any) -> Any:
    """What a policy is told of the request that arrives."""
    gap = now - own[ARRIVED]
    own[ARRIVED] = now
    own[PACE] += (1.0 / max(gap, 1e-6) - own[PACE]) * min(1.0, gap / DECAY_SECONDS)
    inputs[_SIZE], inputs[_PACE] = mean, own[PACE]
    backends = 0
    for place in range(len(rows)):
        backends += rows[place, SLOTS] > 0.0  # one that left has none
    inputs[_ROUTERS], inputs[_BACKENDS] = 1.0, backends


@numba.njit(numba.void(_ROWS, _FLOATS, numba.i8, numba.f8), cache=True)
def _sent(rows: Any, own: Any, place: Any, now: Any) -> Any:
    rows[place, OUTSTANDING] += 1
    rows[place, SENT] += 1
    rows[place, STARTED_SUM] += now
    own[LAST] = place


@functools.lru_cache(maxsize=64)
def chooser(policy: Policy) -> Callable[..., int]:
    """The open backend with the lowest score, one of them by chance among equals, booked; -1 when none is open.

    Compiled for one policy, about 0.1 s: to hand a compiled function over at each call costs 100 times the choice.
    """

    @numba.njit(numba.i8(_ROWS, _FLOATS, _FLOATS, _FLOATS, numba.f8))
    def send(rows: Any, inputs: Any, state: Any, own: Any, now: Any) -> Any:
        best, lowest, luck, count = -1, np.inf, 0.0, len(rows)
        mean = _mean_latency(rows)
        _greet(rows, inputs, own, now, mean)
        for place in range(count):
            row = rows[place]
            if row[IS_OPEN] == 0.0 or row[OUTSTANDING] >= row[SLOTS]:
                continue
            _describe(row, inputs, now, mean)
            draw = np.random.random()
            inputs[_TURN], inputs[_DRAW] = (place - int(own[LAST]) - 1) % count, draw
            score = policy(inputs, state)
            if score < lowest or (score == lowest and draw < luck):
                best, lowest, luck = place, score, draw
        if best >= 0:
            _sent(rows, own, best, now)
        return best

    return send


@numba.njit(numba.void(_ROWS, numba.i8, numba.f8, numba.f8, numba.b1), cache=True)
def _ended(rows: Any, place: Any, began: Any, now: Any, is_answer: Any) -> Any:
    row = rows[place]
    row[OUTSTANDING] -= 1
    row[STARTED_SUM] -= began
    if not is_answer:
        return
    seconds = now - began
    weight = 1.0 if row[ANSWERED_AT] == 0.0 else 1.0 - math.exp((row[ANSWERED_AT] - now) / DECAY_SECONDS)
    row[LATENCY] += weight * (seconds - row[LATENCY])
    row[PEAK] = seconds if seconds > row[PEAK] else row[PEAK] + weight * (seconds - row[PEAK])
    # One router sees all requests: what it counts is what the backend would report.
    row[IN_FLIGHT], row[REPORTED_AT], row[SENT], row[ANSWERED_AT] = row[OUTSTANDING], now, 0.0, now


class Choice:
    """What a router knows of its backends, and the policy that chooses among them."""

    def __init__(self, most_backends: int = 1024, *, slots: int = 256) -> None:
        self._rows = np.zeros((0, _COLUMNS))
        self._slots, self._most = slots, most_backends
        self._free: list[int] = []
        self._inputs, self._own = np.zeros(PICK.width), np.array([-1.0, 0.0, 0.0])
        self.swap(chooser(compile_program(LEAST_REQUEST, PICK)))

    def swap(self, send: Callable[..., int]) -> None:
        """Take another policy for all requests from now on."""
        self._send, self._state = send, np.zeros(max(1, PICK.state))

    def use(self, send: Callable[..., int], state: Any) -> None:
        """Take a policy that brings its own state."""
        self._send, self._state = send, state

    def add(self) -> int:
        """A place for one more backend, closed at first. Raises ValueError when there is none left."""
        if self._free:
            place = self._free.pop()
            self._rows[place, SLOTS] = self._slots
            return place
        if len(self._rows) >= self._most:
            raise ValueError(f"a router has at most {self._most} backends")
        row = np.zeros((1, _COLUMNS))
        row[0, SLOTS] = self._slots
        self._rows = np.ascontiguousarray(np.concatenate([self._rows, row]))
        return len(self._rows) - 1

    def remove(self, place: int) -> None:
        """Give up the place of a backend that has no request any more."""
        self._rows[place] = 0.0
        self._free.append(place)

    def open(self, place: int, *, is_open: bool) -> None:
        """Offer a backend to the policy, or no more."""
        self._rows[place, IS_OPEN] = float(is_open)

    def is_open(self, place: int) -> bool:
        """Whether the policy is offered a backend."""
        return bool(self._rows[place, IS_OPEN])

    def send(self, now: float) -> int:
        """The backend for a request that arrives now, which counts as sent; -1 when none may have it."""
        return self._send(self._rows, self._inputs, self._state, self._own, now)

    def send_elsewhere(self, now: float, without: Collection[int]) -> int:
        """The same, but to none of some backends."""
        hidden = [place for place in without if self._rows[place, IS_OPEN]]
        self._rows[hidden, IS_OPEN] = 0.0
        chosen = self.send(now)
        self._rows[hidden, IS_OPEN] = 1.0
        return chosen

    def ended(self, place: int, began: float, now: float, is_answer: bool) -> None:
        """A request came back from a backend, or will not."""
        _ended(self._rows, place, began, now, is_answer)

    def outstanding(self, place: int) -> int:
        """Requests at a backend that are not answered."""
        return int(self._rows[place, OUTSTANDING])
