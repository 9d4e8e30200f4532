"""The ledger in a database: SQLite (WAL) by default, PostgreSQL by URL. Append-only and hash-chained.

Each row's hash covers its position, time, kind, study, body and the hash before it; the head row holds the last
position and hash, so that a cut-off tail is found as well. What the chain cannot find is a forger who rewrites every
row from some place on, and the head: note the head's hash elsewhere (it is printed by `trimtab ledger verify`).

Durability: every append is one transaction that outlives `kill -9`. Decisions and changes are synced to disk before
`append` returns; in SQLite, measurements are synced with the next of these or at a checkpoint (a power cut, not a
crash, may cost the last of them).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from trimtab.core.errors import InputError, OutsideError
from trimtab.core.events import (
    EVENT_TYPES,
    ChangeDone,
    ChangeIntended,
    Decided,
    Event,
    Recorded,
    StageEnded,
)
from trimtab.core.wire import canonical, load

E = TypeVar("E", bound=Event)

_SYNCED = (Decided, ChangeIntended, ChangeDone, StageEnded)
_KINDS = {kind.__name__: kind for kind in EVENT_TYPES}
_LOCK = 7_286_234_512  # an arbitrary number of ours, for PostgreSQL's advisory lock
_METADATA = sa.MetaData()
EVENTS = sa.Table(
    "trimtab_events",
    _METADATA,
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
    _METADATA,
    sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
)
_GUARDS = {
    "sqlite": (
        "CREATE TRIGGER IF NOT EXISTS trimtab_no_update BEFORE UPDATE ON trimtab_events "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
        "CREATE TRIGGER IF NOT EXISTS trimtab_no_delete BEFORE DELETE ON trimtab_events "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION trimtab_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$",
        "CREATE OR REPLACE TRIGGER trimtab_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON trimtab_events "
        "FOR EACH STATEMENT EXECUTE FUNCTION trimtab_refuse()",
    ),
}


class SqlLedger:
    """A ledger behind a SQLAlchemy engine. Any number of processes may append to the same one."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None

    def append(self, *events: Event) -> None:
        """Append events in one transaction. Raises OutsideError when the database does not take them."""
        if not events:
            return
        is_synced = any(isinstance(event, _SYNCED) for event in events)
        with self._guarded(), self._writing(is_synced) as connection:
            row = connection.execute(sa.select(HEAD.c.position, HEAD.c.sha256)).one()
            rows = _chained(events, row.position, row.sha256)
            connection.execute(sa.insert(EVENTS), rows)
            connection.execute(sa.update(HEAD).values(position=rows[-1]["position"], sha256=rows[-1]["sha256"]))

    def events(self, kind: type[E], *, study: str | None = None) -> Iterator[Recorded[E]]:
        """Events of one kind, oldest first."""
        query = sa.select(EVENTS).where(EVENTS.c.kind == kind.__name__).order_by(EVENTS.c.position)
        if study is not None:
            query = query.where(EVENTS.c.study == study)
        for row in self._rows(query):
            yield Recorded(row.position, _time(row.at), row.sha256, load(kind, json.loads(row.body)))

    def trail(self, study: str, decision: str) -> Iterator[Recorded[Event]]:
        """Everything of one study and the changes made by its decision, oldest first."""
        changes = [ChangeIntended.__name__, ChangeDone.__name__]
        query = sa.select(EVENTS).where(
            (EVENTS.c.study == study) | (EVENTS.c.kind.in_(changes) & (EVENTS.c.study == decision))
        )
        for row in self._rows(query.order_by(EVENTS.c.position)):
            kind: type[Event] = _KINDS[row.kind]
            yield Recorded(row.position, _time(row.at), row.sha256, load(kind, json.loads(row.body)))

    def count(self, kind: type[Event]) -> int:
        """How many events there are of one kind."""
        query = sa.select(sa.func.count()).select_from(EVENTS).where(EVENTS.c.kind == kind.__name__)
        return int(self._rows(query)[0][0])

    def head(self) -> tuple[int, str]:
        """The last position and its hash."""
        (row,) = self._rows(sa.select(HEAD.c.position, HEAD.c.sha256))
        return int(row.position), str(row.sha256)

    def first_broken(self) -> int | None:
        """The first position whose row, or whose absence, breaks the chain; None when it is whole."""
        before, expected = "", 1
        for row in self._rows(sa.select(EVENTS).order_by(EVENTS.c.position)):
            content = _content(row.position, row.at, row.kind, row.study, row.body, before)
            if row.position != expected or hashlib.sha256(content).hexdigest() != row.sha256:
                return expected
            before, expected = row.sha256, expected + 1
        heads = self._rows(sa.select(HEAD.c.position, HEAD.c.sha256))
        is_whole = [(one.position, one.sha256) for one in heads] == [(expected - 1, before)]
        return None if is_whole else expected

    def close(self) -> None:
        """Give up the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._engine.dispose()

    def _rows(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        with self._guarded():
            connection = self._open()
            try:
                return connection.execute(query).all()
            finally:
                connection.rollback()

    def _open(self) -> sa.Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    @contextmanager
    def _writing(self, is_synced: bool) -> Iterator[sa.Connection]:
        """One transaction that no other writer overlaps: the chain has one end only."""
        connection = self._open()
        if self._engine.dialect.name == "sqlite":
            connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if is_synced else 'NORMAL'}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        connection.commit()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise _explained(error, self._engine.url) from error


def open_ledger(place: str | Path) -> SqlLedger:
    """Open or make the ledger at a file or a database URL.

    Raises InputError when the place is not a ledger or an address that is not known, OutsideError when the database
    cannot be reached or written.
    """
    url = _url(place)
    try:
        engine = _sqlite(url) if url.get_backend_name() == "sqlite" else sa.create_engine(url, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise InputError(f"the driver {error.name!r} is missing", hint="pip install 'trimtab[postgres]'") from None
    try:
        _prepare(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        raise _explained(error, url) from error
    return SqlLedger(engine)


def _prepare(engine: sa.Engine) -> None:
    if sa.inspect(engine).has_table(HEAD.name):
        return
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        _METADATA.create_all(connection)
        for statement in _GUARDS.get(engine.dialect.name, ()):
            connection.exec_driver_sql(statement)
        if connection.execute(sa.select(HEAD.c.one)).first() is None:
            connection.execute(sa.insert(HEAD).values(one=1, position=0, sha256=""))
        connection.commit()


def _url(place: str | Path) -> sa.URL:
    if isinstance(place, Path) or "://" not in place:
        file = Path(place)
        if not file.parent.is_dir():
            raise InputError(f"{file.parent} is not a folder", hint="make it first")
        return sa.URL.create("sqlite", database=str(file))
    try:
        return sa.make_url(place)
    except SQLAlchemyError:
        raise InputError(f"{place!r} is no database address", hint="postgresql+psycopg://user@host/name") from None


def _sqlite(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool, connect_args={"timeout": 60, "check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: pysqlite's own would come too late
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")

    return engine


def _chained(events: Sequence[Event], position: int, before: str) -> list[dict[str, Any]]:
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    rows = []
    for event in events:
        position += 1
        kind, study, body = type(event).__name__, _study(event), canonical(event)
        before = hashlib.sha256(_content(position, at, kind, study, body, before)).hexdigest()
        rows.append({"position": position, "at": at, "kind": kind, "study": study, "body": body, "sha256": before})
    return rows


def _content(position: int, at: str, kind: str, study: str, body: str, before: str) -> bytes:
    return json.dumps([position, at, kind, study, body, before], ensure_ascii=False).encode("utf-8", "surrogatepass")


def _study(event: Event) -> str:
    match event:
        case ChangeIntended() | ChangeDone():
            return event.decision
        case StageEnded():
            return event.inputs_key
    return event.study


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _explained(error: SQLAlchemyError, url: sa.URL) -> InputError | OutsideError:
    place = url.render_as_string(hide_password=True)
    reason = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines()[0]
    if "not a database" in reason or "malformed" in reason:
        return InputError(f"{place} is not a ledger: {reason}", hint="name another file")
    hints = {
        "readonly": "choose a folder that you may write",
        "unable to open": "choose a folder that you may write",
        "full": "make room on the disk; nothing was half-written",
        "locked": "another process holds the ledger; try again",
    }
    hint = next((hint for word, hint in hints.items() if word in reason), "is the server up, and the address right?")
    return OutsideError(f"the ledger {place} cannot be used: {reason}", hint=hint)
