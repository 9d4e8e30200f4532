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
BLOCK = 4096  # values that are worked on at a time: they stay in the first-level cache

Hashes = npt.NDArray[np.uint64]
Key = TypeVar("Key", np.uint64, np.int64)
MISSING = np.float64(np.nan).view(np.uint64)


_READ, _WRITE = numba.types.Array(numba.u8, 1, "C", readonly=True), numba.u8[::1]  # Arrow's buffers are read-only
_OFFSETS = numba.types.Array(numba.i4, 1, "C", readonly=True)
_CODES = numba.types.Array(numba.i4, 1, "C", readonly=True)
_COUNTS, _TABLE = numba.i8[::1], numba.i4[::1]
_TWO = numba.types.UniTuple(numba.i8, 2)  # type: ignore[no-untyped-call]
_LETTERS = numba.types.Array(numba.u1, 1, "C", readonly=True)


@numba.njit(numba.u8(numba.u8), nogil=True, cache=True)
def _mixed(bits: Any) -> Any:
    x = bits * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
    return x ^ (x >> np.uint64(29))


@numba.njit(numba.void(_READ, _WRITE, _WRITE), nogil=True, cache=True)
def _mix_block(values: Any, rows: Any, mixed: Any) -> None:
    # A loop of its own, without a branch or a look-up: it runs on whole vectors.
    for i in range(len(values)):
        x = _mixed(values[i])
        rows[i] = (rows[i] ^ x) * np.uint64(0x94D049BB133111EB) + (rows[i] >> np.uint64(31))
        mixed[i] = x if values[i] != MISSING else np.uint64(EMPTY)


@numba.njit(numba.void(_READ, _WRITE, _WRITE), nogil=True, cache=True)
def fold(values: Any, rows: Any, registers: Any) -> None:
    """Hash the bits of values into the hashes of their rows, and into the least hash of each register."""
    mixed = np.empty(min(len(values), BLOCK), np.uint64)
    for start in range(0, len(values), BLOCK):
        used = min(BLOCK, len(values) - start)
        _mix_block(values[start : start + used], rows[start : start + used], mixed)
        for x in mixed[:used]:
            register, rest = x >> np.uint64(53), x << np.uint64(11) | np.uint64(2047)
            if rest < registers[register]:  # hardly ever true, once a register has seen some: well predicted
                registers[register] = rest


@numba.njit(numba.void(_CODES, _WRITE, numba.i8[::1], _WRITE), nogil=True, cache=True)
def fold_codes(codes: Any, hashes: Any, counts: Any, rows: Any) -> None:
    """The same for words that are given as codes, each counted; their registers are the dictionary's, folded apart."""
    mixed = np.empty(len(hashes), np.uint64)
    for code in range(len(hashes)):
        mixed[code] = _mixed(hashes[code])
    for i in range(len(codes)):
        rows[i] = (rows[i] ^ mixed[codes[i]]) * np.uint64(0x94D049BB133111EB) + (rows[i] >> np.uint64(31))
        counts[codes[i]] += 1


@numba.njit(numba.void(_OFFSETS, _LETTERS, _WRITE), nogil=True, cache=True)
def hash_words(offsets: Any, letters: Any, hashes: Any) -> None:
    """A hash of each word: eight bytes at a time (which the compiler reads as one), then one by one, then mixed."""
    for i in range(len(hashes)):
        x = np.uint64(0xCBF29CE484222325)
        j, end = np.uint64(offsets[i]), np.uint64(offsets[i + 1])
        while j + np.uint64(8) <= end:
            eight = np.uint64(0)
            for k in range(8):
                eight |= np.uint64(letters[j + np.uint64(k)]) << np.uint64(8 * k)
            x = (x ^ eight) * np.uint64(0x9E3779B97F4A7C15)
            x ^= x >> np.uint64(32)
            j += np.uint64(8)
        while j < end:
            x = (x ^ np.uint64(letters[j])) * np.uint64(0x100000001B3)
            j += np.uint64(1)
        x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)  # else short words share their upper bits
        hashes[i] = x ^ (x >> np.uint64(33))


