"""Counts of each column's values by day: all that drift statistics need, and cheap to add up into windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.adapters.models.learn_encoding import kind_of
from trimtab.adapters.sources.dataset import Dataset, DataSpec
from trimtab.monitoring.windows import days

Counts = npt.NDArray[np.float64]  # (days or windows, columns, bins); the last bin counts missing values
FINEST = 64
CALENDAR = 0.95  # rank correlation with time above which a column only tells the date


@dataclass(frozen=True)
class Binning:
    """The bins of each column: edges of numbers (by the reference's quantiles), or the commonest words."""

    names: tuple[str, ...]
    edges: tuple[npt.NDArray[np.float64] | None, ...]
    words: tuple[tuple[str, ...], ...]


def learn_bins(reference: Dataset, spec: DataSpec) -> Binning:
    """Bins of every usable column but those that only tell the date, which always move."""
    names: list[str] = []
    edges: list[npt.NDArray[np.float64] | None] = []
    words: list[tuple[str, ...]] = []
    order = np.arange(len(reference))
    for name in reference.names:
        column = reference.table.column(name)
        kind = kind_of(column.type)
        if kind == "time" or name == spec.time:
            continue
        if kind == "number":
            values = _numbers(column)
            if _follows(values, order):
                continue
            finite = values[np.isfinite(values)]
            cuts = np.unique(np.quantile(finite, np.linspace(0, 1, FINEST)[1:-1])) if len(finite) else np.zeros(0)
            edges.append(cuts)
            words.append(())
        else:
            edges.append(None)
            words.append(_common(column))
        names.append(name)
    return Binning(tuple(names), tuple(edges), tuple(words))


def count_by_day(rows: Dataset, spec: DataSpec, binning: Binning) -> Counts:
    """(days, columns, bins) of counts; days without rows are left out."""
    _, day = np.unique(days(rows, spec), return_inverse=True)
    made = np.zeros((int(day.max()) + 1, len(binning.names), FINEST + 1))
    for place, name in enumerate(binning.names):
        codes = _codes(rows.table.column(name), binning.edges[place], binning.words[place])
        flat = np.bincount(day * (FINEST + 1) + codes, minlength=made.shape[0] * (FINEST + 1))
        made[:, place] = flat.reshape(made.shape[0], FINEST + 1)
    return made


def _codes(
    column: pa.ChunkedArray, edges: npt.NDArray[np.float64] | None, words: tuple[str, ...]
) -> npt.NDArray[np.int64]:
    if edges is None:
        places = pc.index_in(column.cast(pa.string()), pa.array(words, pa.string())).combine_chunks()
        codes = np.asarray(places.fill_null(FINEST - 1).to_numpy(zero_copy_only=False), dtype=np.int64)
        codes[np.asarray(pc.is_null(column).combine_chunks().to_numpy(zero_copy_only=False))] = FINEST
        return codes
    values = _numbers(column)
    codes = np.searchsorted(edges, values, side="left")
    codes[~np.isfinite(values)] = FINEST
    return codes.astype(np.int64)


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).to_numpy(), float)


def _common(column: pa.ChunkedArray) -> tuple[str, ...]:
    counts = pc.value_counts(column.cast(pa.string()).combine_chunks().drop_null())
    pairs = zip(counts.field("counts").to_pylist(), counts.field("values").to_pylist(), strict=True)
    return tuple(word for _, word in sorted(pairs, key=lambda one: (-one[0], one[1]))[: FINEST - 1])


def _follows(values: npt.NDArray[np.float64], order: npt.NDArray[np.int64]) -> bool:
    finite = np.isfinite(values)
    if finite.sum() < 3 or np.ptp(values[finite]) == 0:
        return False
    ranks = np.argsort(np.argsort(values[finite], kind="stable"), kind="stable")
    return abs(float(np.corrcoef(ranks, order[finite])[0, 1])) > CALENDAR
