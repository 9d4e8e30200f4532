"""How much of the GPUs any placement could allocate: pods chosen and put together at will, CPU and memory left out.

A bound, from the program of cutting stock (Gilmore and Gomory, 1961), not made whole. Small shares count as a liquid
that fills whatever is left. What it leaves out (CPU, memory, which GPUs are of one node) could only lower it.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from trimtab.cluster.packing.fleet import Fleet
from trimtab.cluster.packing.simulator import COUNT, SHARE, Ints

LIQUID = 0.15  # of a GPU: shares up to it
MOST_SHARES = 40  # of different sizes: with more, there would be too many ways to fill a GPU
Pattern = tuple[float, ...]


def most_allocated(fleet: Fleet, codes: Ints) -> float:
    """The share of a fleet's GPUs that pods could be given, at most."""
    counts = np.bincount(codes, minlength=len(fleet.kinds))
    gpus, shares = fleet.kinds[:, COUNT], np.round(fleet.kinds[:, SHARE], 6)
    whole = float((counts * gpus)[(gpus > 0) & (shares >= 1)].sum())
    small = (gpus > 0) & (shares <= LIQUID)
    liquid = float((counts * shares)[small].sum())
    sizes = np.unique(shares[(gpus > 0) & ~small & (shares < 1) & (counts > 0)])
    if len(sizes) > MOST_SHARES:
        return min(1.0, float(fleet.asked(codes).sum()) / fleet.gpus)
    there = [float(counts[(shares == size) & (gpus > 0)].sum()) for size in sizes]
    return _solved(patterns(sizes.tolist()), sizes.tolist(), (*there, whole, liquid, fleet.gpus)) / fleet.gpus


def patterns(sizes: list[float], room: float = 1.0) -> list[Pattern]:
    """Every way to share a GPU, the empty one included."""
    found: list[Pattern] = [()]
    for place, size in enumerate(sizes):
        if size <= room + 1e-9:
            found += [(size, *rest) for rest in patterns(sizes[place:], room - size)]
    return found


def _solved(ways: list[Pattern], sizes: list[float], there: tuple[float, ...]) -> float:
    """GPUs given at most; unknowns: GPUs shared in each way, whole ones given, the liquid."""
    used = np.array([sum(way) for way in ways])
    rows = np.zeros((len(there) + 1, len(ways) + 2))
    for row, size in enumerate(sizes):
        rows[row, :-2] = [way.count(size) for way in ways]
    rows[-4, -2] = rows[-3, -1] = 1.0  # as many whole ones, and as much liquid, as there is
    rows[-2, :-1] = 1.0  # GPUs
    rows[-1] = np.concatenate([used - 1.0, [0.0, 1.0]])  # the liquid is in what is left
    solved = linprog(-np.concatenate([used, [1.0, 1.0]]), A_ub=rows, b_ub=[*there, 0.0], method="highs")
    return float(-solved.fun)
