"""Trials a second into the SQLite ledger, beside plain sqlite3 inserts of the same rows and the same durability.

A trial is a Measured and a Judged event, appended one call each, as the loop does.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import tempfile
import time
from pathlib import Path

from trimtab.adapters.ledger import SqlLedger, open_ledger
from trimtab.core.events import ChangeDone, Judged, Measured
from trimtab.core.model import Comparison, Interval, Measurement, Sample, Spend

COLUMNS = "position, at, kind, study, body, sha256"


def main() -> None:
    """Print the table and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--folder", default=None, help="on the disk to measure; a temporary folder by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        table = measured(Path(folder), given.trials)
    print(table)
    Path(__file__).with_suffix(".md").write_text(table, encoding="utf-8")


def measured(folder: Path, trials: int) -> str:
    """The table as markdown."""
    ledger = open_ledger(folder / "ledger.db")
    wall, cpu = timed(lambda: fill(ledger, trials))
    changes = 200
    change_wall, _ = timed(lambda: sync(ledger, changes))
    ledger.close()
    rows = read_rows(folder / "ledger.db")[: 2 * trials]
    plain, plain_cpu = timed(lambda: insert(folder / "plain.db", rows, "NORMAL"))
    full, full_cpu = timed(lambda: insert(folder / "full.db", rows, "FULL"))
    lines = [
        f"# Ledger: {trials} trials (Measured + Judged, one append each) into SQLite (WAL)",
        "",
        "| what | trials/s | ms a trial | CPU ms a trial | wall, plain NORMAL = 1 |",
        "|---|---:|---:|---:|---:|",
        line("trimtab's ledger: hash chain, not synced each", trials, wall, cpu, plain),
        line("plain sqlite3, synchronous=NORMAL", trials, plain, plain_cpu, plain),
        line("plain sqlite3, synchronous=FULL (an fsync each)", trials, full, full_cpu, plain),
        "",
        f"A change (ChangeDone, synced to disk before append returns): {1000 * change_wall / changes:.2f} ms.",
        "",
        f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, load {os.getloadavg()[0]:.1f}",
    ]
    return "\n".join(lines) + "\n"


def line(what: str, trials: int, wall: float, cpu: float, base: float) -> str:
    """One row."""
    return (
        f"| {what} | {trials / wall:.0f} | {1000 * wall / trials:.2f} | {1000 * cpu / trials:.2f} | {wall / base:.2f} |"
    )


def timed(work: object) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()  # type: ignore[operator]
    return time.perf_counter() - wall, time.process_time() - cpu


def fill(ledger: SqlLedger, trials: int) -> None:
    """Append trials as the loop does."""
    gain = Interval(-0.1, 0.2, 0.3)
    for n in range(trials):
        plan, key = {"size": n, "mode": "thread"}, f"{n:016x}"
        outcome = Measurement({"cost": n / 7, "risk": n / 3}, "run", Spend(0.01, 0.02))
        ledger.append(Measured("study", plan, key, Sample("search", n % 5), outcome))
        verdict = Comparison("no_better", "the interval holds zero", gain, {"cost": 1.0}, {"cost": 1.1}, "run")
        ledger.append(Judged("study", plan, key, "tpe", "", verdict))


def sync(ledger: SqlLedger, changes: int) -> None:
    """Append events that are synced."""
    for n in range(changes):
        ledger.append(ChangeDone(f"c-{n}", "d-1", "file", "apply", True))


def read_rows(path: Path) -> list[tuple[object, ...]]:
    """The rows that the ledger wrote."""
    with sqlite3.connect(path) as connection:
        return connection.execute(f"SELECT {COLUMNS} FROM trimtab_events ORDER BY position").fetchall()


def insert(path: Path, rows: list[tuple[object, ...]], synchronous: str) -> None:
    """Insert the same rows, each in a transaction of its own."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute(f"CREATE TABLE t ({COLUMNS}, PRIMARY KEY (position))")
    for row in rows:
        connection.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", row)
    connection.close()


if __name__ == "__main__":
    main()
