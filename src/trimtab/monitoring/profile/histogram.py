"""Counts of a numeric column on the top bits of float32: one pass, mergeable, fine enough for KS within 1e-4.

A value is shifted by the column's reference and cut to the range of float32; its sign, exponent and first 12 bits of
the mantissa are its bin: narrow near the reference, relative far from it. Bins that are heavy in the first batch, and
hold more than one value there, are split by 12 further bits: narrow peaks far from the reference are resolved, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from trimtab.monitoring.profile.sketch import BLOCK, Hashes, fold, grouped

BITS = 21
SHIFT = 32 - BITS
BINS = 1 << BITS
HALF = BINS >> 1
FINE_BITS = 12
FINE = 1 << FINE_BITS
MOST_FINE = 256  # split bins of a column: at most 4 MB
HEAVY = 8  # of LOOKED values: fewer may be chance
LOOKED = 16_384
PLACES = BINS + (1 << 12) + MOST_FINE * FINE  # of counts: by page, then within split bins
SPLIT = 1 << 31  # marks a count as the number of a split bin
PAGE_BITS = 12
PAGE = 1 << PAGE_BITS  # the bins of one sign and exponent; they get memory when the first value falls into them

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_MAGNITUDE = (1 << 63) - 1  # the bits of a double without its sign
_LEAST_TOP = 896 << 12  # exponent and first mantissa bits of a double at float32's least exponent
_MOST_KEY = 255 << 12
_LARGEST = 1.7976931348623157e308


@dataclass(frozen=True)
class Reference:
    """What two profiles of a column must share to be compared or merged: its shift, and its split bins."""

    shift: float = 0.0
    split: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts at places in the order of the values; places are bin * 4096 + the place within a split bin."""

    reference: Reference
    places: Ints
    counts: Ints


_VALUES = numba.types.Array(numba.f8, 1, "C", readonly=True)  # Arrow's buffers are read-only
_FOUR = numba.types.UniTuple(numba.f8, 4)  # type: ignore[no-untyped-call]
_U = np.uint64


@numba.njit(
    _FOUR(_VALUES, numba.f8, numba.f8[::1], numba.u4[::1]),
    nogil=True,
    cache=True,
    fastmath={"reassoc", "contract", "nnan", "ninf", "nsz"},
)
def _shifted(block: Any, shift: Any, moved: Any, keys: Any) -> Any:
    """Move a block of finite values and find their bins; returns the sum, the sum of squares, the least, the most."""
    # Two loops, both without a branch: they run on whole vectors. Shifts are unsigned: AVX2 has no others. The order
    # of doubles is that of their bits as integers, negative ones turned round: of integers, vectors know the least.
    added, squares = 0.0, 0.0
    low, high = np.int64(_MAGNITUDE), ~np.int64(_MAGNITUDE)
    values = block.view(np.int64)
    for i in range(len(block)):
        d = block[i] - shift
        moved[i] = d
        added += d
        squares += d * d
        ordered = values[i] ^ ((values[i] >> np.int64(63)) & np.int64(_MAGNITUDE))
        low = min(low, ordered)
        high = max(high, ordered)
    bits = moved.view(np.uint64)
    for i in range(len(block)):
        top = np.int32((bits[i] & _U(_MAGNITUDE)) >> _U(40)) - np.int32(_LEAST_TOP)
        key = min(max(top, np.int32(0)), np.int32(_MOST_KEY))
        keys[i] = np.uint32(key) | np.uint32((bits[i] >> _U(43)) & _U(HALF))
    ends = np.array([low, high])
    ends ^= (ends >> np.int64(63)) & np.int64(_MAGNITUDE)
    least, most = ends.view(np.float64)
    return added, squares, least, most


@numba.njit(numba.u4(numba.u4[::1], numba.u4[::1], numba.u8), nogil=True, cache=True)
def _new_page(counts: Any, pages: Any, which: Any) -> Any:
    """Give a page its memory: pages are numbered from 1 on, the last place of `pages` counts them."""
    pages[-1] += 1
    pages[which] = pages[-1]
    counts[pages[-1] << PAGE_BITS : (pages[-1] + 1) << PAGE_BITS] = 0
    return pages[-1]


