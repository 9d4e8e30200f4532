"""Counts of a numeric column on the top bits of float32: one pass, mergeable, fine enough for KS within 1e-4.

A value is shifted by the column's reference and truncated to float32; its sign, exponent and first 12 bits of the
mantissa are its bin: narrow near the reference, relative far from it. Bins that are heavy in the first batch, and hold
more than one value there, are split by 12 further bits, so that narrow peaks far from the reference are resolved, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from trimtab.monitoring.profile.sketch import grouped

BITS = 21
SHIFT = 32 - BITS
BINS = 1 << BITS
HALF = BINS >> 1
FINE_BITS = 12
FINE = 1 << FINE_BITS
MOST_FINE = 256  # split bins of a column: at most 4 MB
HEAVY = 8  # of LOOKED values: fewer may be chance
LOOKED = 16_384
SPLIT = 1 << 31  # marks a count as the number of a split bin
PAGE_BITS = 10
PAGE = 1 << PAGE_BITS  # bins of a page of memory: only touched ones are looked at again
BLOCK = 4096  # values that are worked on at a time: they stay in the first-level cache

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_TRUNCATE = ~((1 << 29) - 1)  # the bits of a double that float32 has no room for


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


@numba.njit(
    numba.void(
        numba.types.Array(numba.f8, 1, "C", readonly=True),  # Arrow's buffers are read-only
        *(numba.f8, numba.f8[::1], numba.f4[::1], numba.u4[::1], numba.u4[:, ::1], numba.u1[::1], numba.f8[::1]),
    ),
    nogil=True,
    cache=True,
    fastmath={"reassoc", "contract", "nnan", "ninf"},
)
def _count_finite(
    values: Any, shift: Any, moved: Any, keys: Any, counts: Any, fine: Any, touched: Any, totals: Any
) -> None:
    # totals: sum, sum of squares (both of value - shift), low, high. Separate loops: all but the last one vectorize.
    bits, truncated, short = moved.view(np.int64), np.empty(BLOCK, np.int64), keys.view(np.uint32)
    rounded = truncated.view(np.float64)
    for start in range(0, len(values), BLOCK):
        chunk = values[start : start + BLOCK]
        added, squares, low, high = 0.0, 0.0, totals[2], totals[3]
        for i in range(len(chunk)):
            d = chunk[i] - shift
            moved[i] = d
            added += d
            squares += d * d
            low = min(low, chunk[i])
            high = max(high, chunk[i])
        for i in range(len(chunk)):
            truncated[i] = bits[i] & _TRUNCATE
        for i in range(len(chunk)):
            keys[i] = rounded[i]
        for i in range(len(chunk)):
            key = short[i] >> np.uint32(SHIFT)
            count = counts[key]
            if count < SPLIT:
                counts[key] = count + np.uint32(1)
                touched[key >> np.uint32(PAGE_BITS)] = 1
            else:
                fine[count - SPLIT, (bits[i] >> (40 - FINE_BITS)) & (FINE - 1)] += np.uint32(1)
        totals[0] += added
        totals[1] += squares
        totals[2], totals[3] = low, high


class Counter:
    """Counts the values of one column. The state of one scan; `histogram` is what is kept."""

    def __init__(self, reference: Reference, counts: npt.NDArray[np.uint32] | None = None) -> None:
        self.reference = reference
        # Untouched pages of zeros take no memory.
        self._counts = np.zeros(BINS, np.uint32) if counts is None else counts
        self._touched = np.zeros(BINS // PAGE, np.uint8)
        self._fine = np.zeros((len(reference.split), FINE), np.uint32)
        self.resume()
        self.totals = np.array([0.0, 0.0, np.inf, -np.inf])

    def resume(self) -> None:
        """Mark the split bins anew, in counts that another column used meanwhile."""
        for number, key in enumerate(self.reference.split):
            self._counts[key] = SPLIT + number

    def add(self, values: Floats) -> tuple[float, float]:
        """Count finite values; returns the least and the most so far."""
        moved, keys = np.empty(BLOCK), np.empty(BLOCK, np.float32)
        _count_finite(values, self.reference.shift, moved, keys, self._counts, self._fine, self._touched, self.totals)
        return float(self.totals[2]), float(self.totals[3])

    def histogram(self) -> Histogram:
        """What was counted, without the empty bins; the counter starts anew."""
        pages = np.flatnonzero(self._touched)
        rows, columns = np.nonzero(self._counts.reshape(-1, PAGE)[pages])
        keys = pages[rows] * PAGE + columns
        whole = keys[self._counts[keys] < SPLIT]
        numbers, within = np.nonzero(self._fine)
        fine_counts = self._fine[numbers, within]
        places = place(whole, np.zeros(len(whole), np.int64))
        counts = self._counts[whole].astype(np.int64)
        within_split = place(np.asarray(self.reference.split, np.int64)[numbers], within)
        self._counts[keys] = 0
        self._counts[list(self.reference.split)] = 0
        self._fine[:], self._touched[:] = 0, 0
        turn = int(np.searchsorted(whole, HALF))
        is_in_order = not len(within_split) and (turn == len(whole) or whole[turn] != HALF)
        if is_in_order:  # no sort is needed: negative bins turned round, then the others
            return Histogram(
                self.reference,
                np.concatenate([places[turn:][::-1], places[:turn]]),
                np.concatenate([counts[turn:][::-1], counts[:turn]]),
            )
        split_counts = fine_counts.astype(np.int64)
        return _summed(self.reference, np.concatenate([places, within_split]), np.concatenate([counts, split_counts]))


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
    candidates = dict.fromkeys((float(looked[len(looked) // 2]), 0.0, float(looked[0])))
    shift, (_, mixed) = min(((one, _heavy(looked, one)) for one in candidates), key=lambda pair: pair[1][0])
    return Reference(shift, tuple(sorted(key for _, key in sorted(mixed)[:MOST_FINE])))


def _heavy(values: Floats, shift: float) -> tuple[int, list[tuple[int, int]]]:
    """How many values lie in mixed bins, and (-count, bin) of each: heavy, with more than one value."""
    moved = values - shift
    cut = (moved.view(np.int64) & _TRUNCATE).view(np.float64)
    with np.errstate(over="ignore"):
        keys = cut.astype(np.float32).view(np.uint32) >> SHIFT
    # The values are sorted: equal ones, and those of a bin, lie side by side.
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    is_new = np.concatenate([[True], moved[1:] != moved[:-1]])
    bins, counts = keys[starts], np.diff(np.append(starts, len(keys)))
    kinds = np.add.reduceat(is_new.astype(np.int64), starts)
    is_mixed = (counts >= HEAVY) & (kinds > 1) & (bins % HALF > 1 << (31 - SHIFT - 8))
    return int(counts[is_mixed].sum()), [
        (-int(n), int(key)) for n, key in zip(counts[is_mixed], bins[is_mixed], strict=True)
    ]


def merged(one: Histogram, other: Histogram) -> Histogram:
    """The counts of both, which must share a reference."""
    places = np.concatenate([one.places, other.places])
    return _summed(one.reference, places, np.concatenate([one.counts, other.counts]))


def distance(one: Histogram, other: Histogram) -> float:
    """The Kolmogorov–Smirnov distance, exact to what lies within one bin; NaN when a side is empty."""
    if not (len(one.counts) and len(other.counts)):
        return float("nan")
    places = np.union1d(one.places, other.places)
    return float(np.abs(_shares(one, places) - _shares(other, places)).max())


def quantiles(histogram: Histogram, shares: tuple[float, ...]) -> tuple[float, ...]:
    """The values below which these shares of a column lie, to the width of a bin: its shortest decimal number."""
    total = np.cumsum(histogram.counts)
    if not len(total):
        return tuple(float("nan") for _ in shares)
    found = np.searchsorted(total, np.asarray(shares) * total[-1], side="left")
    return tuple(value_at(histogram, int(i)) for i in np.minimum(found, len(total) - 1))


def share_outside(histogram: Histogram, low: float, high: float) -> float:
    """Share of the values below `low` or above `high`, to the width of a bin."""
    key = _place_of(histogram.reference, low), _place_of(histogram.reference, high)
    is_out = (histogram.places < key[0]) | (histogram.places > key[1])
    return float(histogram.counts[is_out].sum() / max(1, histogram.counts.sum()))


def bins_below(histogram: Histogram, bound: float) -> int:
    """How many bins below a bound hold a value."""
    return int(np.searchsorted(histogram.places, _place_of(histogram.reference, bound), side="left"))


def atoms(histogram: Histogram, least: float) -> dict[float, float]:
    """Bins that hold at least a share `least` of the values, by the shortest number in them."""
    total = max(1, int(histogram.counts.sum()))
    heavy = np.flatnonzero(histogram.counts >= least * total)
    return {value_at(histogram, int(i)): float(histogram.counts[i] / total) for i in heavy}


def _place_of(reference: Reference, value: float) -> int:
    bits = np.array([value - reference.shift]).view(np.int64)
    with np.errstate(over="ignore"):
        key = int((bits & _TRUNCATE).view(np.float64).astype(np.float32).view(np.uint32)[0] >> SHIFT)
    within = int(bits[0] >> (40 - FINE_BITS)) & (FINE - 1) if key in reference.split else 0
    return int(place(np.array([key]), np.array([within]))[0])


def value_at(histogram: Histogram, index: int) -> float:
    """The shortest decimal number within the bin of a place."""
    spot = int(histogram.places[index])
    is_negative, spot = spot < 0, (spot if spot >= 0 else -spot - 1)
    key, within = divmod(spot, FINE)
    low, high = (float(np.uint32((key + i) << SHIFT).view(np.float32)) for i in (0, 1))
    if key + (HALF if is_negative else 0) in histogram.reference.split:
        low, high = (low + (high - low) * (within + i) / FINE for i in (0, 1))
    shift = histogram.reference.shift
    if key == 0:
        return shift
    ends = sorted((shift - low, shift - high) if is_negative else (shift + low, shift + high))
    return _shortest(*ends) if np.isfinite(ends).all() else ends[0] if np.isfinite(ends[0]) else ends[1]


def _shortest(low: float, high: float) -> float:
    middle = (low + high) / 2
    for digits in range(1, 17):
        short = float(f"{middle:.{digits}g}")
        if low <= short <= high:
            return short
    return middle


def _shares(histogram: Histogram, places: Ints) -> Floats:
    total = np.concatenate([[0], np.cumsum(histogram.counts)])
    return np.asarray(total[np.searchsorted(histogram.places, places, side="right")] / total[-1])


def _summed(reference: Reference, places: Ints, counts: Ints) -> Histogram:
    distinct, sums, _ = grouped(places, counts)
    return Histogram(reference, distinct, sums)
