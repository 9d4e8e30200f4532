"""Learns an encoding from a table, and encodes whole Arrow tables fast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.adapters.models.encoding import NAN, Column, Encoding, Kind, Matrix, times_to_parts
from trimtab.adapters.sources.dataset import Dataset

MOST_CATEGORIES = 5000  # rarer ones count as never seen


def learn(dataset: Dataset, names: Sequence[str] | None = None) -> Encoding:
    """The encoding of a dataset's columns: categories are those that occur here, the most frequent first."""
    columns = []
    for name in dataset.names if names is None else names:
        values = dataset.table.column(name)
        kind = kind_of(values.type)
        columns.append(Column(name, kind, _categories(values) if kind == "category" else ()))
    return Encoding(tuple(columns))


def encode(source: Dataset | pa.Table, encoding: Encoding) -> Matrix:
    """A dataset or table as a matrix (rows, features) of float64, in Fortran order for training."""
    table = source.table if isinstance(source, Dataset) else source
    out = np.empty((table.num_rows, len(encoding.feature_names)), order="F")
    place = 0
    for column in encoding.columns:
        block = _encoded(column, table.column(column.name))
        width = 1 if block.ndim == 1 else block.shape[1]
        out[:, place : place + width] = block.reshape(table.num_rows, width)
        place += width
    return out


def kind_of(kind: pa.DataType) -> Kind:
    """How values of an Arrow type are encoded."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "time"
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return "number" if is_number else "category"


def _categories(values: pa.ChunkedArray) -> tuple[str, ...]:
    counts = pc.value_counts(_words(values).drop_null())
    pairs = zip(counts.field("counts").to_pylist(), counts.field("values").to_pylist(), strict=True)
    return tuple(word for _, word in sorted(pairs, key=lambda one: (-one[0], one[1]))[:MOST_CATEGORIES])


def _words(values: pa.ChunkedArray) -> pa.Array:
    joined = values.combine_chunks()
    return joined.cast(pa.string()) if joined.type != pa.string() else joined


def _encoded(column: Column, values: pa.ChunkedArray) -> Matrix:
    if column.kind == "number":
        return np.asarray(values.cast(pa.float64()).to_numpy(), float)
    if column.kind == "time":
        if not pa.types.is_temporal(values.type):  # ISO text
            values = values.cast(pa.timestamp("us"))
        return times_to_parts(values.cast(pa.timestamp("us"), safe=False).to_numpy())
    codes = pc.index_in(_words(values), pa.array(column.categories, pa.string()))
    return np.asarray(codes.cast(pa.float64()).fill_null(NAN).to_numpy(zero_copy_only=False), float)
