"""Request rates by the minute: from a table's times, or a CSV of times or of (time, rate) rows."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.adapters.sources.tables import read_table
from trimtab.cluster.scaling.queueing import Series
from trimtab.core.errors import InputError
from trimtab.core.model import Json

LEAST_MINUTES = 12 * 60
MOST_MINUTES = 3 * 366 * 24 * 60
GAP = 10  # times the usual span between two rows


@functools.lru_cache(maxsize=4)
def rates_of_times(table: str, column: str, per_row: float, spread_minutes: int, fingerprint: str = "") -> Series:
    """Requests a second, by minute: each row's requests spread evenly over the minutes before its time.

    Rows without a time ask for nothing. Raises InputError when the column cannot be used.
    """
    found = read_table(table)
    if column not in found.column_names:
        raise InputError(f"there is no column {column!r} (traffic.times)", hint=f"{', '.join(found.column_names[:20])}")
    minutes = _minutes(found.column(column).drop_null(), column)
    counts = np.bincount(minutes - minutes.min()).astype(float)
    spread = max(1, spread_minutes)
    kernel = np.full(spread, per_row / spread / 60)
    # Reversed, so that the spread lies before each time.
    rates = np.convolve(counts[::-1], kernel)[: len(counts)][::-1]
    return _checked(np.ascontiguousarray(rates), table)


def rates_of_file(path: Path) -> Series:
    """Requests a second, by minute, of a CSV: a column of times (one a request), or of (time, rate) rows.

    With a rate, times may be ISO times or seconds; the rate holds from its time to the next. Raises InputError.
    """
    table = read_table(path)
    time = table.column(0)
    if table.num_columns == 1:
        minutes = _minutes(time, table.column_names[0])
        return _checked(np.bincount(minutes - minutes.min()).astype(float) / 60, str(path))
    values = _numbers(table.column(1), f"{path}: the second column")
    if (values < 0).any():
        raise InputError(f"{path}: rates must not be negative", hint="the second column is requests a second")
    minutes = _minutes(time, table.column_names[0])
    order = np.argsort(minutes, kind="stable")
    minutes, values = minutes[order] - minutes.min(), values[order]
    if _is_counter(table.column_names[1], values):
        values = _rates_of_counter(minutes, values)
    places = np.searchsorted(minutes, np.arange(minutes[-1] + 1), side="right") - 1
    totals = np.bincount(minutes, weights=values)
    counts = np.bincount(minutes)
    means = np.where(counts > 0, totals / np.maximum(1, counts), 0.0)
    return _checked(means[minutes[places]], str(path))


def findings_of(path: Path) -> tuple[Mapping[str, Json], ...]:
    """What a person should know of a file that `rates_of_file` reads: gaps, times that go back, counters."""
    table = read_table(path)
    name, found = table.column_names[0], []
    minutes = _minutes(table.column(0), name)
    back = int((np.diff(minutes) < 0).sum())
    if back:
        found.append(("order", name, f"{back:,} times lie before the one above: the rows were sorted"))
    spans = np.diff(np.sort(minutes))
    if table.num_columns > 1 and len(spans):
        usual = max(1.0, float(np.median(spans)))
        gaps = spans[spans > GAP * usual]
        if len(gaps):
            message = f"{len(gaps):,} gaps, the longest {gaps.max() / 60:.1f} h: the rate before each was carried on"
            found.append(("gap", name, message))
        second = table.column_names[1]
        if _is_counter(second, _numbers(table.column(1), second)[np.argsort(minutes, kind="stable")]):
            found.append(("counter", second, "it counts: its rises were taken for rates, a fall for a new beginning"))
    return tuple({"kind": kind, "column": column, "message": message} for kind, column, message in found)


def _is_counter(name: str, values: Series) -> bool:
    """Whether a column counts up, row by row, and falls far when it begins anew; or is called so.

    A rate that stands still between steps is none: what counts requests rises at most rows.
    """
    falls = np.flatnonzero(np.diff(values) < 0)
    begins_anew = (values[falls + 1] < 0.5 * values[falls]).all() and len(falls) < 0.01 * len(values)
    is_called_so = name.lower().endswith(("_total", "_count"))
    rises = len(values) > 1 and (np.diff(values) > 0).mean() > 0.5
    return bool(len(values) > 1 and begins_anew and (is_called_so or (len(falls) > 0 and rises)))


def _rates_of_counter(minutes: npt.NDArray[np.int64], values: Series) -> Series:
    """What was counted since the row before, by the second; after a fall, all that is counted since."""
    spans = 60.0 * np.maximum(1, np.diff(minutes))
    risen = np.diff(values)
    rates = np.where(risen >= 0, risen, values[1:]) / spans
    return np.concatenate([rates, rates[-1:]])  # a rate holds from its time to the next


def _minutes(column: pa.ChunkedArray, name: str) -> np.ndarray:
    kind = column.type
    if column.null_count:
        raise InputError(f"{column.null_count:,} values of {name!r} are missing", hint="drop those rows")
    try:
        if pa.types.is_temporal(kind):
            stamps = column.cast(pa.timestamp("s"), safe=False)
        elif pa.types.is_string(kind):
            stamps = pc.cast(column, pa.timestamp("s"))
        else:
            return (_numbers(column, name) // 60).astype(np.int64)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{name!r} holds no times: {str(error).splitlines()[0]}", hint="ISO times or seconds"
        ) from None
    return np.asarray(stamps.cast(pa.int64()).to_numpy() // 60)


def _numbers(column: pa.ChunkedArray, what: str) -> Series:
    try:
        return np.asarray(column.cast(pa.float64()).to_numpy(), float)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(f"{what} holds no numbers but {column.type}", hint="times, then rates") from None


def _checked(rates: Series, where: str) -> Series:
    if not LEAST_MINUTES <= len(rates) <= MOST_MINUTES:
        raise InputError(
            f"{where}: the traffic covers {len(rates) / 1440:,.1f} days",
            hint="from half a day to three years are needed",
        )
    if not np.isfinite(rates).all() or rates.max() <= 0:
        raise InputError(f"{where}: the traffic has no requests, or rates that are not finite")
    rates.setflags(write=False)
    return rates
