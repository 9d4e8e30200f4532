"""Rows of a table as a client sends them: JSON objects of the raw columns."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from trimtab.adapters.models.encoding import Encoding


def raw_rows(table: pa.Table, encoding: Encoding) -> list[dict[str, Any]]:
    """The encoding's columns of each row: numbers, words, ISO times; None where a value is missing."""
    columns = {one.name: _sendable(table.column(one.name), one.kind) for one in encoding.columns}
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _sendable(values: pa.ChunkedArray, kind: str) -> Sequence[Any]:
    if kind == "category" and not pa.types.is_boolean(values.type):
        return list(values.cast(pa.string()).to_pylist())
    return [_one(value, kind) for value in values.to_pylist()]


def _one(value: Any, kind: str) -> Any:
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if kind == "number" and value is not None:
        number = value if isinstance(value, int) else float(value)
        return number if math.isfinite(number) else None
    return value
