"""Two ways to do one thing, timed in turn in one process: what the host does meanwhile meets both alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

BLOCK = 8  # calls of one form in a row: its trees are then in the caches, as they are in a service

Call = Callable[[], Any]


def abba(
    reference: Sequence[Call],
    candidate: Sequence[Call],
    seconds: float,
    *,
    block: int = BLOCK,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> tuple[list[float], list[float]]:
    """Microseconds of each call, in blocks: reference, candidate, candidate, reference, …; at least two blocks each."""
    times: tuple[list[float], list[float]] = ([], [])
    calls = (reference, candidate)
    for side in (0, 1):
        calls[side][0]()  # the first call of all allocates
    deadline = time.perf_counter() + seconds
    turn = 0
    while turn < 4 or time.perf_counter() < deadline:
        side = (0, 1, 1, 0)[turn % 4]
        start = (turn // 2) * block
        for place in range(start, start + block):
            call = calls[side][place % len(calls[side])]
            began = clock()
            call()
            times[side].append((clock() - began) / 1000)
        turn += 1
    return times
