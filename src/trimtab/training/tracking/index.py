"""Finds runs among very many: by name, state, time, and by what a parameter or metric was."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from trimtab.adapters.ledger import SqlLedger
from trimtab.adapters.ledger_rows import EVENTS, RUN_VALUES, RUNS, recorded
from trimtab.core.errors import InputError
from trimtab.core.events import RunBegan, RunEnded

OWN = {
    "seconds": RUNS.c.seconds, "cpu_seconds": RUNS.c.cpu_seconds, "peak_bytes": RUNS.c.peak_bytes,
    "began": RUNS.c.began, "name": RUNS.c.name, "by": RUNS.c.by, "status": RUNS.c.status,
}  # fmt: skip
SIGNS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le, ">=": operator.ge, "!=": operator.ne, "=": operator.eq, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
CONDITION = re.compile(r"^\s*(?P<name>[^<>=!]+?)\s*(?P<sign><=|>=|!=|==|=|<|>)\s*(?P<value>.*?)\s*$")


@dataclass(frozen=True, slots=True)
class Condition:
    """Of a run: its own fact, a parameter or a metric against a value."""

    name: str
    sign: str
    value: str

    @staticmethod
    def parse(text: str) -> Condition:
        """Such as 'auc >= 0.9', 'status = done'. Raises InputError."""
        found = CONDITION.match(text)
        if found is None or not found["name"]:
            raise InputError(f"{text!r} is no condition", hint="such as 'auc >= 0.9', 'lightgbm.num_leaves=31'")
        return Condition(found["name"], found["sign"].replace("==", "="), found["value"])


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs, in which order, how many. by: a fact, parameter or metric; newest first without one."""

    where: tuple[Condition, ...] = ()
    by: str = ""
    is_ascending: bool = False
    limit: int = 20


@dataclass(frozen=True, slots=True)
class Listed:
    """A run as it is listed."""

    run: str
    name: str
    by: str
    status: str
    began: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    parameters: Mapping[str, float | str] = field(default_factory=dict)
    metrics: Mapping[str, float | str] = field(default_factory=dict)


def listed(ledger: SqlLedger, wanted: Wanted) -> list[Listed]:
    """The runs that meet all conditions."""
    query = sa.select(RUNS)
    for one in wanted.where:
        query = query.where(_met(one))
    rows = ledger.select(_ordered(query, wanted).limit(wanted.limit))
    values = _values(ledger, [row.run for row in rows])
    return [
        Listed(
            row.run, row.name, row.by, row.status, row.began, row.seconds, row.cpu_seconds, row.peak_bytes,
            *values.get(row.run, ({}, {})),
        )
        for row in rows
    ]  # fmt: skip


def lost(ledger: SqlLedger, limit: int = 20) -> list[RunBegan]:
    """Runs that began and have not ended: under way, or their process was killed. Newest first."""
    ended = sa.select(RUNS.c.run)
    query = sa.select(EVENTS).where((EVENTS.c.kind == RunBegan.__name__) & EVENTS.c.study.not_in(ended))
    return [recorded(row).event for row in ledger.select(query.order_by(EVENTS.c.position.desc()).limit(limit))]


def found(ledger: SqlLedger, run: str) -> RunEnded:
    """A run by its number or the start of it. Raises InputError when it is not known or not unique."""
    query = sa.select(RUNS.c.run, RUNS.c.position).where(RUNS.c.run.between(run, run + "\x7f")).limit(2)
    rows = ledger.select(query)
    if len(rows) != 1:
        what = "is not in the ledger" if not rows else "is the start of several runs"
        raise InputError(f"{run!r} {what}", hint="`trimtab runs` lists them")
    (row,) = ledger.select(sa.select(EVENTS).where(EVENTS.c.position == rows[0].position))
    event = recorded(row).event
    assert isinstance(event, RunEnded)
    return event


def _met(one: Condition) -> sa.ColumnElement[bool]:
    compare = SIGNS[one.sign]
    number = _number(one.value)
    if one.name in OWN:
        column = OWN[one.name]
        if isinstance(column.type, sa.Float | sa.BigInteger) and number is None:
            raise InputError(f"{one.name} is a number, not {one.value!r}", hint=f"such as '{one.name} > 10'")
        is_text = isinstance(column.type, sa.String)
        return sa.cast(compare(column, one.value if is_text else number), sa.Boolean)
    value = RUN_VALUES.c.text if number is None else RUN_VALUES.c.number
    wanted: Any = one.value if number is None else number
    runs = sa.select(RUN_VALUES.c.run).where((RUN_VALUES.c.name == one.name) & compare(value, wanted))
    return RUNS.c.run.in_(runs)


def _ordered(query: sa.Select[Any], wanted: Wanted) -> sa.Select[Any]:
    if wanted.by and wanted.by not in OWN:
        value = RUN_VALUES.c.number
        joined = query.join(RUN_VALUES, RUN_VALUES.c.run == RUNS.c.run).where(
            (RUN_VALUES.c.name == wanted.by) & value.is_not(None)
        )
        return joined.order_by(value.asc() if wanted.is_ascending else value.desc(), RUN_VALUES.c.run)
    column = OWN[wanted.by or "began"]
    return query.order_by(column.asc() if wanted.is_ascending else column.desc())


def _values(ledger: SqlLedger, runs: Sequence[str]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    made: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    if runs:
        for row in ledger.select(sa.select(RUN_VALUES).where(RUN_VALUES.c.run.in_(runs))):
            kept = made.setdefault(row.run, ({}, {}))[1 if row.is_metric else 0]
            kept[row.name] = row.text if row.number is None else row.number
    return made


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
