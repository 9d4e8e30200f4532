"""Usage series of pods from a table of (time, pod, use) rows, and what is wrong with them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.adapters.sources.tables import read_table
from trimtab.adapters.sources.values import numbers, stamps
from trimtab.cluster.rightsizing.columns import Columns, columns_of
from trimtab.cluster.rightsizing.looks import Series
from trimtab.core.errors import InputError

LEAST_SAMPLES = 16  # of a pod: below, nothing is recommended
LEAST_PODS = 10
GAP = 10.0  # times the usual step
ROUNDING = 1e-3  # of the highest use: negative values within it are noise of the meter
WHOLE = 1.05  # memory of no more is a share of what the pod has, rounding included
RISING = 0.8  # share of the pods that never fall but for a reset: then the column is a counter


@dataclass(frozen=True, eq=False)
class Pod:
    """One pod: what it used, in the order of time; what it requests today (None: not known); where it belongs."""

    name: str
    times: npt.NDArray[np.int64]  # seconds
    used: Series
    requested: float | None
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Fleet:
    """The pods with enough samples, by name; `findings`: (kind, message) of what was mended or left out."""

    resource: str
    pods: tuple[Pod, ...]
    is_share: bool  # of what the pod has, not cores or bytes
    findings: tuple[tuple[str, str], ...]


@functools.lru_cache(maxsize=6)
def fleet_of(path: str, resource: str, fingerprint: str = "") -> Fleet:
    """The pods of a file. Raises InputError with what is wrong and where."""
    table = read_table(Path(path))
    columns = columns_of(table, path)
    if resource not in columns.used:
        raise InputError(f"{path}: there is no use of {resource}", hint=f"it has {', '.join(columns.used)}")
    findings: list[tuple[str, str]] = []
    used = columns.used[resource]
    lost = table[used].null_count + table[columns.pod].null_count + table[columns.time].null_count
    if lost:
        table = table.filter(pc.and_(pc.and_(table[used].is_valid(), table[columns.pod].is_valid()),
                                     table[columns.time].is_valid()))  # fmt: skip
        findings.append(("missing", f"{lost:,} missing values of {used}: those rows were dropped"))
    values = _not_negative(numbers(table[used], used, path), used, path, findings)
    pods = _pods(table, columns, resource, values, path, findings)
    if len(pods) < LEAST_PODS:
        raise InputError(
            f"{path}: {len(pods)} pods have {LEAST_SAMPLES} samples of {used} or more, {LEAST_PODS} are needed",
            hint="what similar pods did says how far one may go: give a longer series, or more pods",
        )
    _refuse_counters(pods, used, path)
    is_share = resource != "cpu" and float(values.max()) <= WHOLE
    if is_share:
        pods, is_share = _weighed(pods)
    return Fleet(resource, pods, is_share, tuple(findings))


def resources_of(path: str) -> tuple[str, ...]:
    """The resources whose use a file holds. Raises InputError."""
    return tuple(columns_of(read_table(Path(path)), path).used)


def ignored_of(path: str) -> tuple[str, ...]:
    """The columns that nothing is made of."""
    return columns_of(read_table(Path(path)), path).ignored


def _weighed(pods: tuple[Pod, ...]) -> tuple[tuple[Pod, ...], bool]:
    """Shares as bytes where every pod's request is known in bytes; else shares, of which today's request is 1."""
    if all(pod.requested is not None and pod.requested > WHOLE for pod in pods):
        return tuple(replace(pod, used=pod.used * (pod.requested or 0.0)) for pod in pods), False
    return tuple(replace(pod, requested=1.0) for pod in pods), True


def _not_negative(values: Series, name: str, path: str, findings: list[tuple[str, str]]) -> Series:
    if not len(values):
        raise InputError(f"{path}: {name!r} has no values")
    if not np.isfinite(values).all():
        raise InputError(f"{path}: {name!r} has values that are not finite", hint="leave a gap empty, or drop its rows")
    below = values < 0
    if (values < -ROUNDING * float(np.abs(values).max())).any():
        raise InputError(
            f"{path}: {int(below.sum()):,} values of {name!r} are negative, the lowest {values.min():g}",
            hint="use is 0 or more: drop those rows, or take the rate of a counter first",
        )
    if below.any():
        findings.append(("negative", f"{int(below.sum()):,} values of {name} just below 0 were taken as 0"))
    return np.maximum(values, 0.0)


def _pods(
    table: pa.Table, columns: Columns, resource: str, values: Series, path: str, findings: list[tuple[str, str]]
) -> tuple[Pod, ...]:
    names = np.asarray(pc.cast(table[columns.pod], pa.string()).to_numpy(zero_copy_only=False)).astype(str)
    times = stamps(table[columns.time], columns.time, path)
    asked = columns.requested.get(resource)
    wanted = numbers(table[asked], asked, path) if asked else np.full(len(values), np.nan)
    labels = {key: pc.cast(table[name], pa.string()).to_pylist() for key, name in columns.labels.items()}
    # The higher of two values at one time comes last, and stays.
    order = np.lexsort((values, times, names))
    names, times, values, wanted = names[order], times[order], values[order], wanted[order]
    kept = np.concatenate([(names[1:] != names[:-1]) | (times[1:] != times[:-1]), [True]])
    if not kept.all():
        findings.append(("twice", f"{int((~kept).sum()):,} rows repeat a pod's time: the highest use was taken"))
    names, times, values, wanted, order = names[kept], times[kept], values[kept], wanted[kept], order[kept]
    starts = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))
    pods, short, gaps = [], [], []
    for start, stop in zip(starts, [*starts[1:], len(names)], strict=True):
        if stop - start < LEAST_SAMPLES:
            short.append(str(names[start]))
            continue
        own = times[start:stop]
        if _has_gap(own):
            gaps.append(str(names[start]))
        known = wanted[start:stop][np.isfinite(wanted[start:stop])]
        where = tuple((key, str(texts[int(order[stop - 1])])) for key, texts in labels.items())
        now = float(known[-1]) if len(known) and known[-1] > 0 else None
        pods.append(Pod(str(names[start]), own, values[start:stop], now, where))
    if short:
        findings.append(("short", f"{_listed(short)} with fewer than {LEAST_SAMPLES} samples: nothing is recommended"))
    if gaps:
        findings.append(("gap", f"{_listed(gaps)} with gaps: a peak may have gone unseen"))
    return tuple(pods)


def _has_gap(times: npt.NDArray[np.int64]) -> bool:
    steps = np.diff(times)
    return bool(steps.max() > GAP * max(1.0, float(np.median(steps))))


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    return f"{len(names):,} pods ({shown})"


def _refuse_counters(pods: tuple[Pod, ...], name: str, path: str) -> None:
    """A counter rises at most samples and falls only when it starts again from next to nothing."""

    def counts(used: Series) -> bool:
        steps = np.diff(used)
        falls = np.flatnonzero(steps < 0)
        return bool((steps > 0).mean() > 0.5 and all(used[place + 1] <= 0.1 * used[place] for place in falls))

    if np.mean([counts(pod.used) for pod in pods]) > RISING:
        raise InputError(
            f"{path}: {name!r} only rises, but for resets: it is a counter",
            hint="give the use itself: the rate of a counter, such as rate(container_cpu_usage_seconds_total[5m])",
        )
