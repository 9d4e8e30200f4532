"""The tracker beside MLflow: CPU of a small run, time to import, and listing among very many runs.

python benchmarks/training/tracking.py [--runs 1000000] [--small 300]

MLflow, and its small edition, live in environments of their own under .bench, made by this script. They log the same
run (3 parameters, 3 metrics of 5 steps) into SQLite, their default, by their own client, in one process, as trimtab
does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np
import sqlalchemy as sa

from trimtab.adapters.ledger import SqlLedger, open_ledger
from trimtab.adapters.ledger_rows import RUN_VALUES, RUNS
from trimtab.adapters.meters import host
from trimtab.training.tracking.index import Condition, Wanted, listed

HERE = Path(__file__).parent
PEERS = {"mlflow": ["mlflow==3.17.2"], "mlflow-skinny": ["mlflow-skinny==3.17.2", "sqlalchemy<2.1", "alembic"]}
TIMED = """
import json, os, resource, sys, time
def used(): return sum(sum(resource.getrusage(one)[:2]) for one in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
count = int(sys.argv[1])
began = time.perf_counter()
{start}
imported = time.perf_counter() - began
{run}
one_run(0)
cpu, wall = used(), time.perf_counter()
for at in range(count): one_run(at)
print(json.dumps([imported, 1000 * (used() - cpu) / count, 1000 * (time.perf_counter() - wall) / count]))
"""
OURS = {
    "start": "import trimtab\ntrimtab.track",
    "run": """
def one_run(at):
    with trimtab.track("small") as run:
        run.parameters(depth=at, rate=0.1, kind="wide")
        for step in range(5): run.log(step, loss=1 / (1 + step), auc=0.5 + step / 10, f1=0.4)
""",
}
THEIRS = {
    "start": "import mlflow\nmlflow.set_tracking_uri('sqlite:///mlflow.db')",
    "run": """
def one_run(at):
    with mlflow.start_run():
        mlflow.log_params(dict(depth=at, rate=0.1, kind="wide"))
        for step in range(5): mlflow.log_metrics(dict(loss=1 / (1 + step), auc=0.5 + step / 10, f1=0.4), step=step)
""",
}


def main() -> None:
    """Print the tables and write them beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=300)
    given = parser.parse_args()
    facts = host()
    with tempfile.TemporaryDirectory() as folder:
        ours = timed(Path(sys.executable), OURS, given.small, Path(folder))
        theirs = {name: timed(peer(name), THEIRS, max(20, given.small // 5), Path(folder)) for name in PEERS}
        queries = among_many(filled(Path(folder) / "many.db", given.runs))
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}",
        "",
        "| tracker | import, s | CPU ms a small run | wall ms a small run |",
        "|---|---:|---:|---:|",
        f"| trimtab | {ours[0]:.2f} | {ours[1]:.2f} | {ours[2]:.2f} |",
        *(line for name, found in theirs.items() for line in rows_of(name, ours, found)),
        "",
        f"Listing 20 of {given.runs:,} runs (SQLite, warm; 40 times each):",
        "",
        "| query | median ms | p95 ms |",
        "|---|---:|---:|",
        *(f"| {name} | {middle:.1f} | {high:.1f} |" for name, middle, high in queries),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if given.runs >= 1_000_000:
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def rows_of(name: str, ours: list[float], theirs: list[float]) -> list[str]:
    """A peer's costs, and how many times ours they are."""
    ratios = " | ".join(f"{their / our:.1f} ×" for our, their in zip(ours, theirs, strict=True))
    return [f"| {PEERS[name][0]} | {theirs[0]:.2f} | {theirs[1]:.2f} | {theirs[2]:.2f} |", f"| to trimtab | {ratios} |"]


def timed(python: Path, parts: dict[str, str], count: int, folder: Path) -> list[float]:
    """(import seconds, CPU ms, wall ms a run) in a process of its own; the best import of three."""
    code = TIMED.format(**parts)
    found = []
    for _ in range(3):
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        done = subprocess.run([str(python), "-c", code, str(count)], cwd=folder, capture_output=True, text=True,
                              check=True, env=environment)  # fmt: skip
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return [min(one[0] for one in found), median(one[1] for one in found), median(one[2] for one in found)]


def peer(name: str) -> Path:
    """A peer's Python."""
    place = Path(".bench") / name
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PEERS[name]], check=True)
    return python.absolute()


