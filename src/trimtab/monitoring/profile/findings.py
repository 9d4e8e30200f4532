"""What is wrong with a table, by its profile: missing, constant, impossible, outlying, duplicated values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import numpy.typing as npt

from trimtab.core.model import Json
from trimtab.monitoring.profile.profile import Column, NumberColumn, Profile, WordColumn

Kind = Literal[
    "missing", "all_missing", "constant", "near_constant", "impossible", "outlying", "infinite", "duplicated",
    "duplicate_rows", "identifier", "spelling", "units", "text", "gap", "skipped", "leaking", "later",
]  # fmt: skip

MISSING_SHARE = 0.05
NEAR_CONSTANT_SHARE = 0.999
OUTLYING_FENCES = 10.0  # interquartile ranges beyond the quartiles
MOST_OUTLYING_SHARE = 0.01  # more than that is a long tail, not an error
NEGATIVE_SHARE = 0.002  # so few negative values beside so many others are suspect
IDENTIFIER_SHARE = 0.5
DUPLICATE_ROWS_SHARE = 0.001
GAP_SHARE = 0.01  # of the time that a table spans
MOST_GAPS = 3  # more of them are a rhythm, such as nights
WRITTEN_SHARE = 0.95  # of the values must look like numbers or dates to be taken for such
CLOCK_ERRORS = 0.05  # more values than that which are no time: it is no clock
MOST_LOOKED = 2000  # words that tell how a column is written
# Codes such as 007, 12A or 10.0.0.1 are no quantities.
_QUANTITY = re.compile(r"\s*([$€£]?)\s*[-+]?(?!0\d)(?:\d{1,3}(?:,\d{3})+|\d+)(?:[.,]\d+)?\s*([A-Za-z%°µ/²³]{0,5})\s*")
_UNITS = re.compile(  # a single capital ends a code
    "kg|mg|µg|lbs?|oz|km|cm|mm|mi|ft|in|yd|ml|cl|gal|hrs?|min|sec|ms|µs|days?|°[cf]|[km]wh?|kv|[kmg]?hz|[kmgt]i?b|usd|eur|gbp|"
    "chf|mph|kmh|km/h|m/s|rpm|bar|psi|[hk]pa|kcal|kj|m[²³]|%|(?-i:[ghlmst])",
    re.IGNORECASE,
)
_DATE = re.compile(r"\s*\d{4}-\d\d-\d\d([T ].*)?|\s*\d{1,2}[./]\d{1,2}[./]\d{2,4}(\s.*)?")
_CLOCK_NAME = re.compile(r"time|clock|hhmm", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or suspect: where, how much of it, and what to do."""

    kind: Kind
    column: str
    share: float  # of the rows
    message: str
    remedy: str
    low: float | None = None  # values outside [low, high] are meant, where that is what is wrong
    high: float | None = None

    def as_json(self) -> dict[str, Json]:
        """For faces and the ledger."""
        return {
            "kind": self.kind,
            "column": self.column,
            "share": round(self.share, 6),
            "message": self.message,
            "remedy": self.remedy,
        }


def findings(profile: Profile) -> tuple[Finding, ...]:
    """All findings of a profile, column by column."""
    found = [one for column in profile.columns.values() for one in _of_column(column)]
    for name, kind in profile.skipped.items():
        unusable = Finding("skipped", name, 1.0, f"values of type {kind} cannot be used", "flatten or drop it")
        found.append(_nothing_in(name) if kind == "null" else unusable)
    for first, second in profile.equal_columns:
        message = f"holds the same values as {first} in every row"
        found.append(Finding("duplicated", second, 1.0, message, f"drop it: {first} says the same"))
    if profile.duplicate_share > DUPLICATE_ROWS_SHARE:
        share = profile.duplicate_share
        found.append(Finding("duplicate_rows", "", share, f"{share:.2%} of the rows repeat others", "keep one of each"))
    return tuple(found)


def _of_column(column: Column) -> Iterator[Finding]:
    if column.rows == 0 or column.present == 0:
        yield _nothing_in(column.name)
        return
    share = column.missing / column.rows
    if share > MISSING_SHARE:
        yield Finding("missing", column.name, share, f"{share:.1%} of the rows have no value", "see how it comes about")
    yield from _of_words(column) if isinstance(column, WordColumn) else _of_numbers(column)


def _nothing_in(name: str) -> Finding:
    return Finding("all_missing", name, 1.0, "has no value in any row", "drop it")


def _of_words(column: WordColumn) -> Iterator[Finding]:
    top = max(column.words.values(), default=0) / column.present
    if len(column.words) == 1 and not column.other:
        yield Finding("constant", column.name, 1.0, "has one value only", "drop it")
    elif top > NEAR_CONSTANT_SHARE:
        yield Finding("near_constant", column.name, top, f"{top:.2%} of the rows share one value", "drop it")
    if column.distinct / column.present > IDENTIFIER_SHARE and column.present > 100:
        message = f"{column.distinct:,} values in {column.present:,} rows: an identifier"
        yield Finding("identifier", column.name, 1.0, message, "drop it: what is learned of it does not carry over")
    yield from _of_writing(column)
    variants = _spellings(column)
    if variants:
        yield Finding("spelling", column.name, variants[1], f"spells the same in several ways: {variants[0]}", "unify")


