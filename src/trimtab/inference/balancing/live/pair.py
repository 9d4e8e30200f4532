"""Two policies as one: the incumbent and a candidate, both asked for every request, one of which is heeded.

A router takes it like any other compiled policy. Which one is heeded, how often they would have differed and what the
two remember lies in an array that the router passes through: it changes between two requests, never within one.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from trimtab.adapters.programs import Policy
from trimtab.adapters.programs.compiled import FLOATS
from trimtab.inference.balancing.signature import PICK

_OWN = PICK.state  # slots of state of each program
ARM, PACE, ASKED, DIFFERED, OLD_BEST, OLD_LUCK, OLD_TURN, NEW_BEST, NEW_LUCK, NEW_TURN = range(2 * _OWN, 2 * _OWN + 10)
_PLACES = PICK.starts()
_PACE, _TURN, _DRAW = _PLACES["pace"], _PLACES["turn"], _PLACES["draw"]


class Pair:
    """An incumbent and a candidate, compiled into one policy."""

    def __init__(self, incumbent: Policy, candidate: Policy) -> None:
        self.state = np.zeros(2 * _OWN + 10)
        self.policy = _paired(incumbent, candidate)

    def heed(self, *, candidate: bool) -> None:
        """Whose answers count from the next request on."""
        self.state[ARM] = float(candidate)

    @property
    def asked(self) -> int:
        """Requests for which both were asked."""
        return int(self.state[ASKED])

    @property
    def differed(self) -> int:
        """Requests for which they would have chosen different backends."""
        return int(self.state[DIFFERED])


@numba.njit(error_model="numpy", inline="always")
def _lower(state: Any, best: int, score: float, draw: float, turn: float) -> None:
    """Note a backend if it is the lowest so far, one of them by chance among equals, as the router does."""
    if score < state[best] or (score == state[best] and draw < state[best + 1]):
        state[best], state[best + 1], state[best + 2] = score, draw, turn


def _paired(incumbent: Any, candidate: Any) -> Policy:
    @numba.njit(numba.float64(FLOATS, FLOATS), error_model="numpy")
    def pair(inputs: Any, state: Any) -> float:
        if inputs[_PACE] != state[PACE]:  # it is new with each request: another one began
            if state[PACE] != 0.0:
                state[ASKED] += 1.0
                state[DIFFERED] += state[OLD_TURN] != state[NEW_TURN]
            state[PACE] = inputs[_PACE]
            state[OLD_BEST] = state[NEW_BEST] = math.inf
        old = incumbent(inputs, state[0:_OWN])
        new = candidate(inputs, state[_OWN : 2 * _OWN])
        _lower(state, OLD_BEST, old, inputs[_DRAW], inputs[_TURN])
        _lower(state, NEW_BEST, new, inputs[_DRAW], inputs[_TURN])
        return float(new) if state[ARM] > 0.0 else float(old)

    return pair
