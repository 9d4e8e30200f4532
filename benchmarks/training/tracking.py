"""The tracker beside MLflow: CPU of a small run, time to import, and listing among very many runs.

python benchmarks/training/tracking.py [--runs 1000000] [--small 300]

MLflow lives in an environment of its own under .bench, made by this script; it logs the same run (3 parameters, 3
metrics of 5 steps) into SQLite by its own client, in one process, as trimtab does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import sqlalchemy as sa

from trimtab.adapters.ledger import open_ledger
from trimtab.adapters.ledger_rows import RUN_VALUES, RUNS
from trimtab.adapters.meters import host
from trimtab.training.tracking.index import Condition, Wanted, listed

HERE = Path(__file__).parent
PEER = "mlflow-skinny==3.17.2"
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
        theirs = timed(peer(), THEIRS, max(20, given.small // 5), Path(folder))
        queries = among_many(Path(folder) / "many.db", given.runs)
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}",
        "",
        "| tracker | import, s | CPU ms a small run | wall ms a small run |",
        "|---|---:|---:|---:|",
        f"| trimtab | {ours[0]:.2f} | {ours[1]:.2f} | {ours[2]:.2f} |",
        f"| {PEER} | {theirs[0]:.2f} | {theirs[1]:.2f} | {theirs[2]:.2f} |",
        f"| ratio | {theirs[0] / ours[0]:.1f} | {theirs[1] / ours[1]:.1f} | {theirs[2] / ours[2]:.1f} |",
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


def peer() -> Path:
    """The peer's Python."""
    place = Path(".bench") / "mlflow"
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        wanted = [PEER, "sqlalchemy<2.1", "alembic"]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted], check=True)
    return python.absolute()


def among_many(place: Path, count: int) -> list[tuple[str, float, float]]:
    """Milliseconds of listings. The index is filled directly: a million runs through `track` would take 20 minutes."""
    ledger = open_ledger(place)
    rng = np.random.default_rng(0)
    engine = sa.create_engine(f"sqlite:///{place}")
    with engine.begin() as connection:
        for start in range(0, count, 50_000):
            numbers = range(start, min(count, start + 50_000))
            auc, rate = rng.uniform(0.5, 1, len(numbers)), 10 ** rng.uniform(-4, 0, len(numbers))
            connection.execute(sa.insert(RUNS), [run_row(at) for at in numbers])
            values = []
            for at, first, second in zip(numbers, auc, rate, strict=True):
                run = f"{at * 2654435761 % 2**32:08x}{at:08x}"
                values.append({"name": "auc", "run": run, "is_metric": True, "number": float(first), "text": None})
                values.append({"name": "rate", "run": run, "is_metric": False, "number": float(second), "text": None})
                kind = "wide" if at % 1000 else "rare"
                values.append({"name": "kind", "run": run, "is_metric": False, "number": None, "text": kind})
            connection.execute(sa.insert(RUN_VALUES), values)
    queries = {
        "newest": Wanted(),
        "best auc": Wanted(by="auc"),
        "auc > 0.9999, newest": Wanted((Condition.parse("auc > 0.9999"),)),
        "auc > 0.6 (80 % of all), newest": Wanted((Condition.parse("auc > 0.6"),)),
        "kind = rare, best auc": Wanted((Condition.parse("kind = rare"),), by="auc"),
        "name = job7, rate < 0.001, best auc": Wanted(
            (Condition.parse("name = job7"), Condition.parse("rate < 0.001")), by="auc"
        ),
        "status = failed, newest": Wanted((Condition.parse("status = failed"),)),
        "longest": Wanted(by="seconds"),
    }
    found = []
    for name, wanted in queries.items():
        times = []
        for _ in range(40):
            began = time.perf_counter()
            assert len(listed(ledger, wanted)) == min(20, count)
            times.append(1000 * (time.perf_counter() - began))
        found.append((name, median(times), float(np.quantile(times, 0.95))))
    return found


def run_row(at: int) -> dict[str, object]:
    """A run as the index holds it."""
    return {
        "run": f"{at * 2654435761 % 2**32:08x}{at:08x}", "position": at, "name": f"job{at % 50}", "by": "track",
        "began": f"2026-{1 + at % 12:02d}-{1 + at % 28:02d}T{at % 24:02d}:00:00+00:00",
        "status": "failed" if at % 97 == 0 else "done", "seconds": float(at % 10_007), "cpu_seconds": 1.0,
        "peak_bytes": 10**8,
    }  # fmt: skip


if __name__ == "__main__":
    main()
