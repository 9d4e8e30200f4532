"""The ledger in a database: SQLite (WAL) by default, PostgreSQL by URL. Append-only and hash-chained.

Any one changed byte in a stored row is found by `first_broken`, and so is a row that is missing, added or moved; the
head row holds the last position and hash, so that a cut-off tail is found as well. What the chain cannot find is a
forger who rewrites every row from some place on, and the head with them (or puts back an older copy of the whole
file): note the head's hash elsewhere (`trimtab ledger verify` prints it).

Durability: every append is one transaction that outlives `kill -9`. Decisions, changes and ends of stages are synced
to disk before `append` returns; in SQLite, measurements are synced with the next of these or at a checkpoint (a power
cut, not a crash, may cost the last of them, and then leaves a shorter chain that is whole). PostgreSQL syncs each.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from trimtab.adapters.files import make_store
from trimtab.adapters.ledger_rows import (
    EVENTS,
    GUARDS,
    HEAD,
    METADATA,
    RUN_VALUES,
    RUNS,
    chained,
    hashed,
    indexed,
    recorded,
)
from trimtab.core.errors import InputError, OutsideError
from trimtab.core.events import (
    ChangeDone,
    ChangeIntended,
    Decided,
    Event,
    Recorded,
    RolloutMoved,
    RunEnded,
    StageEnded,
)

E = TypeVar("E", bound=Event)

_SYNCED = (Decided, ChangeIntended, ChangeDone, StageEnded, RolloutMoved)
_LOCK = 7_286_234_512  # an arbitrary number of ours, for PostgreSQL's advisory lock
_ADDRESS = "postgresql+psycopg://user@host/name, or the path of a file"
_FORGOTTEN = 500  # runs in one statement
_PAGE = 5_000  # rows read at once while verifying
_READ_HEAD = sa.select(HEAD.c.position, HEAD.c.sha256)
_INSERT, _INSERT_RUN, _INSERT_VALUES = sa.insert(EVENTS), sa.insert(RUNS), sa.insert(RUN_VALUES)
_MOVE_HEAD = sa.update(HEAD).values(position=sa.bindparam("to"), sha256=sa.bindparam("hash"))


class SqlLedger:
    """A ledger behind a SQLAlchemy engine. Any number of processes may append to the same one."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None
        self._lock = threading.RLock()  # one connection, and any number of threads
        self._syncs: bool | None = None

    def append(self, *events: Event) -> None:
        """Append events in one transaction. Raises OutsideError when the database does not take them."""
        if not events:
            return
        is_synced = any(isinstance(event, _SYNCED) for event in events)
        with self._guarded(), self._writing(is_synced) as connection:
            row = connection.execute(_READ_HEAD).one()
            rows = chained(events, row.position, row.sha256)
            connection.execute(_INSERT, rows)
            connection.execute(_MOVE_HEAD, {"to": rows[-1]["position"], "hash": rows[-1]["sha256"]})
            for at, event in enumerate(events, row.position + 1):
                if isinstance(event, RunEnded):
                    _index(connection, event, at)

    def events(self, kind: type[E], *, study: str | None = None) -> Iterator[Recorded[E]]:
        """Events of one kind, oldest first."""
        query = sa.select(EVENTS).where(EVENTS.c.kind == kind.__name__).order_by(EVENTS.c.position)
        if study is not None:
            query = query.where(EVENTS.c.study == study)
        for row in self._rows(query):
            yield recorded(row)

    def trail(self, study: str, decision: str) -> Iterator[Recorded[Event]]:
        """Everything of one study and the changes made by its decision, oldest first."""
        changes = [ChangeIntended.__name__, ChangeDone.__name__]
        query = sa.select(EVENTS).where(
            (EVENTS.c.study == study) | (EVENTS.c.kind.in_(changes) & (EVENTS.c.study == decision))
        )
        for row in self._rows(query.order_by(EVENTS.c.position)):
            yield recorded(row)

    def count(self, kind: type[Event]) -> int:
        """How many events there are of one kind."""
        query = sa.select(sa.func.count()).select_from(EVENTS).where(EVENTS.c.kind == kind.__name__)
        return int(self._rows(query)[0][0])

    def head(self) -> tuple[int, str]:
        """The last position and its hash."""
        (row,) = self._rows(_READ_HEAD)
        return int(row.position), str(row.sha256)

    def first_broken(self) -> int | None:
        """The first position whose row, or whose absence, breaks the chain; None when it is whole."""
        heads = [(one.position, one.sha256) for one in self._rows(_READ_HEAD)]  # first: others may append meanwhile
        before, expected = "", 1
        is_head_seen = heads == [(0, "")]
        for row in self._all_rows():
            if row.position != expected or not _is_intact(row, before):
                return expected
            before, expected = row.sha256, expected + 1
            is_head_seen = is_head_seen or heads == [(row.position, row.sha256)]
        return None if is_head_seen else expected

    def _all_rows(self) -> Iterator[sa.Row[Any]]:
        query = sa.select(EVENTS).order_by(EVENTS.c.position).limit(_PAGE)
        rows = self._rows(query)
        while rows:
            yield from rows
            rows = self._rows(query.where(EVENTS.c.position > rows[-1].position))

    def select(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """Rows of a query on the tables of `ledger_rows`."""
        return self._rows(query)

    def forget(self, runs: Sequence[str]) -> None:
        """Take runs out of the index, which lists and filters; their events stay."""
        with self._guarded(), self._writing(False) as connection:
            for at in range(0, len(runs), _FORGOTTEN):
                some = runs[at : at + _FORGOTTEN]
                for table in (RUN_VALUES, RUNS):
                    connection.execute(sa.delete(table).where(table.c.run.in_(some)))

    def close(self) -> None:
        """Give up the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._syncs = None
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
            if self._syncs is not is_synced:
                connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if is_synced else 'NORMAL'}")
                self._syncs = is_synced
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
        with self._lock:
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
    engine = _sqlite(url) if url.get_backend_name() == "sqlite" else _postgres(url)
    try:
        _prepare(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        raise _explained(error, url) from error
    return SqlLedger(engine)


def ledger_in(folder: Path) -> SqlLedger:
    """The ledger of a folder, made if need be, or the one that TRIMTAB_LEDGER names. Raises as `open_ledger`."""
    return open_ledger(os.environ.get("TRIMTAB_LEDGER") or make_store(folder) / "ledger.db")


def _prepare(engine: sa.Engine) -> None:
    if {HEAD.name, RUN_VALUES.name} <= set(sa.inspect(engine).get_table_names()):
        return
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        METADATA.create_all(connection)
        for statement in GUARDS.get(engine.dialect.name, ()):
            connection.exec_driver_sql(statement)
        if connection.execute(sa.select(HEAD.c.one)).first() is None:
            connection.execute(sa.insert(HEAD).values(one=1, position=0, sha256=""))
        connection.commit()


def _index(connection: sa.Connection, event: RunEnded, position: int) -> None:
    run, values = indexed(event, position)
    connection.execute(_INSERT_RUN, run)
    if values:
        connection.execute(_INSERT_VALUES, values)


def _url(place: str | Path) -> sa.URL:
    if isinstance(place, Path) or "://" not in place:
        file = Path(place)
        if not file.parent.is_dir():
            raise InputError(f"{file.parent} is not a folder", hint="make it first")
        return sa.URL.create("sqlite", database=str(file))
    try:
        url = sa.make_url(place)
    except (SQLAlchemyError, ValueError):
        raise InputError(f"{place!r} is no database address", hint=_ADDRESS) from None
    if url.get_backend_name() not in GUARDS:
        raise InputError(f"a ledger lies in SQLite or PostgreSQL, not in {url.get_backend_name()}", hint=_ADDRESS)
    return url


def _postgres(url: sa.URL) -> sa.Engine:
    try:
        return sa.create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise InputError(f"the driver {error.name!r} is missing", hint="pip install 'trimtab[postgres]'") from None


def _sqlite(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool, connect_args={"timeout": 60, "check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: pysqlite's own would come too late
        connection.execute("PRAGMA journal_mode=WAL")
        # Bytes that are no text reach the chain's check, which finds them, rather than stop it.
        connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")

    return engine


def _is_intact(row: sa.Row[Any], before: str) -> bool:
    try:
        return bool(hashed(row.position, row.at, row.kind, row.study, row.body, before) == row.sha256)
    except TypeError:  # bytes or a number where a text belongs
        return False


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
