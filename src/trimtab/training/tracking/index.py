"""Finds runs among very many: by name, state, time, and by what a parameter or metric was."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from trimtab.adapters.ledger import SqlLedger
from trimtab.adapters.ledger_rows import EVENTS, RUN_VALUES, RUNS, recorded
from trimtab.core.errors import InputError
from trimtab.core.events import RunBegan, RunEnded
from trimtab.training.tracking.finding import OWN, Test, runs_that_pass

CONDITION = re.compile(r"^\s*(?P<name>[^<>=!]+?)\s*(?P<sign><=|>=|!=|==|=|<|>)\s*(?![<>=!])(?P<value>.*?)\s*$")
RECENT = 2000  # beginnings that are looked through for runs without an end


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
    """The runs that meet all conditions. Raises InputError for a text where a number belongs."""
    tests = [_test(one) for one in wanted.where]
    runs = runs_that_pass(ledger, tests, wanted.by or "began", wanted.is_ascending, wanted.limit)
    rows = {row.run: row for row in ledger.select(sa.select(RUNS).where(RUNS.c.run.in_(runs)))} if runs else {}
    values = _values(ledger, runs)
    return [
        Listed(
            row.run, row.name, row.by, row.status, row.began, row.seconds, row.cpu_seconds, row.peak_bytes,
            *values.get(row.run, ({}, {})),
        )
        for row in (rows[run] for run in runs)
    ]  # fmt: skip


def lost(ledger: SqlLedger, limit: int = 20) -> list[RunBegan]:
    """Of the latest that began: runs under way, and those whose process was killed. Newest first."""
    began = sa.select(EVENTS).where(EVENTS.c.kind == RunBegan.__name__).order_by(EVENTS.c.position.desc())
    recent = began.limit(RECENT).subquery()
    has_ended = sa.exists().where(RUNS.c.run == recent.c.study)
    query = sa.select(recent).where(~has_ended).order_by(recent.c.position.desc()).limit(limit)
    return [recorded(row).event for row in ledger.select(query)]


def found(ledger: SqlLedger, run: str) -> RunEnded:
    """A run by its number or the start of it. Raises InputError when it is not known or not unique."""
    query = sa.select(RUNS.c.run, RUNS.c.position).where(RUNS.c.run.between(run, run + "\x7f")).limit(2)
    rows = ledger.select(query)
    if not rows:  # no longer in the index, perhaps (`retention`)
        ended = (EVENTS.c.kind == RunEnded.__name__) & EVENTS.c.study.between(run, run + "\x7f")
        rows = ledger.select(sa.select(EVENTS.c.position).where(ended).limit(2))
    if len(rows) != 1:
        what = "is not in the ledger" if not rows else "is the start of several runs"
        raise InputError(f"{run!r} {what}", hint="`trimtab runs` lists them")
    (row,) = ledger.select(sa.select(EVENTS).where(EVENTS.c.position == rows[0].position))
    event = recorded(row).event
    assert isinstance(event, RunEnded)
    return event


def _test(one: Condition) -> Test:
    number = _number(one.value)
    if one.name in OWN:
        is_text = isinstance(OWN[one.name].type, sa.String)
        if not is_text and number is None:
            raise InputError(f"{one.name} is a number, not {one.value!r}", hint=f"such as '{one.name} > 10'")
        return Test(one.name, one.sign, one.value if is_text or number is None else number)
    return Test(one.name, one.sign, one.value if number is None else number)


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