@numba.njit(
    numba.void(
        *(_VALUES, numba.f8, numba.f8[::1], numba.u4[::1]),
        *(numba.u4[::1], numba.u4[::1], numba.f8[::1], numba.i8[::1]),
        *(numba.u8[::1], numba.u8[::1], numba.b1),
    ),
    nogil=True,
    cache=True,
)
def _count(
    values: Any, shift: Any, moved: Any, keys: Any, counts: Any, pages: Any, totals: Any, kinds: Any,
    rows: Any, registers: Any, has_split: Any,
) -> None:  # fmt: skip
    # totals: sum, sum of squares (both of value - shift), low, high; kinds: missing, infinite, zero, negative values.
    values_bits = values.view(np.uint64)
    bits = moved.view(np.uint64)
    finite = np.empty(BLOCK)
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK]
        used = len(block)
        if len(rows):
            fold(values_bits[start : start + BLOCK], rows[start : start + BLOCK], registers)
        added, squares, low, high = _shifted(block, shift, moved, keys)
        if not math.isfinite(added):  # the cheapest test: a sum is finite only if all values are
            used, infinite = 0, 0
            for value in block:  # without a branch: every place is written, and kept if the value was finite
                finite[used] = value
                used += abs(value) <= _LARGEST
                infinite += abs(value) > _LARGEST
            kinds[0] += len(block) - used - infinite
            kinds[1] += infinite
            if not used:
                continue
            added, squares, low, high = _shifted(finite[:used], shift, moved, keys)
            block = finite
        totals[0] += added
        totals[1] += squares
        totals[2], totals[3] = min(totals[2], low), max(totals[3], high)
        if low <= 0.0:
            for i in range(used):
                kinds[2] += block[i] == 0.0
                kinds[3] += block[i] < 0.0
        for i in range(used):
            key = _U(keys[i])
            page = pages[key >> _U(PAGE_BITS)]
            if page == 0:
                page = _new_page(counts, pages, key >> _U(PAGE_BITS))
            place = (_U(page) << _U(PAGE_BITS)) | (key & _U(PAGE - 1))
            if has_split:
                # Without a branch: which values fall into split bins, nobody can predict.
                split = _U(counts[place]) - _U(SPLIT)
                within = _U(BINS + PAGE) + ((bits[i] >> _U(40 - FINE_BITS)) & _U(FINE - 1)) + (split << _U(FINE_BITS))
                place = place if split >= _U(MOST_FINE) else within
            counts[place] += np.uint32(1)


@numba.njit(numba.i8(numba.u4[::1], numba.u4[::1], numba.i8[::1], numba.i8[::1]), nogil=True, cache=True)
def _collect(counts: Any, pages: Any, keys: Any, found: Any) -> int:
    """Move what was counted into (keys, found), in order, leaving no pages; returns how many bins."""
    n = 0
    for which in range(len(pages) - 1):
        if pages[which]:
            start = pages[which] << PAGE_BITS
            for within in range(PAGE):
                if 0 < counts[start + within] < SPLIT:
                    keys[n], found[n] = (which << PAGE_BITS) | within, counts[start + within]
                    n += 1
            pages[which] = 0
    pages[-1] = 0
    return n


_SCRATCH = np.empty(BLOCK), np.empty(BLOCK, np.uint32)