@numba.njit(
    _TWO(_WRITE, _COUNTS, numba.u8, _WRITE, _COUNTS, _TABLE, numba.i8, _COUNTS),
    nogil=True,
    cache=True,
)
def count_words(
    new: Any, counts: Any, limit: Any, hashes: Any, totals: Any, table: Any, used: int, places: Any
) -> Any:  # fmt: skip
    """Add counts to those of known words; words at or below `limit` become known, their places are written down.

    `table` is open addressing: the index of a hash in `hashes`, -1 where empty. Returns (known words, other counts).
    """
    before, other = used, 0
    for i in range(len(new)):
        if counts[i] == 0:
            continue
        slot = new[i] % np.uint64(len(table))
        while table[slot] >= 0 and hashes[table[slot]] != new[i]:
            slot = (slot + np.uint64(1)) % np.uint64(len(table))
        if table[slot] >= 0:
            totals[table[slot]] += counts[i]
        elif new[i] <= limit:
            table[slot], hashes[used], totals[used], places[used - before] = used, new[i], counts[i], i
            used += 1
        else:
            other += counts[i]
    return used, other


@numba.njit(numba.void(_WRITE, numba.i8, _TABLE), nogil=True, cache=True)
def fill_table(hashes: Any, used: int, table: Any) -> None:
    """Enter the first `used` hashes, all distinct, into an empty table."""
    for i in range(used):
        slot = hashes[i] % np.uint64(len(table))
        while table[slot] >= 0:
            slot = (slot + np.uint64(1)) % np.uint64(len(table))
        table[slot] = i


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


@numba.njit(numba.i8(_WRITE, _COUNTS, _WRITE, _COUNTS, _WRITE, _COUNTS), nogil=True, cache=True)
def _merge(one: Any, ones: Any, other: Any, others: Any, keys: Any, counts: Any) -> int:
    """Merge two ascending lists of distinct keys with their counts; returns how many keys there are."""
    i, j, n = 0, 0, 0
    while i < len(one) or j < len(other):
        is_first = j == len(other) or (i < len(one) and one[i] <= other[j])
        is_second = i == len(one) or (j < len(other) and other[j] <= one[i])
        keys[n], counts[n] = one[i] if is_first else other[j], 0
        if is_first:
            counts[n] += ones[i]
            i += 1
        if is_second:
            counts[n] += others[j]
            j += 1
        n += 1
    return n


def _counted(keys: Hashes) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """Distinct keys in order and how often each occurs: sorting alone is faster than grouping."""
    in_order = np.sort(keys)
    starts = np.flatnonzero(np.concatenate([[True], in_order[1:] != in_order[:-1]]))[: len(keys)]
    return in_order[starts], np.diff(np.append(starts, len(keys)))


def _least(hashes: Hashes, halvings: int) -> tuple[int, Hashes, npt.NDArray[np.int64]]:
    """The distinct hashes that a sample may keep, and their counts: sorted are no more than needed to know which."""
    bold = halvings
    while int((hashes <= np.uint64(EMPTY >> (bold + 1))).sum()) > MOST_ROWS:
        bold += 1
    while True:
        found, counts = _counted(hashes[hashes <= np.uint64(EMPTY >> bold)])
        # So many distinct ones would have led to these halvings anyway; fewer mean that rows repeat: look at more.
        if len(found) > MOST_ROWS or bold == halvings:
            return bold, found, counts
        bold -= 1


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
        """With more rows, or with the ascending hashes and counts of another sample. Their order does not matter."""
        halvings = max(self.halvings, halvings)
        if counts is None:
            halvings, hashes, counts = _least(hashes, halvings)
        limit = np.uint64(EMPTY >> halvings)
        kept, known = (int(np.searchsorted(one, limit, side="right")) for one in (self.hashes, hashes))
        found, total = np.empty(kept + known, np.uint64), np.empty(kept + known, np.int64)
        used = _merge(self.hashes[:kept], self.counts[:kept], hashes[:known], counts[:known], found, total)
        found, total = found[:used], total[:used]
        while len(found) > MOST_ROWS:
            halvings += 1
            keep = int(np.searchsorted(found, np.uint64(EMPTY >> halvings), side="right"))
            found, total = found[:keep], total[:keep]
        return RowSample(halvings, found, total)
