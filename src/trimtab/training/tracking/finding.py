"""Which runs pass all tests, and in what order: found by the way that touches the fewest rows.

A database's planner does not know that a test lets four of five runs through, or one of a million. So the runs that
pass each test are counted first, as far as they are few. Where one test is passed by few, these are put to the others;
otherwise the wanted order is walked until enough are found. Each query names one table first, with all else as lookups
by run: no planner can turn it round.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from trimtab.adapters.ledger import SqlLedger
from trimtab.adapters.ledger_rows import RUN_VALUES, RUNS

OWN: Mapping[str, sa.ColumnClause[Any]] = {
    one: RUNS.c[one] for one in ("seconds", "cpu_seconds", "peak_bytes", "began", "name", "by", "status")
}
SIGNS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le, ">=": operator.ge, "!=": operator.ne, "=": operator.eq, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
FEW, MANY = 1_000, 50_000  # runs that pass a test: put to the others at once, or only where a walk fails; never


@dataclass(frozen=True, slots=True)
class Test:
    """A fact, parameter or metric against a value of its type."""

    name: str
    sign: str
    value: float | str


@dataclass(frozen=True, slots=True)
class _Side:
    """Where a fact stands: a table, the run in it, and the rows and the column that hold it."""

    table: sa.FromClause
    run: sa.ColumnElement[str]
    column: sa.ColumnElement[Any]
    rows: tuple[sa.ColumnElement[bool], ...] = ()

    def of(self, run: sa.ColumnElement[str]) -> tuple[sa.ColumnElement[bool], ...]:
        """Its rows of one run."""
        return (self.run == run, *self.rows)


def runs_that_pass(
    ledger: SqlLedger, tests: Sequence[Test], by: str, is_ascending: bool, limit: int
) -> list[str]:  # fmt: skip
    """The numbers of at most so many runs that pass all tests and have a `by`, ordered by it."""
    search = _Search(ledger, tests, by, is_ascending, limit)
    counts = {one: search.count(one) for one in tests if one.name != "by"}  # all others have an index
    fewest = min(counts, key=lambda one: counts[one], default=None)
    if fewest is None or counts[fewest] >= MANY:
        return search.walk(None)
    if counts[fewest] > FEW:
        found = search.walk(counts[fewest])  # as many rows as the other way takes: at worst twice the cost of the best
        if len(found) == limit:
            return found
    return search.among(fewest)


@dataclass(frozen=True, slots=True)
class _Search:
    ledger: SqlLedger
    tests: Sequence[Test]
    by: str
    is_ascending: bool
    limit: int

    def count(self, test: Test) -> int:
        """How many runs pass a test, or MANY."""
        side = _side(test.name, test.value)
        found = 0
        for passed in _ranges(side, test):
            query = sa.select(sa.literal(1)).where(*side.rows, passed).limit(MANY)
            found += int(self._rows(sa.select(sa.func.count()).select_from(query.subquery()))[0][0])
        return min(MANY, found)

    def walk(self, rows: int | None) -> list[str]:
        """In the wanted order, through so many rows of it."""
        side = _side(self.by)
        query = sa.select(side.run).where(*side.rows, side.column.is_not(None))
        if rows is not None:
            last = sa.select(side.column).where(*side.rows, side.column.is_not(None))
            bound = self._rows(self._ordered(last, side.column).offset(rows).limit(1))
            if bound:
                query = query.where(side.column >= bound[0][0] if not self.is_ascending else side.column <= bound[0][0])
        query = query.where(*(self._met(one, side, self.by) for one in self.tests))
        # Ties are in the order of the index: another order would have them sorted.
        query = self._ordered(query, side.column, *(() if side.table is RUNS else (side.run,)))
        return self._first(query)

    def among(self, test: Test) -> list[str]:
        """Among the runs that pass this test."""
        side = _side(test.name, test.value)
        passed = sa.or_(*(sa.and_(*side.rows, one) for one in _ranges(side, test)))
        query = sa.select(side.run).where(passed)
        query = query.where(*(self._met(one, side, test.name) for one in self.tests if one is not test))
        order = _side(self.by)
        place: sa.ColumnElement[Any] = order.column
        if side.table is not RUNS or order.table is not RUNS:
            highest = sa.select(sa.func.max(_looked_up(order.column))).where(*order.of(side.run))
            place = highest.correlate(side.table).scalar_subquery()
        named = place.label("place")
        order_by = named.asc() if self.is_ascending else named.desc()
        return self._first(query.add_columns(named).order_by(order_by.nulls_last()))

    def _first(self, query: sa.Select[Any]) -> list[str]:
        """Runs of the first rows, up to those whose last column is null."""
        found: list[str] = []
        for most in (self.limit, 2 * self.limit):  # a parameter and a metric of one name are two rows of a run
            read = [row[0] for row in self._rows(query.limit(most)) if row[-1] is not None]
            found = list(dict.fromkeys(read))[: self.limit]
            if len(found) == self.limit or len(read) < most:
                break
        return found

    def _met(self, test: Test, side: _Side, name: str) -> sa.ColumnElement[bool]:
        """Whether a row's run passes a test: by the row itself, where it holds the fact."""
        if side.table is RUNS and test.name in OWN:
            return _passed(_side(test.name), test)
        if side.table is not RUNS and test.name == name and isinstance(test.value, float):
            return _passed(side, test)
        other = _side(test.name, test.value)
        met = _passed(replace(other, column=_looked_up(other.column)), test)
        return sa.exists().where(*other.of(side.run), met).correlate(side.table)

    def _ordered(self, query: sa.Select[Any], *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
        return query.order_by(*(one.asc() if self.is_ascending else one.desc() for one in columns))

    def _rows(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        return self.ledger.select(query)


def _side(name: str, value: float | str = 0.0) -> _Side:
    if name in OWN:
        return _Side(RUNS, RUNS.c.run, OWN[name])
    table = RUN_VALUES.alias()
    column = table.c.text if isinstance(value, str) else table.c.number
    return _Side(table, table.c.run, column, (table.c.name == name,))


def _passed(side: _Side, test: Test) -> sa.ColumnElement[bool]:
    met: sa.ColumnElement[bool] = SIGNS[test.sign](side.column, test.value)
    return met


def _ranges(side: _Side, test: Test) -> tuple[sa.ColumnElement[bool], ...]:
    """The same, as ranges of an index: what differs from a value lies below or above it."""
    if test.sign != "!=":
        return (_passed(side, test),)
    below: sa.ColumnElement[bool] = side.column < test.value
    return below, side.column > test.value


def _looked_up(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The same values, in no index: so the row is looked up by its run, and the run not sought among all rows."""
    return column.concat("") if isinstance(column.type, sa.String) else column + 0
