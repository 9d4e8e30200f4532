"""A table with a target: which rows are for searching, confirming and replaying, which columns may be used."""

from __future__ import annotations

import difflib
import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.adapters.sources.tables import fingerprint, read_table
from trimtab.core.errors import InputError

Task: TypeAlias = Literal["binary", "multiclass", "regression", "ranking"]
QUANTITIES: tuple[Task, ...] = ("regression", "ranking")  # what is predicted is a number, not a class
Part: TypeAlias = Literal["train", "valid", "search", "holdout", "production"]

TRAIN_SHARE = 0.8  # of the search part; its last fifth is what plans are scored on while searching
MOST_CLASSES = 1000
_COMPARISON = re.compile(r"^\s*(?P<column>.+?)\s*(?P<sign><=|>=|==|!=|<|>)\s*(?P<value>.+?)\s*$")
_SIGNS = {
    "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal, "==": pc.equal, "!=": pc.not_equal,
}  # fmt: skip


@dataclass(frozen=True)
class DataSpec:
    """A table and what is asked of it; JSON-able, so that a portable problem can hold it."""

    table: str  # path of a file
    target: str  # a column, or a comparison such as "arr_delay > 15"
    time: str = ""  # the column that orders rows; empty: a seeded shuffle stands in
    exclude: tuple[str, ...] = ()  # not known when a prediction is asked for
    dropped: tuple[str, ...] = ()  # known, but not used; today's own model still gets them
    fingerprint: str = ""  # SHA-256 of the table, so that keys follow the content
    search_share: float = 0.60
    holdout_share: float = 0.15
    positive: str = ""  # the "yes" of a target of two words

    def stamped(self) -> DataSpec:
        """The same with the fingerprint of the table as it is now."""
        return replace(self, fingerprint=fingerprint(self.table))


@dataclass(frozen=True)
class Dataset:
    """Rows in time order with a target that is never missing."""

    table: pa.Table
    y: npt.NDArray[np.float64]  # (n,) class numbers or values
    task: Task
    classes: tuple[str, ...]  # of a binary or multiclass target, in the order of their numbers
    names: tuple[str, ...]  # the columns that are used
    raw_names: tuple[str, ...] = ()  # those that are dropped as well; empty: the same
    queries: npt.NDArray[np.int64] | None = None  # of a ranking: the query of each row; a query's rows are adjacent

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, start: int, stop: int) -> Dataset:
        """The rows from start to before stop, without copying."""
        queries = None if self.queries is None else self.queries[start:stop]
        return replace(self, table=self.table.slice(start, stop - start), y=self.y[start:stop], queries=queries)

    def take(self, places: npt.NDArray[np.int64]) -> Dataset:
        """The rows at these places."""
        queries = None if self.queries is None else self.queries[places]
        return replace(self, table=self.table.take(pa.array(places)), y=self.y[places], queries=queries)


def load(spec: DataSpec) -> Dataset:
    """Read, check and order a table. Cached by the spec, whose fingerprint stands for the content.

    Raises InputError for an unknown column, a target of one class, no row with a target, or nothing to predict from.
    """
    # Without a fingerprint the content is looked at each time: a file that changed must not be answered from memory.
    return _load(spec if spec.fingerprint else spec.stamped())


@functools.lru_cache(maxsize=4)
def _load(spec: DataSpec) -> Dataset:
    table = read_table(spec.table)
    target, source = target_of(table, spec)
    usable = pc.is_valid(target)
    if not pc.any(usable).as_py():
        raise InputError(f"the target {spec.target!r} is missing in every row", hint="name another target")
    table, target = table.filter(usable), target.filter(usable)
    y, task, classes = _encoded(target, spec)
    order = _order(table, spec)
    excluded = {source, *spec.exclude}
    names = tuple(name for name in table.column_names if name not in excluded and is_usable(table.schema.field(name)))
    if not names:
        raise InputError(f"{spec.table} has no column to predict {spec.target!r} from", hint="check what is excluded")
    used = tuple(name for name in names if name not in spec.dropped)
    if not used:
        raise InputError("every column is dropped: nothing is left to learn from", hint="drop fewer")
    return Dataset(table.take(pa.array(order)), y[order], task, classes, used, names)


def target_of(table: pa.Table, spec: DataSpec) -> tuple[pa.ChunkedArray, str]:
    """The target's values (missing where they are missing) and the column that they come from."""
    if spec.target in table.column_names:
        return table.column(spec.target), spec.target
    found = _COMPARISON.match(spec.target)
    if not found:
        raise unknown_column(spec.target, table.column_names, "target")
    column, sign, value = found.group("column", "sign", "value")
    if column not in table.column_names:
        raise unknown_column(column, table.column_names, "target")
    values = table.column(column)
    try:
        kind = pa.float64() if is_number(values.type) else values.type
        return _SIGNS[sign](values.cast(kind), pa.scalar(value.strip("'\"")).cast(kind)), column
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(
            f"the target {spec.target!r} cannot be computed: {column} is {values.type}",
            hint="compare a number with a number, or a word with a word",
        ) from None


