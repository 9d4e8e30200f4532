"""The SQL ledger: its chain, its durability and what it says when a database cannot be used."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trimtab.adapters.ledger import SqlLedger, open_ledger
from trimtab.core.errors import InputError, OutsideError
from trimtab.core.events import ChangeDone, ChangeIntended, Judged
from trimtab.core.model import Refusal

COLUMNS = ("at", "kind", "study", "body", "sha256")


def judged(study: str, plan: int, by: str = "w") -> Judged:
    return Judged(study, plan, f"k{plan}", by, "", Refusal("failed", "naïve ✗"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A small ledger's file."""
    ledger = open_ledger(tmp_path / "ledger.db")
    ledger.append(judged("s-1", 1), judged("s-2", 2))
    ledger.append(ChangeDone("c-1", "d-1", "memory", "apply", True))
    ledger.close()
    return tmp_path / "ledger.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty ledger's place, on either database."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    make: Callable[[], str] = request.getfixturevalue("new_database")
    return make()


def forge(path: Path, statement: str, *values: object) -> None:
    """Change a ledger behind its back, triggers off."""
    with sqlite3.connect(path) as connection:
        for name in ("trimtab_no_update", "trimtab_no_delete", "trimtab_no_head_delete"):
            connection.execute(f"DROP TRIGGER IF EXISTS {name}")
        connection.execute(statement, values)
    connection.close()


def broken(path: Path) -> int | None:
    ledger = open_ledger(path)
    try:
        return ledger.first_broken()
    finally:
        ledger.close()


