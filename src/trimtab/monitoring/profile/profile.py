"""The profile of a table: per column a histogram, counts and moments. Mergeable: two halves give the whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from trimtab.core.errors import ContractError
from trimtab.core.model import Json
from trimtab.monitoring.profile.histogram import Counts, distance, quantiles

SHARES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
ATOM_SHARE = 0.01
MOST_WORDS = 100_000  # distinct values of one column that are counted; beyond, new ones only count as "other"


@dataclass(frozen=True)
class NumberColumn:
    """A numeric (or time, in seconds) column."""

    name: str
    type: str
    reference: float
    counts: Counts
    rows: int
    missing: int
    infinite: int
    zero: int
    negative: int
    low: float
    high: float
    total: float  # of x - reference
    squares: float
    kind: Literal["number", "time"] = "number"

    @property
    def present(self) -> int:
        """Finite values."""
        return self.rows - self.missing - self.infinite

    @property
    def mean(self) -> float:
        return self.reference + self.total / self.present if self.present else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation."""
        if self.present < 2:
            return math.nan
        spread = self.squares - self.total**2 / self.present
        return math.sqrt(max(0.0, spread) / (self.present - 1))

    def quantiles(self, shares: tuple[float, ...] = SHARES) -> tuple[float, ...]:
        """Values below which these shares of the column lie."""
        return quantiles(self.counts, self.reference, shares)

    @property
    def filled_bins(self) -> int:
        """How many bins hold a value: at most the number of distinct values."""
        return int(np.count_nonzero(self.counts))


@dataclass(frozen=True)
class WordColumn:
    """A column of words, truth values or other discrete things."""

    name: str
    type: str
    rows: int
    missing: int
    words: Mapping[str, int]
    other: int = 0  # values beyond MOST_WORDS distinct ones
    kind: Literal["word"] = "word"

    @property
    def present(self) -> int:
        return self.rows - self.missing


Column = NumberColumn | WordColumn


@dataclass(frozen=True)
class Profile:
    """A whole table. `skipped`: columns of types that cannot be profiled; `row_sample`: hashes of a sample of rows."""

    rows: int
    columns: Mapping[str, Column]
    skipped: Mapping[str, str] = field(default_factory=dict)
    sampled_rows: int = 0
    distinct_sampled_rows: int = 0
    equal_columns: tuple[tuple[str, str], ...] = ()

    @property
    def duplicate_share(self) -> float:
        """Estimated share of rows that repeat another one, from all rows whose hash falls into a fixed sample."""
        return 1 - self.distinct_sampled_rows / self.sampled_rows if self.sampled_rows else 0.0


def merge(one: Profile, other: Profile) -> Profile:
    """The profile of both tables' rows. Row duplicates across the two are not seen. Raises ContractError."""
    if set(one.columns) != set(other.columns):
        raise ContractError("the two profiles have different columns", hint="profile the same columns")
    columns = {name: _merged(column, other.columns[name]) for name, column in one.columns.items()}
    return Profile(
        one.rows + other.rows,
        columns,
        one.skipped,
        one.sampled_rows + other.sampled_rows,
        one.distinct_sampled_rows + other.distinct_sampled_rows,
        tuple(pair for pair in one.equal_columns if pair in other.equal_columns),
    )


def column_distance(one: Column, other: Column) -> float:
    """KS distance of two numeric columns, or half the L1 distance of two word columns' shares.

    Raises ContractError when they have different kinds or references.
    """
    if isinstance(one, NumberColumn) and isinstance(other, NumberColumn):
        _require_reference(one, other)
        return distance(one.counts, other.counts)
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
        "columns": {name: _described(column) for name, column in profile.columns.items()},
        "skipped": dict(profile.skipped),
    }


def _described(column: Column) -> dict[str, Json]:
    if isinstance(column, WordColumn):
        common = sorted(column.words.items(), key=lambda one: (-one[1], one[0]))[:10]
        words: dict[str, Json] = {word[:60]: count for word, count in common}
        return {"type": column.type, "missing": column.missing, "distinct": len(column.words), "common": words}
    described: dict[str, Json] = {"type": column.type, "missing": column.missing, "infinite": column.infinite}
    if column.present:
        named = zip(SHARES, column.quantiles(), strict=True)
        described |= {
            "low": column.low,
            "high": column.high,
            "mean": column.mean,
            "zero": column.zero,
            "negative": column.negative,
            "quantiles": {str(share): float(f"{value:.6g}") for share, value in named},
        }
    return described


def _merged(one: Column, other: Column) -> Column:
    if isinstance(one, NumberColumn) and isinstance(other, NumberColumn):
        _require_reference(one, other)
        sums = {
            name: getattr(one, name) + getattr(other, name)
            for name in ("counts", "rows", "missing", "infinite", "zero", "negative", "total", "squares")
        }
        return replace(one, low=min(one.low, other.low), high=max(one.high, other.high), **sums)
    if isinstance(one, WordColumn) and isinstance(other, WordColumn):
        words = dict(one.words)
        for word, count in other.words.items():
            words[word] = words.get(word, 0) + count
        rows, missing = one.rows + other.rows, one.missing + other.missing
        return replace(one, rows=rows, missing=missing, words=words, other=one.other + other.other)
    raise ContractError(f"{one.name} has another kind in the other profile")


def _require_reference(one: NumberColumn, other: NumberColumn) -> None:
    if one.reference != other.reference:
        raise ContractError(
            f"{one.name} has different references", hint="give the first profile's references to the second"
        )
