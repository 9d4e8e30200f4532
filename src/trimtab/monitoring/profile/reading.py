"""What a histogram says: quantiles, shares, heavy values, holes, and how far it lies from another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from trimtab.monitoring.profile.histogram import (
    FINE,
    FINE_BITS,
    HALF,
    SHIFT,
    Floats,
    Histogram,
    Ints,
    Reference,
    bins_of,
    place,
)

FAR_LONGER = 8.0  # than 19 of 20 stretches between neighbouring values


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


def ends(histogram: Histogram) -> tuple[Floats, Floats]:
    """Of each place, the end of its bin that is nearer to the shift, and the other one."""
    spots = histogram.places
    is_negative = spots < 0
    keys, within = np.divmod(np.where(is_negative, -spots - 1, spots), FINE)
    low, high = ((keys + i << SHIFT).astype(np.uint32).view(np.float32).astype(float) for i in (0, 1))
    is_split = np.isin(keys + np.where(is_negative, HALF, 0), histogram.reference.split)
    with np.errstate(invalid="ignore"):  # the last bin ends nowhere
        inner, outer = (
            np.where(is_split, low + (high - low) * (within + i) / FINE, end) for i, end in ((0, low), (1, high))
        )
    sign, shift = np.where(is_negative, -1.0, 1.0), histogram.reference.shift
    return shift + sign * inner, shift + sign * outer


def holes(histogram: Histogram, least: float) -> list[tuple[float, float]]:
    """Stretches of at least a length in which no value lies, and which are far longer than usual ones."""
    if len(histogram.places) < 2:
        return []
    both = np.sort(np.stack(ends(histogram)), axis=0)
    starts, lengths = both[1][:-1], both[0][1:] - both[1][:-1]
    is_hole = lengths > max(least, FAR_LONGER * float(np.quantile(lengths, 0.95)))
    return [
        (float(start), float(start + length)) for start, length in zip(starts[is_hole], lengths[is_hole], strict=True)
    ]


def share_of(histogram: Histogram, is_meant: Callable[[Floats], Any]) -> float:
    """Share of the values in bins whose nearer end is meant: exact for integers within 8,192 of a whole shift."""
    return float(histogram.counts[is_meant(ends(histogram)[0])].sum() / max(1, histogram.counts.sum()))


def _place_of(reference: Reference, value: float) -> int:
    bits = np.array([value - reference.shift]).view(np.int64)
    key = int(bins_of(bits.view(np.float64))[0])
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
