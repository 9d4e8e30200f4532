"""How much memory the next run should ask for: an upper bound from runs that have ended.

The peak is taken for a sum of what the runs differ in (rows, columns, batch, depth …) and of products of two of these,
none of which takes memory away: tables are rows times columns, and a program has a size before it has read any. The
bound is conformal: each past run is forecast by a fit that did not see it, and the factor by which the worst share of
them was underestimated is what is added (jackknife+, Barber et al. 2021, doi:10.1214/20-AOS1965). Where that share
is one run or less, the largest such factor is taken, times a margin; with too few runs, the answer says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.core.errors import InputError

RISK = 0.005  # of running out of memory
LEAST = 3  # runs
MARGIN = 1.05  # where the bound rests on a single run, the one that was underestimated most
PER_TERM = 4  # runs that each term must be backed by
MOST_FEATURES = 4
LEAST_SPREAD = 1e-9


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask for, in bytes; why. `risk`: that the past supports, in the long run, of needing more."""

    bytes: int
    typical: int
    runs: int
    features: tuple[str, ...]
    risk: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Past:
    """A run's numbers (parameters, rows, columns …) and its peak."""

    numbers: Mapping[str, float]
    peak_bytes: int


def memory_request(past: Sequence[Past], wanted: Mapping[str, float], risk: float = RISK) -> Request:
    """The request for a run with these numbers; those not given are as in the last run. Raises InputError."""
    if len(past) < LEAST:
        raise InputError(f"{len(past)} runs are too few to learn from", hint=f"watch at least {LEAST}")
    if not 0 < risk < 1:
        raise InputError(f"a risk of {risk:g} is none", hint="such as --risk 0.005")
    names = _telling(past)
    for name in wanted:
        if not any(name in one.numbers for one in past):
            known = ", ".join(sorted({key for one in past for key in one.numbers})) or "none"
            raise InputError(f"no run has a number called {name!r}", hint=f"known: {known}")
    following = {**past[-1].numbers, **wanted}
    target = np.array([float(max(1, one.peak_bytes)) for one in past])
    terms = _terms(np.array([[one.numbers.get(name, 0.0) for name in names] for one in [*past, Past(following, 0)]]))
    terms = terms[:, : 1 + max(1, len(past) // PER_TERM)]
    errors, forecasts = _left_out(terms[:-1], target, terms[-1])
    uppers = np.sort(forecasts + errors)
    place = math.ceil((1 - risk) * (len(past) + 1))
    is_short = place > len(past)
    log_bound = uppers[-1] + math.log(MARGIN) if place >= len(past) else uppers[place - 1]
    notes = []
    if is_short:
        needed = math.ceil(1 / risk) - 1
        notes.append(f"{len(past)} runs support a risk of 1 in {len(past) + 1}; for {risk:g}, watch {needed}")
    outside = [name for name in names if not _is_inside(name, following, past)]
    if outside:
        notes.append(f"{', '.join(outside)} beyond anything seen: the bound is an extrapolation")
    supported = max(risk, 1 / (len(past) + 1))
    typical = int(math.exp(float(np.median(forecasts))))
    return Request(math.ceil(math.exp(log_bound)), typical, len(past), tuple(names), supported, tuple(notes))


def _telling(past: Sequence[Past]) -> list[str]:
    """Numbers that differ between the runs, the most telling first."""
    target = np.log([float(max(1, one.peak_bytes)) for one in past])
    found = []
    for name in sorted({key for one in past for key in one.numbers}):
        values = np.array([_log(one.numbers.get(name, 0.0)) for one in past])
        if values.std() > LEAST_SPREAD and target.std() > LEAST_SPREAD:
            found.append((abs(float(np.corrcoef(values, target)[0, 1])), name))
    return [name for _, name in sorted(found, reverse=True)[:MOST_FEATURES]]


def _terms(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """One, then products of two of the numbers and the numbers themselves, the most telling first; each of size one."""
    columns = [np.ones(len(numbers))]
    for at in range(numbers.shape[1]):
        columns.append(numbers[:, at])
        columns += [numbers[:, at] * numbers[:, before] for before in range(at)]
    terms = np.abs(np.column_stack(columns))
    scale: NDArray[np.float64] = np.maximum(terms.mean(axis=0), LEAST_SPREAD)
    return np.asarray(terms / scale)


def _log(value: float) -> float:
    return math.copysign(math.log1p(abs(value)), value)


def _left_out(
    terms: NDArray[np.float64], target: NDArray[np.float64], following: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each run, as logarithms: how much larger it was than a fit without it said, and that fit's next forecast."""
    from scipy.optimize import nnls

    relative = terms / target[:, None]  # so that errors count as shares of each peak
    errors, forecasts = np.empty(len(target)), np.empty(len(target))
    for out in range(len(target)):
        kept = np.arange(len(target)) != out
        weights, _ = nnls(relative[kept], np.ones(len(target) - 1))
        errors[out] = math.log(1.0 / max(1e-9, float(relative[out] @ weights)))
        forecasts[out] = math.log(max(1.0, float(following @ weights)))
    return errors, forecasts


def _is_inside(name: str, following: Mapping[str, float], past: Sequence[Past]) -> bool:
    values = [one.numbers.get(name, 0.0) for one in past]
    return min(values) <= following.get(name, 0.0) <= max(values)
