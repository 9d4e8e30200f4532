"""The columns of a job in the simulator's table, and heaps of jobs over them, compiled."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Table = npt.NDArray[np.float64]
Series = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SUBMIT, WORK, SCORE, END, ATTAINED, STARTED, LOST, SPEED, FIRST, FINISH, PREDICTED = range(11)
"""Of the floats of a job: when it was submitted, its work (s, at speed 1), its priority, when it ends if it runs on,
work done before it was last started, when that was, seconds that start loses, its speed, its first start, its end, and
its predicted duration (median)."""
GPUS, CLASS, TENANT, RUNS, EVICTED, WHERE, AT = range(7)
"""Of the integers: GPUs, class, tenant, times started, times preempted, its node (`SPREAD`: whole nodes; `AWAY`: it
does not run), the group it was placed in."""
AWAY, SPREAD = -1, -2


@numba.njit(cache=True)
def is_before(key: float, job: int, other_key: float, other: int) -> bool:
    """By a key, then in the order of submission."""
    return bool(key < other_key or (key == other_key and job < other))


@numba.njit(cache=True)
def sift_up(heap: Any, keys: Any, places: Any, base: int, at: int) -> None:
    """Move the job at a place of a heap (a slice of `heap` and `keys`, from `base` on) up, to where it belongs.

    places: where each job of the heap is, kept up to date; empty: nobody asks.
    """
    job, key = heap[base + at], keys[base + at]
    while at > 0:
        above = (at - 1) // 2
        other = heap[base + above]
        if not is_before(key, job, keys[base + above], other):
            break
        heap[base + at], keys[base + at] = other, keys[base + above]
        if len(places) > 0:
            places[other] = at
        at = above
    heap[base + at], keys[base + at] = job, key
    if len(places) > 0:
        places[job] = at


@numba.njit(cache=True)
def sift_down(heap: Any, keys: Any, places: Any, base: int, at: int, size: int) -> None:
    """The same, away from the top."""
    job, key = heap[base + at], keys[base + at]
    while True:
        below = base + 2 * at + 1
        if below >= base + size:
            break
        if below + 1 < base + size and is_before(keys[below + 1], heap[below + 1], keys[below], heap[below]):
            below += 1
        if not is_before(keys[below], heap[below], key, job):
            break
        heap[base + at], keys[base + at] = heap[below], keys[below]
        if len(places) > 0:
            places[heap[below]] = at
        at = below - base
    heap[base + at], keys[base + at] = job, key
    if len(places) > 0:
        places[job] = at


@numba.njit(cache=True)
def push(heap: Any, keys: Any, places: Any, base: int, size: int, job: int, key: float) -> None:
    """Add a job to a heap of `size`."""
    heap[base + size], keys[base + size] = job, key
    sift_up(heap, keys, places, base, size)


@numba.njit(cache=True)
def remove(heap: Any, keys: Any, places: Any, base: int, size: int, at: int) -> None:
    """Remove the job at a place of a heap of `size`."""
    last, key = heap[base + size - 1], keys[base + size - 1]
    if at == size - 1:
        return
    is_up = is_before(key, last, keys[base + at], heap[base + at])
    heap[base + at], keys[base + at] = last, key
    if is_up:
        sift_up(heap, keys, places, base, at)
    else:
        sift_down(heap, keys, places, base, at, size - 1)