def changed_bytes(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """Every stored text with one byte of it changed, as (position, column, text)."""
    connection = sqlite3.connect(path)
    names = ", ".join(f"CAST({name} AS BLOB)" for name in COLUMNS)
    rows = connection.execute(f"SELECT position, {names} FROM trimtab_events").fetchall()
    connection.close()
    for position, *texts in rows:
        for name, text in zip(COLUMNS, texts, strict=True):
            for at in range(len(text)):
                # One flipped low bit stays text; a high bit is no UTF-8 any more.
                flip = 0x80 if at % 7 == 3 else 1 << (at % 6)
                yield position, name, text[:at] + bytes([text[at] ^ flip]) + text[at + 1 :]


def test_finds_any_one_changed_byte(path: Path) -> None:
    ledger = open_ledger(path)
    forge(path, "SELECT 1")
    writer = sqlite3.connect(path, isolation_level=None)
    tried = 0
    for position, column, text in changed_bytes(path):
        kept = writer.execute(f"SELECT {column} FROM trimtab_events WHERE position = ?", (position,)).fetchone()[0]
        change = f"UPDATE trimtab_events SET {column} = CAST(? AS TEXT) WHERE position = ?"
        writer.execute(change, (text, position))
        assert ledger.first_broken() == position, f"{column} of row {position}: {text!r}"
        writer.execute(change, (kept, position))
        tried += 1
    assert ledger.first_broken() is None
    assert tried > 500
    writer.close()


@pytest.mark.parametrize(
    ("forgery", "first"),
    [
        ("DELETE FROM trimtab_events WHERE position = 2", 2),
        ("DELETE FROM trimtab_events WHERE position = 3", 3),
        ("DELETE FROM trimtab_events", 1),
        ("DELETE FROM trimtab_head", 4),
        ("UPDATE trimtab_events SET position = 9 WHERE position = 2", 2),
        ("UPDATE trimtab_events SET position = 0 WHERE position = 3", 1),
        ("UPDATE trimtab_events SET body = CAST(body AS BLOB) WHERE position = 2", 2),
        ("UPDATE trimtab_head SET position = 2", 4),
        ("UPDATE trimtab_head SET sha256 = ''", 4),
        ("INSERT INTO trimtab_events SELECT 7, at, kind, study, body, sha256 FROM trimtab_events LIMIT 1", 4),
    ],
)
def test_finds_rows_that_are_missing_moved_or_added(path: Path, forgery: str, first: int) -> None:
    assert broken(path) is None
    forge(path, forgery)
    assert broken(path) == first


def test_says_which_row_cannot_be_read(path: Path) -> None:
    forge(path, "UPDATE trimtab_events SET body = '{' WHERE position = 2")
    with pytest.raises(OutsideError, match="row 2 cannot be read"):
        list(open_ledger(path).events(Judged))


def test_any_flipped_byte_of_the_file_is_found_or_changes_nothing_that_is_stored(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    whole = path.read_bytes()
    rows = sqlite3.connect(path).execute("SELECT * FROM trimtab_events ORDER BY position").fetchall()
    for at in range(0, len(whole), 97):
        forged = path.with_name(f"forged-{at}.db")
        forged.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with contextlib.suppress(InputError, OutsideError):  # no longer a database: that is found, too
            assert broken(forged) is not None or _rows(forged) == rows, f"byte {at}"
        forged.unlink()


def _rows(path: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT * FROM trimtab_events ORDER BY position").fetchall()
    finally:
        connection.close()


def test_refuses_changes_in_the_database_itself(place: str) -> None:
    import sqlalchemy as sa

    ledger = open_ledger(place)
    ledger.append(judged("s-1", 1))
    engine = sa.create_engine(place if "://" in place else f"sqlite:///{place}")
    statements = ("UPDATE trimtab_events SET body = ''", "DELETE FROM trimtab_events", "DELETE FROM trimtab_head")
    for statement in statements:
        with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="append-only"):
            connection.execute(sa.text(statement))
    engine.dispose()
    assert ledger.first_broken() is None
    assert [one.event.plan for one in ledger.events(Judged)] == [1]
    ledger.close()


def writer(place: str, study: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.adapters.ledger_writer", place, study, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_that_write_at_once_keep_one_chain(place: str) -> None:
    writers = [writer(place, f"s-{n}", 30) for n in range(3)]  # they also race to make the tables
    assert [one.wait(120) for one in writers] == [0, 0, 0]
    ledger = open_ledger(place)
    assert ledger.first_broken() is None
    assert ledger.head()[0] == 270
    for n in range(3):
        assert [one.event.plan for one in ledger.events(Judged, study=f"s-{n}")] == list(range(90))
    ledger.close()


def test_a_killed_writer_loses_nothing_that_was_appended(place: str) -> None:
    for after in (0, 7, 23):
        killed = writer(place, f"s-{after}", 1_000_000)
        assert killed.stdout is not None
        told = [int(line) for line, _ in zip(killed.stdout, range(after + 1), strict=False)][-1]
        killed.send_signal(signal.SIGKILL)
        killed.wait(30)
        ledger = open_ledger(place)
        plans = [one.event.plan for one in ledger.events(Judged, study=f"s-{after}")]
        assert len(plans) >= 3 * (told + 1), "what append returned from is there"
        assert plans == list(range(len(plans)))
        assert len(plans) % 3 == 0, "an append is all or nothing"
        assert ledger.first_broken() is None
        ledger.append(judged("after", 1))
        assert ledger.first_broken() is None
        ledger.close()


def test_threads_share_one_ledger(place: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    ledger = open_ledger(place)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: ledger.append(judged("s", n)), range(80)))
    assert ledger.head()[0] == 80
    assert ledger.first_broken() is None
    ledger.close()


def test_gives_the_whole_trail_of_a_decision(place: str) -> None:
    ledger = open_ledger(place)
    ledger.append(judged("s-1", 1), judged("s-2", 2))
    ledger.append(
        ChangeIntended("c", "d-1", "memory", "apply", None, 1), ChangeDone("c", "d-1", "memory", "apply", True)
    )
    ledger.append(ChangeIntended("c", "d-2", "memory", "apply", None, 1))
    assert [one.position for one in ledger.trail("s-1", "d-1")] == [1, 3, 4]
    ledger.close()


def test_changes_are_synced_and_measurements_are_not_each(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.db")
    levels = []
    for event in (judged("s", 1), ChangeDone("c", "d", "memory", "apply", True), judged("s", 2)):
        ledger.append(event)
        levels.append(_synchronous(ledger))
    assert levels == [1, 2, 1], "NORMAL, FULL, NORMAL"


def _synchronous(ledger: SqlLedger) -> int:
    return int(ledger._open().exec_driver_sql("PRAGMA synchronous").scalar_one())


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database, but a long enough text to have a header " * 20)
    with pytest.raises(InputError, match=r"notes\.txt is not a ledger"):
        open_ledger(file)


@pytest.mark.parametrize("address", ["mysql://host/name", "nonsense://x", "://", "oracle+x://a:b@c/d"])
def test_an_address_that_is_not_known_says_what_is(address: str) -> None:
    with pytest.raises(InputError) as caught:
        open_ledger(address)
    assert "postgresql+psycopg://" in caught.value.hint


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        open_ledger(tmp_path / "nowhere" / "ledger.db")


def test_a_place_that_cannot_be_opened_is_the_operators_to_mend(tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match="unable to open"):
        open_ledger(tmp_path)


def test_a_server_that_cannot_be_reached_does_not_tell_the_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(OutsideError) as caught:
        open_ledger("postgresql+psycopg://me:secret@127.0.0.1:1/none?connect_timeout=2")
    assert "secret" not in str(caught.value)


def fill(ledger: SqlLedger) -> None:
    for n in range(100):
        ledger.append(judged("s", n, "x" * 3000))


def test_a_full_disk_leaves_the_chain_whole(path: Path) -> None:
    ledger = open_ledger(path)
    ledger._open().exec_driver_sql("PRAGMA max_page_count=20")  # what SQLite itself does when no page is left
    ledger._open().rollback()
    with pytest.raises(OutsideError, match="full") as caught:
        fill(ledger)
    assert "room" in caught.value.hint
    assert ledger.first_broken() is None
    ledger.close()
    assert broken(path) is None


def test_a_file_that_may_only_be_read_says_so(path: Path) -> None:
    ledger = open_ledger(path)
    ledger._open().exec_driver_sql("PRAGMA query_only=ON")
    ledger._open().rollback()
    with pytest.raises(OutsideError, match="readonly"):
        ledger.append(judged("s", 1))
    ledger.close()


@pytest.mark.parametrize("text", ["\ud800", "\x00", "\U0001f600", "ü" * 3000])
def test_keeps_any_text(place: str, text: str) -> None:
    ledger = open_ledger(place)
    ledger.append(judged("s", 1, text))
    assert [one.event.by for one in ledger.events(Judged)] == [text]
    assert ledger.first_broken() is None
    ledger.close()
