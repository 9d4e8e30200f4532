"""Single requests through several replicas, first come first served: the exact simulator, to hold others against."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np


@numba.njit(cache=True)
def waits(arrivals: Any, works: Any, servers: int) -> Any:
    """Seconds that each request waits: arrivals (n,) sorted, works (n,) in seconds; `servers` replicas, one queue."""
    free = np.zeros(servers)  # a heap of the times at which replicas become free, the earliest at the root
    waited = np.empty(len(arrivals))
    for i in range(len(arrivals)):
        begin = max(arrivals[i], free[0])
        waited[i] = begin - arrivals[i]
        _replace_root(free, begin + works[i])
    return waited


@numba.njit(cache=True)
def _replace_root(heap: Any, value: float) -> None:
    place, count = 0, len(heap)
    while True:
        child = 2 * place + 1
        if child >= count:
            break
        if child + 1 < count and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = value
