"""The profile of a table: per column a histogram, counts and moments. Mergeable: two halves give the whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trimtab.core.errors import ContractError
from trimtab.core.model import Json
from trimtab.monitoring.profile import histogram, reading
from trimtab.monitoring.profile.histogram import Histogram
from trimtab.monitoring.profile.sketch import Hashes, RowSample, distinct
from trimtab.monitoring.profile.words import Words

SHARES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
ATOM_SHARE = 0.01
LEAST_REPEATS = 5
YEAR_1, YEAR_10000 = -62_135_596_800, 253_402_300_800  # in seconds: what can be written as a date
KEY_SHARE = 0.95  # estimates of distinct values are good to 2 %


@dataclass(frozen=True, eq=False)
class NumberColumn:
    """A numeric (or time, in seconds) column."""

    name: str
    type: str
    histogram: Histogram
    registers: Hashes
    rows: int
    missing: int
    infinite: int
    zero: int
    negative: int
    low: float
    high: float
    mean: float  # of the finite values, as are the squares
    squares: float  # sum of squared distances from the mean
    kind: Literal["number", "time"] = "number"

    @property
    def present(self) -> int:
        """Finite values."""
        return self.rows - self.missing - self.infinite

    @property
    def deviation(self) -> float:
        """Standard deviation."""
        return math.sqrt(max(0.0, self.squares) / (self.present - 1)) if self.present > 1 else math.nan

    @property
    def distinct(self) -> int:
        """About how many distinct values there are."""
        return min(self.present, round(distinct(self.registers)))

    def quantiles(self, shares: tuple[float, ...] = SHARES) -> tuple[float, ...]:
        """Values below which these shares of the column lie, to the width of a bin, within the least and the most."""
        found = reading.quantiles(self.histogram, shares)
        return tuple(min(self.high, max(self.low, value)) for value in found)

    def outside(self, low: float, high: float) -> float:
        """Share of the present values below `low` or above `high`, to the width of a bin."""
        if self.low >= low and self.high <= high:
            return 0.0
        return reading.share_outside(self.histogram, low, high)

    @property
    def is_dated(self) -> bool:
        """Whether its values are moments that can be written as dates."""
        return self.type.startswith(("timestamp", "date")) and self.low >= YEAR_1 and self.high < YEAR_10000

    def written(self, value: float) -> str:
        """A value as a person reads it."""
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M}" if self.is_dated else f"{value:,.6g}"

    @property
    def repeats_one_negative(self) -> bool:
        """Whether its negative values are all about the same, as a code for "missing" is."""
        return self.negative >= LEAST_REPEATS and reading.bins_below(self.histogram, 0.0) == 1

    def share_of(self, is_meant: Callable[[npt.NDArray[np.float64]], Any]) -> float:
        """Share of the present values that are meant, to the width of a bin: exact for integers near the median."""
        return reading.share_of(self.histogram, is_meant)

    def holes(self, least: float) -> list[tuple[float, float]]:
        """Stretches of at least a length without a value, far longer than usual ones, to the width of a bin."""
        return reading.holes(self.histogram, least)

    def atoms(self) -> dict[float, float]:
        """Values that hold at least 1 % of the column each, and their share, to the width of a bin."""
        return reading.atoms(self.histogram, ATOM_SHARE)


@dataclass(frozen=True, eq=False)
class WordColumn:
    """A column of words, truth values or other discrete things."""

    name: str
    type: str
    rows: int
    missing: int
    counted: Words
    registers: Hashes
    kind: Literal["word"] = "word"

    @property
    def present(self) -> int:
        return self.rows - self.missing

    @property
    def words(self) -> Mapping[str, int]:
        """Counts of words: of all of them, or of a sample and the frequent ones when there are very many."""
        return self.counted.counts

    @property
    def other(self) -> int:
        """Values whose words are not in `words`."""
        return self.counted.other

    @property
    def distinct(self) -> int:
        """How many distinct words: exact when all are counted."""
        if not self.other:
            return len(self.words)
        return min(self.present, max(len(self.words), round(distinct(self.registers))))


Column = NumberColumn | WordColumn


@dataclass(frozen=True, eq=False)
class Profile:
    """A whole table. `skipped`: columns of types that cannot be profiled."""

    rows: int
    columns: Mapping[str, Column]
    skipped: Mapping[str, str] = field(default_factory=dict)
    row_sample: RowSample = field(default_factory=RowSample)
    equal_columns: tuple[tuple[str, str], ...] = ()

    @property
    def duplicate_share(self) -> float:
        """Share of rows that repeat another one: exact up to 131,072 distinct rows, then of a sample by hash."""
        seen = int(self.row_sample.counts.sum())
        return 1 - len(self.row_sample.hashes) / seen if seen else 0.0

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns that could identify a row: complete, and (by estimate) a value of its own in each row."""
        columns = self.columns.items()
        whole = (name for name, one in columns if one.present == one.rows and one.distinct >= KEY_SHARE * one.rows)
        return tuple(whole) if self.rows > 1 else ()