class Counter:
    """Counts the values of one column. The state of one scan; `histogram` is what is kept."""

    def __init__(self, reference: Reference, counts: npt.NDArray[np.uint32] | None = None) -> None:
        self.reference = reference
        # Memory that is never touched takes none.
        self._counts = np.empty(PLACES, np.uint32) if counts is None else counts
        self._pages = np.zeros(BINS // PAGE + 1, np.uint32)
        self.resume()
        self.totals = np.array([0.0, 0.0, np.inf, -np.inf])  # sum and squares of value - shift, least, most
        self.kinds = np.zeros(4, np.int64)  # missing, infinite, zero, negative values

    def resume(self) -> None:
        """Mark the split bins, in counts that another column may have used meanwhile."""
        self._fine[:] = 0
        for number, key in enumerate(self.reference.split):
            which = key >> PAGE_BITS
            page = int(self._pages[which]) or int(_new_page(self._counts, self._pages, which))
            self._counts[(page << PAGE_BITS) | (key & (PAGE - 1))] = SPLIT + number

    @property
    def _fine(self) -> npt.NDArray[np.uint32]:
        """The counts within split bins: the last places."""
        return self._counts[BINS + PAGE :][: len(self.reference.split) * FINE]

    def add(self, values: Floats, rows: Hashes, registers: Hashes) -> None:
        """Count values, those that are not finite in `kinds` alone; `fold` all into `rows` (if any) and `registers`."""
        state = (self._counts, self._pages, self.totals, self.kinds, rows, registers)
        _count(values, self.reference.shift, *_SCRATCH, *state, bool(self.reference.split))

    def histogram(self) -> Histogram:
        """What was counted, without the empty bins; the counter starts anew."""
        most = int(self._pages[-1]) * PAGE
        keys, counts = np.empty(most, np.int64), np.empty(most, np.int64)
        used = _collect(self._counts, self._pages, keys, counts)
        whole, counts = keys[:used], counts[:used].copy()
        used_fine = np.flatnonzero(self._fine)
        numbers, within = used_fine // FINE, used_fine % FINE
        fine_counts = self._fine[used_fine].astype(np.int64)
        places = place(whole, np.zeros(len(whole), np.int64))
        turn = int(np.searchsorted(whole, HALF))
        is_in_order = not len(within) and (turn == len(whole) or whole[turn] != HALF)
        if is_in_order:  # no sort is needed: negative bins turned round, then the others
            return Histogram(
                self.reference,
                np.concatenate([places[turn:][::-1], places[:turn]]),
                np.concatenate([counts[turn:][::-1], counts[:turn]]),
            )
        within_split = place(np.asarray(self.reference.split, np.int64)[numbers], within)
        return _summed(self.reference, np.concatenate([places, within_split]), np.concatenate([counts, fine_counts]))


def bins_of(moved: Floats) -> Ints:
    """The bins of shifted values: sign, exponent within that of float32, first 12 bits of the mantissa."""
    bits = moved.view(np.uint64)
    top = ((bits & _U(_MAGNITUDE)) >> _U(40)).astype(np.int64) - _LEAST_TOP
    return np.asarray(np.clip(top, 0, _MOST_KEY) | ((bits >> _U(43)) & _U(HALF)).astype(np.int64))


def place(keys: Ints, within: Ints) -> Ints:
    """Where bins lie in the order of values: negative ones turned round, below positive ones."""
    keys = np.where(keys == HALF, 0, keys)  # minus zero is zero
    return np.where(keys < HALF, keys * FINE + within, (HALF - 1 - keys) * FINE + (FINE - 1 - within))


def choose_reference(values: Floats) -> Reference:
    """The shift, of median, zero and least, whose heaviest bins are lightest; and which bins to split then."""
    looked = values[:: max(1, len(values) // LOOKED)][:LOOKED]
    looked = np.sort(looked[np.isfinite(looked)])
    if not len(looked):
        return Reference()
    shift, lightest, mixed = 0.0, len(looked) + 1, []
    for candidate in dict.fromkeys((float(looked[len(looked) // 2]), 0.0, float(looked[0]))):
        weight, found = _heavy(looked, candidate)
        if weight < lightest:
            shift, lightest, mixed = candidate, weight, found
        if not weight:
            break
    return Reference(shift, tuple(sorted(key for _, key in sorted(mixed)[:MOST_FINE])))


def _heavy(values: Floats, shift: float) -> tuple[int, list[tuple[int, int]]]:
    """How many of the sorted values lie in mixed bins, and (-count, bin) of each: heavy, with more than one value."""
    bins, counts = np.empty(len(values) // HEAVY, np.int64), np.empty(len(values) // HEAVY, np.int64)
    used = _mixed_bins(values, shift, bins_of(values - shift), bins, counts)
    return int(counts[:used].sum()), [(-int(n), int(key)) for n, key in zip(counts[:used], bins[:used], strict=True)]


@numba.njit(numba.i8(numba.f8[::1], numba.f8, *[numba.i8[::1]] * 3), nogil=True, cache=True)
def _mixed_bins(values: Any, shift: Any, keys: Any, bins: Any, counts: Any) -> int:
    """Write down the mixed bins and their counts; returns how many. The values of a bin lie side by side."""
    used, start = 0, 0
    for i in range(1, len(keys) + 1):
        if i == len(keys) or keys[i] != keys[start]:
            is_mixed = values[start] - shift != values[i - 1] - shift
            if is_mixed and i - start >= HEAVY and keys[start] % HALF > 1 << (31 - SHIFT - 8):
                bins[used], counts[used] = keys[start], i - start
                used += 1
            start = i
    return used


def merged(one: Histogram, other: Histogram) -> Histogram:
    """The counts of both, which must share a reference."""
    places = np.concatenate([one.places, other.places])
    return _summed(one.reference, places, np.concatenate([one.counts, other.counts]))


def _summed(reference: Reference, places: Ints, counts: Ints) -> Histogram:
    distinct, sums, _ = grouped(places, counts)
    return Histogram(reference, distinct, sums)
