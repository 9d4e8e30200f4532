"""Raw columns to a matrix of numbers. Standard library and numpy only: packaged services carry a copy of this file.

A number stays itself, a category becomes its place in a list, a time becomes hour, weekday, day of the year and month;
what is missing or was never seen becomes NaN.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["number", "category", "time"]
TIME_PARTS = ("hour", "weekday", "yearday", "month")
NAN = float("nan")

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """One raw column. `categories` are the known values of a category, as text, in the order of their codes."""

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()

    @cached_property
    def codes(self) -> dict[str, float]:
        """The code of each known category."""
        return {value: float(code) for code, value in enumerate(self.categories)}


@dataclass(frozen=True)
class Encoding:
    """The columns that a model reads, in order."""

    columns: tuple[Column, ...]

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """One name for each column of the matrix."""
        names: list[str] = []
        for column in self.columns:
            names += [f"{column.name}.{part}" for part in TIME_PARTS] if column.kind == "time" else [column.name]
        return tuple(names)

    @cached_property
    def categorical_features(self) -> tuple[int, ...]:
        """The places in the matrix that hold codes of categories."""
        names = {column.name for column in self.columns if column.kind == "category"}
        return tuple(place for place, name in enumerate(self.feature_names) if name in names)

    @property
    def numeric_features(self) -> tuple[int, ...]:
        """Where the other ones stand."""
        return tuple(sorted(set(range(len(self.feature_names))) - set(self.categorical_features)))

    def matrix(self, columns: Mapping[str, Sequence[Any]]) -> Matrix:
        """Encode columns of equal length into (rows, features). Raises KeyError for a missing column."""
        parts = [_encode(column, columns[column.name]) for column in self.columns]
        return np.column_stack(parts) if parts else np.empty((0, 0))

    def row(self, values: Mapping[str, Any]) -> Matrix:
        """Encode one row into (1, features): the fast path of a service. Absent columns are missing values."""
        encoded = np.empty((1, len(self.feature_names)))
        place = 0
        for name, encode, width in self._encoders:
            value = values.get(name)
            if width == 1:
                encoded[0, place] = encode(value)
            else:
                encoded[0, place : place + width] = encode(value)
            place += width
        return encoded

    @cached_property
    def _encoders(self) -> tuple[tuple[str, Callable[[Any], Any], int], ...]:
        return tuple(
            (column.name, _one(column), len(TIME_PARTS) if column.kind == "time" else 1) for column in self.columns
        )

    def to_json(self) -> str:
        """The encoding as JSON text."""
        return json.dumps([asdict(column) for column in self.columns])

    @classmethod
    def from_json(cls, text: str) -> Encoding:
        """The encoding that `to_json` wrote."""
        return cls(tuple(Column(one["name"], one["kind"], tuple(one["categories"])) for one in json.loads(text)))


def _one(column: Column) -> Callable[[Any], Any]:
    if column.kind == "number":
        return _number
    if column.kind == "time":
        return _time_parts
    codes = column.codes
    return lambda value: NAN if value is None else codes.get(_word(value), NAN)


def _number(value: Any) -> float:
    return NAN if value is None else float(value)


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _time_parts(value: Any) -> tuple[float, ...]:
    if value is None:
        return (NAN,) * len(TIME_PARTS)
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    hour = (moment.hour * 60 + moment.minute) / 60
    return hour, float(moment.weekday()), float(moment.timetuple().tm_yday), float(moment.month)


def _encode(column: Column, values: Sequence[Any]) -> Matrix:
    if column.kind == "number":
        return np.array([_number(value) for value in values]) if _is_plain(values) else np.asarray(values, float)
    if column.kind == "category":
        codes = column.codes
        return np.array([NAN if _is_missing(value) else codes.get(_word(value), NAN) for value in values])
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return times_to_parts(values)
    return np.array([_time_parts(None if _is_missing(value) else value) for value in values]).reshape(
        -1, len(TIME_PARTS)
    )


def times_to_parts(values: npt.NDArray[np.datetime64]) -> Matrix:
    """datetime64 values into (rows, 4): hour with its fraction, weekday (Monday 0), day of the year, month."""
    moments = values.astype("datetime64[m]")
    missing = np.isnat(moments)
    days = moments.astype("datetime64[D]")
    hour = (moments - days).astype(float) / 60
    weekday = (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
    yearday = (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(float) + 1
    month = days.astype("datetime64[M]").astype(np.int64) % 12 + 1
    parts = np.column_stack([hour, weekday, yearday, month]).astype(float)
    parts[missing] = NAN
    return parts


def _is_plain(values: Sequence[Any]) -> bool:
    return isinstance(values, (list, tuple)) or (isinstance(values, np.ndarray) and values.dtype.kind == "O")


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
