"""A run's beginning and end as events of the ledger."""

from __future__ import annotations

import functools
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trimtab.adapters.ledger import SqlLedger
from trimtab.adapters.meters import host
from trimtab.core.events import Event, Kept, RunBegan, RunEnded
from trimtab.core.model import Json, Spend
from trimtab.training.tracking.surroundings import code, data_hashes, environment

POINTS = 1000  # of a curve
NAME = 200  # characters


@dataclass(frozen=True)
class Origin:
    """Whose run this is, from when on."""

    name: str
    by: str
    command: tuple[str, ...]
    place: Path
    run: str = field(default_factory=lambda: secrets.token_hex(8))
    began: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="microseconds"))


@dataclass(frozen=True)
class Outcome:
    """What a run was given and what came of it. paths: of files that it read."""

    status: str
    spent: Spend
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    paths: Sequence[str] = ()
    labels: tuple[tuple[float, float, str], ...] = ()
    changes: tuple[Mapping[str, Json], ...] = ()
    notes: tuple[str, ...] = ()


def write_began(ledger: SqlLedger, origin: Origin) -> None:
    """Say that a run is under way: should its process be killed, the ledger still knows of it."""
    ledger.append(RunBegan(origin.run, origin.name[:NAME], origin.by, origin.began, origin.command, _machine()))


def write_ended(ledger: SqlLedger, origin: Origin, outcome: Outcome) -> RunEnded:
    """Put a run into the ledger, and the texts that it names if they are new there."""
    found, texts = code(origin.command, origin.place)
    ended = RunEnded(
        run=origin.run,
        name=origin.name[:NAME],
        by=origin.by,
        status=outcome.status,
        began=origin.began,
        command=origin.command,
        parameters={str(name): plain(value) for name, value in outcome.parameters.items()},
        metrics={str(name): plain(value) for name, value in outcome.metrics.items()},
        curves={name: thinned(curve) for name, curve in outcome.curves.items()},
        environment=environment().sha256,
        code=found,
        data=data_hashes(outcome.paths),
        host=_machine(),
        spent=outcome.spent,
        labels=outcome.labels,
        changes=outcome.changes,
        notes=outcome.notes,
    )
    news: list[Event] = [one for one in (environment(), *texts) if not _is_known(ledger, one)]
    ledger.append(*news, ended)
    return ended


def plain(value: Any) -> Json:
    """As JSON that any database and reader takes: what is not finite is spelt, what is no plain value is repr'd."""
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return repr(value)


def thinned(curve: Sequence[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """At most so many points of a curve, its first and last among them; NaN and infinity are left out."""
    finite = [(int(step), float(value)) for step, value in curve if math.isfinite(value)]
    if len(finite) <= POINTS:
        return tuple(finite)
    stride = (len(finite) - 1) / (POINTS - 1)
    return tuple(finite[round(at * stride)] for at in range(POINTS))


def without_load(facts: Mapping[str, Json]) -> Mapping[str, Json]:
    """Of a host: what stays the same."""
    return {name: value for name, value in facts.items() if name != "load"}


@functools.cache
def _machine() -> Mapping[str, Json]:
    return without_load(host())


_known: set[tuple[int, str]] = set()


def _is_known(ledger: SqlLedger, text: Kept) -> bool:
    key = id(ledger), text.sha256
    if key not in _known:
        is_there = next(iter(ledger.events(Kept, study=text.sha256)), None) is not None
        _known.add(key)
        return is_there
    return True


def with_notes(outcome: Outcome, notes: Sequence[str]) -> Outcome:
    """The same outcome with more to say of it."""
    return replace(outcome, notes=(*outcome.notes, *notes))