def part(dataset: Dataset, spec: DataSpec, name: Part) -> Dataset:
    """The rows of one part. In time order: train, valid (together: search), holdout, production."""
    count = len(dataset)
    search = round(count * spec.search_share)
    train = round(search * TRAIN_SHARE)
    holdout = round(count * (spec.search_share + spec.holdout_share))
    bounds = {
        "train": (0, train),
        "valid": (train, search),
        "search": (0, search),
        "holdout": (search, holdout),
        "production": (holdout, count),
    }
    return dataset.rows(*bounds[name])


def blocks(count: int, pieces: int) -> tuple[slice, ...]:
    """`count` rows in contiguous blocks of nearly equal size: what paired comparisons are made on."""
    edges = [round(count * i / pieces) for i in range(pieces + 1)]
    return tuple(slice(start, stop) for start, stop in itertools.pairwise(edges))


def is_number(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are whole, floating or decimal numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_usable(field: pa.Field) -> bool:
    """Whether a column can be a feature: numbers, truth values, words, dates and times."""
    kind = field.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        is_number(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_temporal(kind)
    )


def unknown_column(name: str, known: Sequence[str], what: str) -> InputError:
    """The error for a column that is not there, with the closest names."""
    close = difflib.get_close_matches(name, known, n=3)
    listed = ", ".join(known[:20]) + (" …" if len(known) > 20 else "")
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"the columns are {listed}"
    return InputError(f"there is no column {name!r} ({what})", hint=hint)


def _encoded(target: pa.ChunkedArray, spec: DataSpec) -> tuple[npt.NDArray[np.float64], Task, tuple[str, ...]]:
    kind = target.type.value_type if pa.types.is_dictionary(target.type) else target.type
    is_words = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (is_words or pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise InputError(f"the target {spec.target!r} is {kind}", hint="a target is numbers, words or true/false")
    if not is_words and not pa.types.is_boolean(kind):
        y = target.cast(pa.float64()).to_numpy()
        # Two whole numbers are two classes; what has more is a quantity.
        if len(np.unique(y[:100_000])) != 2 or not pa.types.is_integer(kind) or len(np.unique(y)) != 2:
            return _values(y, spec)
    words = sorted(set(pc.unique(target.cast(pa.string())).to_pylist()))
    if len(words) < 2:
        raise InputError(f"the target {spec.target!r} has one class only: {words[0]!r}", hint="nothing can be learned")
    if len(words) > MOST_CLASSES:
        raise InputError(f"the target {spec.target!r} has {len(words):,} classes", hint=f"at most {MOST_CLASSES:,}")
    if spec.positive:
        if spec.positive not in words or len(words) != 2:
            raise InputError(f"{spec.positive!r} is not one of two classes of {spec.target!r}", hint=f"{words[:5]}")
        words = [word for word in words if word != spec.positive] + [spec.positive]
    codes = pc.index_in(target.cast(pa.string()), pa.array(words)).to_numpy().astype(np.float64)
    return codes, "binary" if len(words) == 2 else "multiclass", tuple(words)


def _values(y: npt.NDArray[np.float64], spec: DataSpec) -> tuple[npt.NDArray[np.float64], Task, tuple[str, ...]]:
    if not np.isfinite(y).all():
        raise InputError(f"the target {spec.target!r} has infinite values", hint="drop or repair those rows")
    if y.min() == y.max():
        raise InputError(f"the target {spec.target!r} is {y[0]:g} in every row", hint="nothing can be learned")
    return y, "regression", ()


def _order(table: pa.Table, spec: DataSpec) -> npt.NDArray[np.int64]:
    if not spec.time:
        return np.random.default_rng(0).permutation(table.num_rows)
    if spec.time not in table.column_names:
        raise unknown_column(spec.time, table.column_names, "data.time")
    column = table.column(spec.time)
    if column.null_count:
        raise InputError(f"{column.null_count:,} rows have no time in {spec.time!r}", hint="drop or repair those rows")
    if not pa.types.is_temporal(column.type) and not is_number(column.type):
        try:
            column = column.cast(pa.timestamp("us"))  # ISO text
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{spec.time!r} is no time: {reason}", hint="write times as 2013-01-31 08:30") from None
    # Arrow's sort is not stable: the row number settles ties.
    keyed = pa.table({"time": column, "row": pa.array(np.arange(table.num_rows))})
    order = pc.sort_indices(keyed, sort_keys=[("time", "ascending"), ("row", "ascending")])
    return np.asarray(order, dtype=np.int64)
