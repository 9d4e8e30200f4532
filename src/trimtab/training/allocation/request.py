"""How much memory the next run should ask for: an upper bound from runs that have ended.

The peak is taken to be log-linear in what the runs differ in (rows, columns, batch, depth …); the bound is conformal:
each past run is forecast by a fit that did not see it, and the factor by which the worst share of them was
underestimated is what is added (jackknife+, Barber et al. 2021, doi:10.1214/20-AOS1965). With too few runs for the risk
that is asked for, the largest such factor is taken, times a margin, and the answer says so.
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
MARGIN = 1.1  # where the past is too short for the risk
PER_FEATURE = 4  # runs that each feature must be backed by
RIDGE = 1e-3
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
    features = np.array([_features(one.numbers, names) for one in past])
    target = np.log([float(max(1, one.peak_bytes)) for one in past])
    errors, forecasts = _left_out(features, target, np.array(_features(following, names)))
    uppers = np.sort(forecasts + errors)
    place = math.ceil((1 - risk) * (len(past) + 1))
    is_short = place > len(past)
    log_bound = uppers[-1] + math.log(MARGIN) if is_short else uppers[place - 1]
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
    """Numbers that differ between the runs, the most telling first, no more than the runs can back."""
    target = np.log([float(max(1, one.peak_bytes)) for one in past])
    found = []
    for name in sorted({key for one in past for key in one.numbers}):
        values = np.array([_log(one.numbers.get(name, 0.0)) for one in past])
        if values.std() > LEAST_SPREAD and target.std() > LEAST_SPREAD:
            found.append((abs(float(np.corrcoef(values, target)[0, 1])), name))
    most = max(1, len(past) // PER_FEATURE)
    return [name for _, name in sorted(found, reverse=True)[:most]]


def _features(numbers: Mapping[str, float], names: Sequence[str]) -> list[float]:
    values = [_log(numbers.get(name, 0.0)) for name in names]
    # Memory is a floor plus a product: the square lets the slope grow from the one to the other.
    total = sum(values)
    return [1.0, *values, total * total]


def _log(value: float) -> float:
    return math.copysign(math.log1p(abs(value)), value)


def _left_out(
    features: NDArray[np.float64], target: NDArray[np.float64], following: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each run: how much larger it was than a fit without it said, and that fit's forecast of the next run."""
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale[scale < LEAST_SPREAD] = 1.0
    centre[0] = 0.0
    scaled, next_one = (features - centre) / scale, (following - centre) / scale
    errors, forecasts = np.empty(len(target)), np.empty(len(target))
    for out in range(len(target)):
        kept = np.arange(len(target)) != out
        penalty = RIDGE * np.eye(scaled.shape[1])
        penalty[0, 0] = 0.0
        weights = np.linalg.solve(scaled[kept].T @ scaled[kept] + penalty, scaled[kept].T @ target[kept])
        errors[out] = target[out] - scaled[out] @ weights
        forecasts[out] = next_one @ weights
    return errors, forecasts


def _is_inside(name: str, following: Mapping[str, float], past: Sequence[Past]) -> bool:
    values = [one.numbers.get(name, 0.0) for one in past]
    return min(values) <= following.get(name, 0.0) <= max(values)
