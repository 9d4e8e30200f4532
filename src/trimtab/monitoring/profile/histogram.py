"""Counts of a numeric column on the top bits of float32: one pass, mergeable, fine enough for KS within 1e-4.

A value x is shifted by the column's reference and rounded to float32; its sign, exponent and first 12 bits of the
mantissa are its bin. Bins are thus narrow near the reference and relative far from it, whatever the column's scale.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

BITS = 21
SHIFT = 32 - BITS
BINS = 1 << BITS
HALF = BINS >> 1

Counts = npt.NDArray[np.uint32]
MOMENTS = 8  # missing, infinite, zero, negative, count, sum, sum of squares (both of x - reference), spare


@numba.njit(nogil=True, cache=True)
def count_values(values: Any, keys: Any, reference: float, counts: Any, totals: Any, extremes: Any) -> None:
    """Add a chunk to `counts` (BINS,), `totals` (MOMENTS,) and `extremes` (min, max). `keys`: the chunk's scratch."""
    missing = infinite = zero = negative = number = 0
    low, high = extremes[0], extremes[1]
    added = squares = 0.0
    for i in range(len(values)):
        x = float(values[i])
        if x != x:
            missing += 1
            keys[i] = np.float32(np.nan)
            continue
        if x == np.inf or x == -np.inf:
            infinite += 1
            keys[i] = np.float32(np.nan)
            continue
        d = x - reference
        keys[i] = np.float32(d)
        zero += x == 0.0
        negative += x < 0.0
        low, high = min(low, x), max(high, x)
        added += d
        squares += d * d
        number += 1
    bits = keys.view(np.uint32)
    for i in range(len(values)):
        if keys[i] == keys[i]:
            counts[bits[i] >> np.uint32(SHIFT)] += np.uint32(1)
    totals[0] += missing
    totals[1] += infinite
    totals[2] += zero
    totals[3] += negative
    totals[4] += number
    totals[5] += added
    totals[6] += squares
    extremes[0], extremes[1] = low, high


def ordered(counts: Counts) -> npt.NDArray[np.int64]:
    """The counts in the order of the values: negative ones turned round, then positive ones."""
    return np.concatenate([counts[HALF:][::-1], counts[:HALF]]).astype(np.int64)


def edges(reference: float) -> npt.NDArray[np.float64]:
    """The value at the middle of each bin, in the same order."""
    bits = (np.arange(HALF, dtype=np.uint64) << SHIFT).astype(np.uint32)
    with np.errstate(invalid="ignore"):
        positive = bits.view(np.float32).astype(float)
        following = np.append(positive[1:], np.inf)
        middle = np.where(np.isfinite(following), (positive + following) / 2, positive)
    return np.asarray(np.concatenate([-middle[::-1], middle]) + reference)


def distance(one: Counts, other: Counts) -> float:
    """The Kolmogorov–Smirnov distance of two columns with the same reference, exact to the mass of a bin."""
    first, second = np.cumsum(ordered(one)), np.cumsum(ordered(other))
    if first[-1] == 0 or second[-1] == 0:
        return float("nan")
    return float(np.abs(first / first[-1] - second / second[-1]).max())


def quantiles(counts: Counts, reference: float, shares: tuple[float, ...]) -> tuple[float, ...]:
    """The values below which these shares of a column lie, to the width of a bin."""
    total = np.cumsum(ordered(counts))
    if total[-1] == 0:
        return tuple(float("nan") for _ in shares)
    places = np.searchsorted(total, np.asarray(shares) * total[-1], side="left")
    return tuple(float(value) for value in edges(reference)[np.minimum(places, BINS - 1)])
