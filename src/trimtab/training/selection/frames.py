"""What scikit-learn's users call X, as an Arrow table: arrays, lists, and any data frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trimtab.adapters.sources.dataset import is_number, is_usable


def to_table(x: Any) -> pa.Table:
    """The columns of a data frame, or of an array of two dimensions. Raises ValueError and TypeError."""
    import narwhals

    if isinstance(x, pa.Table):
        return _usable(x)
    try:
        frame = narwhals.from_native(x, eager_only=True)
    except TypeError:
        return _from_array(x)
    if len(frame) < 1 or len(frame.columns) < 1:
        raise ValueError(
            f"Found array with {len(frame)} sample(s) and {len(frame.columns)} feature(s): at least 1 is required"
        )
    return _usable(pa.table({str(name): _column(frame.get_column(name).to_native()) for name in frame.columns}))


def _column(values: Any) -> pa.ChunkedArray:
    import narwhals

    series = narwhals.from_native(values, series_only=True)
    try:
        return pa.chunked_array([series.to_arrow()] if len(series) else [])
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # values of several types in one column
        return pa.chunked_array([_from_objects(series.to_numpy())])


def _from_array(x: Any) -> pa.Table:
    from sklearn.utils import check_array

    array = check_array(x, dtype=None, ensure_all_finite="allow-nan")
    if array.dtype.kind in "OUS":
        columns = [_from_objects(array[:, place]) for place in range(array.shape[1])]
    elif array.dtype.kind == "b":
        columns = [pa.array(array[:, place].astype(float)) for place in range(array.shape[1])]
    else:
        columns = [pa.array(np.ascontiguousarray(array[:, place], float)) for place in range(array.shape[1])]
    return pa.table({f"x{place}": column for place, column in enumerate(columns)})


def _from_objects(values: npt.NDArray[Any]) -> pa.Array:
    """Numbers if all are, words otherwise; None and NaN are missing."""
    is_missing = [one is None or (isinstance(one, float) and one != one) for one in values]
    for one, missing in zip(values, is_missing, strict=True):
        if not missing and not isinstance(one, (str, bytes, bool, int, float, np.generic)):
            raise TypeError(f"argument must be a string or a number, not {type(one).__name__!r}")
    try:
        return pa.array([None if missing else float(one) for one, missing in zip(values, is_missing, strict=True)])
    except ValueError:
        return pa.array([None if missing else str(one) for one, missing in zip(values, is_missing, strict=True)])


def _usable(table: pa.Table) -> pa.Table:
    """The same with plain numbers, and categories as words; what holds nothing at all is a number that is missing."""
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, _words(table.column(place)))
        elif pa.types.is_null(field.type):
            table = table.set_column(place, field.name, pa.nulls(len(table), pa.float64()))
        elif not is_usable(field):
            raise TypeError(
                f"column {field.name!r} is {field.type}: numbers, words, times and truth values can be used"
            )
        elif is_number(field.type) and not pa.types.is_floating(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.float64()))
    return table


def _words(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The texts of categories."""
    try:
        return column.cast(column.type.value_type).cast(pa.string())
    except pa.ArrowNotImplementedError:  # such as the intervals of pandas.cut
        return pa.chunked_array([_printed(one) for one in column.chunks], pa.string())


def _printed(column: pa.DictionaryArray) -> pa.Array:
    texts = pa.array([None if one is None else str(one) for one in column.dictionary.to_pylist()], pa.string())
    return pa.DictionaryArray.from_arrays(column.indices, texts).cast(pa.string())


def like(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table to predict for, with the column types that were learned from."""
    columns = {}
    for place, field in enumerate(schema):
        values = table.column(place)
        is_other = values.type != field.type and is_number(field.type) and not is_number(values.type)
        if values.null_count == len(values):  # whatever the type that a frame gives to nothing
            values = pa.nulls(len(values), field.type)
        columns[field.name] = values.cast(field.type) if is_other else values
    return pa.table(columns)