def merge(one: Profile, other: Profile) -> Profile:
    """The profile of both tables' rows; counts are those of the whole, to the bit. Raises ContractError."""
    if set(one.columns) != set(other.columns):
        raise ContractError("the two profiles have different columns", hint="profile the same columns")
    if not (one.rows and other.rows):
        return one if one.rows else other
    columns = {name: _merged(column, other.columns[name]) for name, column in one.columns.items()}
    theirs = other.row_sample
    return Profile(
        one.rows + other.rows,
        columns,
        one.skipped,
        one.row_sample.add(theirs.hashes, theirs.counts, theirs.halvings),
        tuple(pair for pair in one.equal_columns if pair in other.equal_columns),
    )


def is_equal(one: Column, other: Column) -> bool:
    """Whether all counts of two columns are the same."""
    if isinstance(one, NumberColumn) and isinstance(other, NumberColumn):
        facts = [
            (c.missing, c.infinite, c.zero, c.negative, c.low, c.high, c.histogram.reference) for c in (one, other)
        ]
        first, second = one.histogram, other.histogram
        return (
            facts[0] == facts[1]
            and np.array_equal(one.registers, other.registers)
            and np.array_equal(first.places, second.places)
            and np.array_equal(first.counts, second.counts)
        )
    if isinstance(one, WordColumn) and isinstance(other, WordColumn):
        return one.missing == other.missing and one.words == other.words
    return False


def column_distance(one: Column, other: Column) -> float:
    """KS distance of two numeric columns, or half the L1 distance of two word columns' shares.

    Raises ContractError when they have different kinds or references.
    """
    if isinstance(one, NumberColumn) and isinstance(other, NumberColumn):
        _require_reference(one, other)
        return reading.distance(one.histogram, other.histogram)
    if isinstance(one, WordColumn) and isinstance(other, WordColumn):
        names = {*one.words, *other.words}
        gaps = (abs(one.words.get(w, 0) / one.present - other.words.get(w, 0) / other.present) for w in names)
        return sum(gaps) / 2 if one.present and other.present else math.nan
    raise ContractError(f"{one.name} has another kind in the other profile")


def summary(profile: Profile) -> dict[str, Json]:
    """The profile as small JSON: no histograms, at most ten words a column."""
    return {
        "rows": profile.rows,
        "duplicate_share": round(profile.duplicate_share, 6),
        "keys": list(profile.keys),
        "columns": {name: _described(column) for name, column in profile.columns.items()},
        "skipped": dict(profile.skipped),
    }


def _described(column: Column) -> dict[str, Json]:
    if isinstance(column, WordColumn):
        common = sorted(column.words.items(), key=lambda one: (-one[1], one[0]))[:10]
        words: dict[str, Json] = {word[:60]: count for word, count in common}
        return {"type": column.type, "missing": column.missing, "distinct": column.distinct, "common": words}
    described: dict[str, Json] = {"type": column.type, "missing": column.missing, "infinite": column.infinite}
    if column.present:
        named = zip(SHARES, column.quantiles(), strict=True)
        described |= {
            "low": column.low,
            "high": column.high,
            "mean": column.mean,
            "distinct": column.distinct,
            "zero": column.zero,
            "negative": column.negative,
            "quantiles": {str(share): value for share, value in named},
        }
    return described


def _merged(one: Column, other: Column) -> Column:
    if isinstance(one, NumberColumn) and isinstance(other, NumberColumn):
        return _merged_numbers(one, other)
    if isinstance(one, WordColumn) and isinstance(other, WordColumn):
        return replace(
            one,
            rows=one.rows + other.rows,
            missing=one.missing + other.missing,
            counted=one.counted.merged(other.counted),
            registers=np.minimum(one.registers, other.registers),
        )
    raise ContractError(f"{one.name} has another kind in the other profile")


def _merged_numbers(one: NumberColumn, other: NumberColumn) -> NumberColumn:
    _require_reference(one, other)
    sums = {
        name: getattr(one, name) + getattr(other, name) for name in ("rows", "missing", "infinite", "zero", "negative")
    }
    count = one.present + other.present
    # Chan's rule: no loss of digits when the means are far from zero.
    gap = other.mean - one.mean if one.present and other.present else 0.0
    first = one if one.present else other
    return replace(
        one,
        **sums,
        histogram=histogram.merged(one.histogram, other.histogram),
        registers=np.minimum(one.registers, other.registers),
        low=min(one.low, other.low),
        high=max(one.high, other.high),
        mean=first.mean + gap * other.present / count if count else math.nan,
        squares=one.squares + other.squares + gap * gap * one.present * other.present / max(1, count),
    )


def _require_reference(one: NumberColumn, other: NumberColumn) -> None:
    if one.histogram.reference != other.histogram.reference:
        raise ContractError(
            f"{one.name} has different references", hint="give the first profile's references to the second"
        )