def _of_writing(column: WordColumn) -> Iterator[Finding]:
    """Numbers and dates that are written as text, and the units beside them."""
    looked = dict(islice(column.words.items(), MOST_LOOKED))
    least = WRITTEN_SHARE * sum(looked.values())
    if sum(count for word, count in looked.items() if _DATE.fullmatch(word)) >= least > 0:
        message = "holds dates or times as text"
        yield Finding("text", column.name, 1.0, message, "store them as dates: rows can then be ordered by them")
        return
    units = _units(looked)
    if not units or units.total() < least:
        return
    if len(units) > 1:
        shares = ", ".join(f"{unit or 'none'} {count / units.total():.1%}" for unit, count in units.most_common(4))
        rare = 1 - units.most_common(1)[0][1] / units.total()
        yield Finding("units", column.name, rare, f"numbers in several units: {shares}", "bring them to one unit")
        return
    (unit,) = units
    message = "holds numbers as text" + (f", each in {unit}" if unit else "")
    yield Finding("text", column.name, 1.0, message, "store them as numbers")


def _units(words: Mapping[str, int]) -> Counter[str]:
    """How many of the words are quantities, by their unit; an empty one for plain numbers."""
    units: Counter[str] = Counter()
    for word, count in words.items():
        found = _QUANTITY.fullmatch(word)
        if found is not None and (not found[2] or _UNITS.fullmatch(found[2])):
            units[found[1] + found[2].lower()] += count
    return units


def _spellings(column: WordColumn) -> tuple[str, float] | None:
    by_form: dict[str, list[str]] = {}
    for word in column.words:
        by_form.setdefault(" ".join(word.casefold().split()), []).append(word)
    several = [words for words in by_form.values() if len(words) > 1]
    if not several or len(column.words) > 10_000:
        return None
    rarer = sum(sum(column.words[word] for word in words) - max(column.words[w] for w in words) for words in several)
    return ", ".join(repr(word[:30]) for word in several[0][:3]), rarer / column.present


def _of_numbers(column: NumberColumn) -> Iterator[Finding]:
    if column.infinite:
        share = column.infinite / column.rows
        yield Finding("infinite", column.name, share, f"{column.infinite:,} values are infinite", "treat as missing")
    if column.low == column.high:
        yield Finding("constant", column.name, 1.0, f"is {column.low:g} in every row", "drop it")
        return
    q1, median, q3 = column.quantiles((0.25, 0.5, 0.75))
    width = q3 - q1
    if column.kind == "time":
        yield from _gaps(column)
        return
    low, high = q1 - OUTLYING_FENCES * width, q3 + OUTLYING_FENCES * width
    few = column.negative / column.present
    is_far = column.low < q1 - 3 * width or column.repeats_one_negative
    if 0 < few < NEGATIVE_SHARE and median > 0 and is_far:
        yield Finding(
            "impossible", column.name, few, f"{column.negative:,} values are negative, down to {column.low:g}",
            "treat as missing", 0.0, None,
        )  # fmt: skip
    if _is_named_a_clock(column):
        wrong = column.share_of(_is_no_time)
        if 0 < wrong < CLOCK_ERRORS:
            message = f"looks like HHMM, but {wrong:.2%} of the values are no such time, as 2560 or 1375 are none"
            yield Finding("impossible", column.name, wrong, message, "treat as missing", 0.0, 2400.0)
    if width > 0:
        share = column.outside(low, high)
        if 0 < share < MOST_OUTLYING_SHARE:
            message = f"{share:.3%} of the values lie outside {low:g} to {high:g} ({column.low:g} to {column.high:g})"
            yield Finding("outlying", column.name, share, message, "see whether they are errors", low, high)


def _gaps(column: NumberColumn) -> Iterator[Finding]:
    span = column.high - column.low
    found = column.holes(GAP_SHARE * span)
    if not (column.is_dated and 0 < len(found) <= MOST_GAPS):
        return
    start, end = max(found, key=lambda one: one[1] - one[0])
    message = f"no row between {column.written(start)} and {column.written(end)}" + (
        f", the longest of {len(found)} gaps" if found[1:] else ""
    )
    yield Finding("gap", column.name, sum(b - a for a, b in found) / span, message, "see whether rows were lost")


def _is_named_a_clock(column: NumberColumn) -> bool:
    is_named = bool(_CLOCK_NAME.search(column.name))
    return is_named and column.low >= 0 and 1300 < column.high < 10_000 and column.quantiles((0.99,))[0] <= 2400


def _is_no_time(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return (values > 2400) | (values % 100 >= 60)
