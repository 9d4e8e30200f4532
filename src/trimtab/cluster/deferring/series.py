"""Prices, carbon intensities and spot availability from files: evenly spaced, whole, and refused when they are not."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.adapters.sources.tables import read_table, require_file
from trimtab.cluster.deferring.spot import Up
from trimtab.cluster.deferring.windows import Series
from trimtab.core.errors import InputError

LEAST_DAYS = 14
MOST_STEPS = 1_000_000
MOST_MISSING = 0.05  # of the steps: filled in between their neighbours
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Source:
    """A column of a table: `column` may be left out when there is one of numbers only; `rows`: "zone=GB" picks rows."""

    source: str
    column: str = ""
    rows: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class Market:
    """A series with its time: seconds since 1970 at its first step, seconds a step."""

    values: Series
    first: int
    step: int

    @property
    def day(self) -> int:
        """Steps a day."""
        return DAY_SECONDS // self.step


@dataclass(frozen=True)
class Availability:
    """Where spot could be had (1) or not (0), by step, and the hours of a step."""

    up: Up
    step_hours: float


@functools.lru_cache(maxsize=8)
def read_market(source: Source, least_step: int = 900) -> Market:
    """A price or carbon series, evenly spaced from its first midnight on. Raises InputError.

    Times are ISO times (with a zone or in UTC) or seconds; a few missing steps are filled in between their neighbours.
    """
    times, values = _columns(source)
    step = _step(times, source.source, least_step)
    start = -(-int(times.min()) // DAY_SECONDS) * DAY_SECONDS  # days begin at midnight, UTC
    places = np.round((times - start) / step).astype(np.int64)
    kept = (places >= 0) & np.isfinite(values)
    places, values = places[kept], values[kept]
    if len(places) == 0 or places.max() * step < LEAST_DAYS * DAY_SECONDS:
        days = (places.max() + 1) * step / DAY_SECONDS if len(places) else 0.0
        raise InputError(
            f"{source.source}: the series covers {days:.1f} days", hint=f"{LEAST_DAYS} days at least are needed"
        )
    if places.max() > MOST_STEPS:
        raise InputError(f"{source.source}: the series has {places.max():,} steps, at most {MOST_STEPS:,} can be used")
    counts = np.bincount(places)
    missing = float((counts == 0).mean())
    if missing > MOST_MISSING:
        raise InputError(
            f"{source.source}: {missing:.0%} of the steps of {step:,} s have no value",
            hint=f"at most {MOST_MISSING:.0%} are filled in; pick rows with --rows when there are several series",
        )
    means = np.bincount(places, weights=values) / np.maximum(1, counts)
    known = np.flatnonzero(counts)
    whole = np.interp(np.arange(len(counts)), known, means[known])
    if float(np.ptp(whole)) <= 1e-9 * max(1.0, float(np.abs(whole).max())):
        raise InputError(f"{source.source}: the series never changes", hint="waiting saves nothing then")
    whole.setflags(write=False)
    return Market(whole, start, step)


@functools.lru_cache(maxsize=64)
def read_availability(source: str, fingerprint: str = "") -> Availability:
    """Spot availability: a CSV of (time, 1 or 0), or JSON as SkyPilot has it (1: preempted). Raises InputError."""
    file = Path(source)
    if file.suffix == ".json":
        return _published(file)
    market = read_market(Source(source, fingerprint=fingerprint), 30)
    if not set(np.unique(market.values)) <= {0.0, 1.0}:
        raise InputError(f"{source}: availability is 1 or 0, and no step may be missing", hint="times, then 1 or 0")
    return Availability(market.values.astype(np.uint8), market.step / 3600)


def _published(file: Path) -> Availability:
    require_file(file)
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        step = float(content["metadata"]["gap_seconds"])
        lost = np.asarray(content["data"], float)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file}: no availability trace: {type(error).__name__}: {error}",
            hint='{"metadata": {"gap_seconds": 600}, "data": [0, 1, …]}, 1 for preempted',
        ) from None
    if lost.ndim != 1 or not len(lost) or not np.isfinite(lost).all() or step <= 0:
        raise InputError(f"{file}: the trace is empty, or holds what is no number")
    return Availability(np.ascontiguousarray(lost <= 0, np.uint8), step / 3600)


def _columns(source: Source) -> tuple[Series, Series]:
    """Times in seconds and values, of the picked rows."""
    table = read_table(source.source)
    if source.rows:
        table = _picked(table, source)
    column = source.column or _only_numbers(table, source.source)
    if column not in table.column_names:
        raise InputError(
            f"{source.source} has no column {column!r}", hint=f"it has {', '.join(table.column_names[:20])}"
        )
    try:
        values = np.asarray(table.column(column).cast(pa.float64()).to_numpy(zero_copy_only=False), float)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(f"{source.source}: {column!r} holds no numbers", hint="name another --column") from None
    return _seconds(table.column(0), f"{source.source}: the first column"), values


def _picked(table: pa.Table, source: Source) -> pa.Table:
    name, is_there, value = source.rows.partition("=")
    if not is_there:
        raise InputError(f"rows {source.rows!r}: write column=value", hint=f"{', '.join(table.column_names[:20])}")
    if name not in table.column_names:
        raise InputError(
            f"{source.source} has no column {name!r} to pick rows by",
            hint=f"it has {', '.join(table.column_names[:20])}",
        )
    kept = table.filter(pc.equal(table.column(name).cast(pa.string()), value))
    if kept.num_rows == 0:
        known = pc.unique(table.column(name).cast(pa.string())).to_pylist()[:10]
        raise InputError(
            f"{source.source}: no row has {source.rows}", hint=f"{name} is one of {', '.join(map(str, known))}"
        )
    return kept


def _only_numbers(table: pa.Table, where: str) -> str:
    kinds = (pa.types.is_integer, pa.types.is_floating)
    names = [one.name for one in list(table.schema)[1:] if any(is_kind(one.type) for is_kind in kinds)]
    if len(names) != 1:
        raise InputError(
            f"{where}: {len(names)} columns of numbers beside the times", hint=f"name one: {', '.join(names) or 'none'}"
        )
    return str(names[0])


def _seconds(column: pa.ChunkedArray, what: str) -> Series:
    if column.null_count:
        raise InputError(f"{what}: {column.null_count:,} times are missing", hint="drop those rows")
    try:
        if pa.types.is_string(column.type):
            column = pc.cast(column, pa.timestamp("s", "UTC" if _has_zone(column) else None))
        if pa.types.is_temporal(column.type):
            zone = getattr(column.type, "tz", None)
            column = column.cast(pa.timestamp("s", zone), safe=False).cast(pa.int64())
        return np.asarray(column.cast(pa.float64()).to_numpy(), float)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{what} holds no times: {str(error).splitlines()[0]}", hint="ISO times or seconds") from None


def _has_zone(column: pa.ChunkedArray) -> bool:
    first = str(column[0])
    return first.endswith("Z") or "+" in first[10:] or "-" in first[10:]


def _step(times: Series, where: str, least: int) -> int:
    """Seconds between most neighbours. Raises InputError unless they are `least` and divide a day."""
    order = np.unique(times)
    if len(order) < 2:
        raise InputError(f"{where}: {len(times):,} rows make no series", hint="times, then values")
    gaps, counts = np.unique(np.round(np.diff(order)), return_counts=True)
    step = int(gaps[counts.argmax()])
    if step < least or DAY_SECONDS % step:
        raise InputError(
            f"{where}: most rows lie {step:,} s apart",
            hint=f"steps of {least} s or more that divide a day can be used; take means first",
        )
    return step
