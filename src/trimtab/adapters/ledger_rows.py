"""How the ledger lies in a database: its tables, the triggers that refuse changes, and the hash chain of its rows.

Each row's hash covers its position, time, kind, study, body and the hash before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from trimtab.core.errors import OutsideError
from trimtab.core.events import EVENT_TYPES, Event, Recorded, RunEnded, filed_under
from trimtab.core.model import Json
from trimtab.core.wire import dump, load

KINDS = {kind.__name__: kind for kind in EVENT_TYPES}
METADATA = sa.MetaData()
EVENTS = sa.Table(
    "trimtab_events",
    METADATA,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("study", sa.String(64), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Index("trimtab_events_by_study", "study", "kind", "position"),
    sa.Index("trimtab_events_by_kind", "kind", "position"),
)
HEAD = sa.Table(
    "trimtab_head",
    METADATA,
    sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
)
# An index of the runs that have ended, made from their events: it can be made again, and is no evidence itself.
RUNS = sa.Table(
    "trimtab_runs",
    METADATA,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("began", sa.String(32), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("by", sa.String(16), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("cpu_seconds", sa.Float, nullable=False),
    sa.Column("peak_bytes", sa.BigInteger, nullable=False),
    sa.Index("trimtab_runs_by_time", "began"),
    sa.Index("trimtab_runs_by_name", "name", "began"),
    sa.Index("trimtab_runs_by_status", "status", "began"),
    sa.Index("trimtab_runs_by_seconds", "seconds"),
    sa.Index("trimtab_runs_by_cpu_seconds", "cpu_seconds"),
    sa.Index("trimtab_runs_by_peak_bytes", "peak_bytes"),
)
RUN_VALUES = sa.Table(
    "trimtab_run_values",
    METADATA,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("is_metric", sa.Boolean, primary_key=True),
    sa.Column("number", sa.Float),
    sa.Column("text", sa.Text),
    sa.Index("trimtab_run_values_by_number", "name", "number", "run"),
    sa.Index("trimtab_run_values_by_text", "name", "text", "run"),
    sqlite_with_rowid=False,  # a run's values lie together, and are looked up in the table itself
)
GUARDS = {
    "sqlite": (
        "CREATE TRIGGER IF NOT EXISTS trimtab_no_update BEFORE UPDATE ON trimtab_events "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
        "CREATE TRIGGER IF NOT EXISTS trimtab_no_delete BEFORE DELETE ON trimtab_events "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
        "CREATE TRIGGER IF NOT EXISTS trimtab_no_head_delete BEFORE DELETE ON trimtab_head "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION trimtab_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$",
        "CREATE OR REPLACE TRIGGER trimtab_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON trimtab_events "
        "FOR EACH STATEMENT EXECUTE FUNCTION trimtab_refuse()",
        "CREATE OR REPLACE TRIGGER trimtab_no_head_delete BEFORE DELETE OR TRUNCATE ON trimtab_head "
        "FOR EACH STATEMENT EXECUTE FUNCTION trimtab_refuse()",
    ),
}


def chained(events: Sequence[Event], position: int, before: str) -> list[dict[str, Any]]:
    """The rows of events that follow a position and its hash. Raises ValueError or TypeError for what is not JSON."""
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    rows = []
    for event in events:
        position += 1
        # ASCII: every database takes it whatever its encoding, lone surrogates and NUL included.
        body = json.dumps(dump(event), sort_keys=True, separators=(",", ":"), allow_nan=False)
        kind, study = type(event).__name__, filed_under(event)
        before = hashed(position, at, kind, study, body, before)
        rows.append({"position": position, "at": at, "kind": kind, "study": study, "body": body, "sha256": before})
    return rows


def indexed(event: RunEnded, position: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The rows of a run in the index: its own, and one for each parameter and metric."""
    run = {
        "run": event.run, "position": position, "began": event.began, "name": event.name, "by": event.by,
        "status": event.status, "seconds": event.spent.wall_seconds, "cpu_seconds": event.spent.cpu_seconds,
        "peak_bytes": event.spent.peak_rss_bytes,
    }  # fmt: skip
    values = []
    for is_metric, named in ((False, event.parameters), (True, event.metrics)):
        for name, value in named.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            number, text = (float(value), None) if is_number else (None, _spelled(value))  # type: ignore[arg-type]
            values.append({"name": name, "run": event.run, "is_metric": is_metric, "number": number, "text": text})
    return run, values


def _spelled(value: Json) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")  # what every database takes


def hashed(position: int, at: str, kind: str, study: str, body: str, before: str) -> str:
    """SHA-256 of a row's content and the hash before it."""
    content = json.dumps([position, at, kind, study, body, before])  # escapes make it unambiguous, and ASCII
    return hashlib.sha256(content.encode("ascii")).hexdigest()


def recorded(row: sa.Row[Any]) -> Recorded[Any]:
    """A row as an event. Raises OutsideError when the row cannot be read as what it says that it is."""
    try:
        event = load(KINDS[row.kind], json.loads(row.body))
        return Recorded(row.position, datetime.fromisoformat(row.at), row.sha256, event)
    except (KeyError, ValueError) as error:
        reason = f"the ledger's row {row.position} cannot be read: {error}"
        raise OutsideError(reason, hint="`trimtab ledger verify` finds what was changed") from None