def filled(place: Path, count: int) -> SqlLedger:
    """A ledger whose index holds so many runs. It is filled directly: through `track` it would take 20 minutes."""
    ledger = open_ledger(place)
    rng = np.random.default_rng(0)
    runs = [f"{at * 2654435761 % 2**32:08x}{at:08x}" for at in range(count)]
    auc, rate = rng.uniform(0.5, 1, count), 10 ** rng.uniform(-4, 0, count)
    indexes = [*RUNS.indexes, *RUN_VALUES.indexes]
    engine = sa.create_engine(f"sqlite:///{place}")
    with engine.begin() as connection:
        for one in indexes:
            one.drop(connection)
        raw = connection.connection.cursor()
        raw.executemany(f"INSERT INTO {RUNS.name} VALUES (?,?,?,?,?,?,?,?,?)", map(run_row, runs, range(count)))
        values = f"INSERT INTO {RUN_VALUES.name} VALUES (?,?,?,?,?)"
        raw.executemany(values, ((run, name, name == "auc", float(value), None)
                                 for name, column in (("auc", auc), ("rate", rate))
                                 for run, value in zip(runs, column, strict=True)))  # fmt: skip
        kinds = ("wide" if at % 1000 else "rare" for at in range(count))
        raw.executemany(values, ((run, "kind", False, None, kind) for run, kind in zip(runs, kinds, strict=True)))
        for one in indexes:
            one.create(connection)
    return ledger


def among_many(ledger: SqlLedger) -> list[tuple[str, float, float]]:
    """Milliseconds of listings."""
    queries = {
        "newest": Wanted(),
        "best auc": Wanted(by="auc"),
        "auc > 0.9999, newest": Wanted((Condition.parse("auc > 0.9999"),)),
        "auc > 0.6 (80 % of all), newest": Wanted((Condition.parse("auc > 0.6"),)),
        "kind = rare, best auc": Wanted((Condition.parse("kind = rare"),), by="auc"),
        "name = job7, rate < 0.001, best auc": Wanted(
            (Condition.parse("name = job7"), Condition.parse("rate < 0.001")), by="auc"
        ),
        "rate < 0.01 (half), auc > 0.6, newest": Wanted((Condition.parse("rate < 0.01"), Condition.parse("auc > 0.6"))),
        "rate < 0.01 (half), lowest auc above 0.6": Wanted(
            (Condition.parse("rate < 0.01"), Condition.parse("auc > 0.6")), by="auc", is_ascending=True
        ),
        "name = job7, rate < 0.0002 (1 in 666), best auc": Wanted(
            (Condition.parse("name = job7"), Condition.parse("rate < 0.0002")), by="auc"
        ),
        "kind != wide (1 in 1000), newest": Wanted((Condition.parse("kind != wide"),)),
        "kind != rare, best auc": Wanted((Condition.parse("kind != rare"),), by="auc"),
        "auc > 0.6, name = job7, longest": Wanted(
            (Condition.parse("auc > 0.6"), Condition.parse("name = job7")), by="seconds"
        ),
        "status = failed, newest": Wanted((Condition.parse("status = failed"),)),
        "longest": Wanted(by="seconds"),
    }
    found = []
    for name, wanted in queries.items():
        times = []
        for _ in range(40):
            began = time.perf_counter()
            assert len(listed(ledger, wanted)) == wanted.limit
            times.append(1000 * (time.perf_counter() - began))
        found.append((name, median(times), float(np.quantile(times, 0.95))))
        print(*found[-1], flush=True)
    return found


def run_row(run: str, at: int) -> tuple[object, ...]:
    """A run as the index holds it, in the order of its columns."""
    began = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=30 * at)).isoformat(timespec="microseconds")
    state = "failed" if at % 97 == 0 else "done"
    return (run, at, began, f"job{at % 50}", "track", state, float(at % 10_007), 1.0, 10**8)


if __name__ == "__main__":
    main()
