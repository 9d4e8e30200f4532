"""Hashes of values and rows: estimates of distinct values, and of rows that repeat. Mergeable, order-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

REGISTERS = 2048  # the estimate of distinct values is good to about 2 %
MOST_ROWS = 1 << 17  # distinct row hashes that are kept; beyond, a share of them that is halved again and again
EMPTY = (1 << 64) - 1

Hashes = npt.NDArray[np.uint64]
Key = TypeVar("Key", np.uint64, np.int64)
MISSING = np.float64(np.nan).view(np.uint64)


_READ, _WRITE = numba.types.Array(numba.u8, 1, "C", readonly=True), numba.u8[::1]  # Arrow's buffers are read-only
_OFFSETS = numba.types.Array(numba.i4, 1, "C", readonly=True)
_LETTERS = numba.types.Array(numba.u1, 1, "C", readonly=True)


@numba.njit(numba.void(_READ, _WRITE, _WRITE), nogil=True, cache=True)
def fold(values: Any, rows: Any, registers: Any) -> None:
    """Hash the bits of values into the hashes of their rows, and into the least hash of each register."""
    for i in range(len(values)):
        x = values[i] * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
        x ^= x >> np.uint64(29)
        rows[i] = (rows[i] ^ x) * np.uint64(0x94D049BB133111EB) + (rows[i] >> np.uint64(31))
        if values[i] != MISSING:
            register = x >> np.uint64(53)
            registers[register] = min(registers[register], x << np.uint64(11))


@numba.njit(numba.void(_OFFSETS, _LETTERS, _WRITE), nogil=True, cache=True)
def hash_words(offsets: Any, letters: Any, hashes: Any) -> None:
    """FNV-1a of each word, mixed."""
    for i in range(len(hashes)):
        x = np.uint64(0xCBF29CE484222325)
        for j in range(offsets[i], offsets[i + 1]):
            x = (x ^ np.uint64(letters[j])) * np.uint64(0x100000001B3)
        x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)  # else short words share their upper bits
        hashes[i] = x ^ (x >> np.uint64(33))


def grouped(
    keys: npt.NDArray[Key], counts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[Key], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct keys in order, the sum of each one's counts, and a place where it occurs."""
    if not len(keys):
        return keys, counts, np.zeros(0, np.int64)
    order = np.argsort(keys)
    in_order = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], in_order[1:] != in_order[:-1]]))
    return in_order[starts], np.add.reduceat(counts[order], starts), order[starts]


def distinct(registers: Hashes) -> float:
    """An estimate of how many distinct values were folded in."""
    empty = int((registers == EMPTY).sum())
    if empty > REGISTERS // 20:
        return REGISTERS * float(np.log(REGISTERS / empty))
    shares = registers.astype(float) / 2.0**64
    return float(REGISTERS * (REGISTERS - 1) / max(shares.sum(), 1e-300))


@dataclass(frozen=True, eq=False)
class RowSample:
    """The distinct hashes below 2**64 / 2**halvings, and how many rows have each: exact while there were few."""

    halvings: int = 0
    hashes: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def limit(self) -> int:
        return EMPTY >> self.halvings

    def add(self, hashes: Hashes, counts: npt.NDArray[np.int64] | None = None, halvings: int = 0) -> RowSample:
        """With more rows. The result does not depend on the order in which rows come."""
        counts = np.ones(len(hashes), np.int64) if counts is None else counts
        halvings = max(self.halvings, halvings)
        every, repeats = np.concatenate([self.hashes, hashes]), np.concatenate([self.counts, counts])
        is_in = every <= np.uint64(EMPTY >> halvings)
        found, total, _ = grouped(every[is_in], repeats[is_in])
        while len(found) > MOST_ROWS:
            halvings += 1
            keep = int(np.searchsorted(found, np.uint64(EMPTY >> halvings), side="right"))
            found, total = found[:keep], total[:keep]
        return RowSample(halvings, found, total)
