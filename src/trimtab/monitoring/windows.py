"""Production in windows: contiguous rows of equal time, or of equal number where rows have no time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.adapters.sources.dataset import Dataset, DataSpec

ROWS_A_DAY = 1000  # what counts as a day where rows have no time


def days(dataset: Dataset, spec: DataSpec) -> npt.NDArray[np.int64]:
    """The day of each row, counted from the first; thousands of rows where there is no time."""
    if not spec.time:
        return np.arange(len(dataset)) // ROWS_A_DAY
    column = dataset.table.column(spec.time)
    if pa.types.is_string(column.type):
        column = pc.cast(column, pa.timestamp("s"))
    if not pa.types.is_temporal(column.type):
        return np.arange(len(dataset)) // ROWS_A_DAY
    stamps = column.cast(pa.timestamp("s"), safe=False).to_numpy().astype("datetime64[D]").astype(np.int64)
    return np.asarray(stamps - stamps.min(), dtype=np.int64)


def windows(dataset: Dataset, spec: DataSpec, window_days: int) -> tuple[slice, ...]:
    """The rows of each whole window of `window_days`, in order; a last one of less than half its days is left out."""
    day = days(dataset, spec)
    if not len(day):
        return ()
    number = (day - day[0]) // window_days
    edges = np.flatnonzero(np.diff(number)) + 1
    starts, stops = np.concatenate([[0], edges]), np.concatenate([edges, [len(day)]])
    made = [slice(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True)]
    is_short = len(made) > 1 and (day[-1] - day[made[-1].start] + 1) < window_days / 2
    return tuple(made[:-1] if is_short else made)


def window_name(dataset: Dataset, spec: DataSpec, window: slice) -> str:
    """The first day of a window, or its first row."""
    if spec.time:
        return str(dataset.table.column(spec.time)[window.start])[:10]
    return f"row {window.start:,}"
