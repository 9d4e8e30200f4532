"""Prefix caches: each backend keeps the blocks that it saw last; a request saves the leading ones that it finds."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

NEWER, OLDER = 0, 1


def new_caches(backends: int, blocks: int) -> Any:
    """Rings through the blocks, newest next to oldest at the last place; -1: not held. (2, backends, blocks + 1)."""
    rings = np.full((2, backends, blocks + 1), -1, np.int32)
    rings[:, :, blocks] = blocks
    return rings


@numba.njit(cache=True, error_model="numpy")
def take_prefix(rings: Any, held: Any, room: int, b: int, blocks: Any, first: int, last: int) -> float:
    """The share of blocks[first:last] that lead and are held by a backend; then all of them are, the newest."""
    found = first
    while found < last and rings[NEWER, b, blocks[found]] >= 0:
        found += 1
    for place in range(first, last):
        _touch(rings, held, room, b, blocks[place])
    return (found - first) / max(1, last - first)


@numba.njit(cache=True, error_model="numpy")
def _touch(rings: Any, held: Any, room: int, b: int, block: int) -> None:
    end = rings.shape[2] - 1
    if rings[NEWER, b, block] >= 0:
        _unlink(rings, b, block)
    elif held[b] >= room:
        oldest = rings[NEWER, b, end]
        _unlink(rings, b, oldest)
        rings[NEWER, b, oldest] = -1
    else:
        held[b] += 1
    last = rings[OLDER, b, end]
    rings[NEWER, b, last], rings[OLDER, b, block] = block, last
    rings[NEWER, b, block], rings[OLDER, b, end] = end, block


@numba.njit(cache=True, error_model="numpy")
def _unlink(rings: Any, b: int, block: int) -> None:
    older, newer = rings[OLDER, b, block], rings[NEWER, b, block]
    rings[NEWER, b, older], rings[OLDER, b, newer] = newer, older


@numba.njit(cache=True, error_model="numpy")
def sent_share(sent: Any, r: int, blocks: Any, first: int, last: int) -> Any:
    """(Backend that the router sent the longest known prefix to last, or -1; that prefix's share)."""
    known = first
    while known < last and sent[r, blocks[known]] >= 0:
        known += 1
    if known == first:
        return -1, 0.0
    return int(sent[r, blocks[known - 1]]), (known - first) / (last - first)
