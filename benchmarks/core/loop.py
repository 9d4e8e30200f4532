"""What the loop itself costs a trial: an empty measurement, in this process, into memory and into SQLite.

One trial is a proposal, its measurements on the ladder's seeds, its verdict and the events of all of these.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from trimtab.adapters.ledger import open_ledger
from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.core.model import Brief, Evidence, Ladder, Measurement, Objective, Proposal, Rung, Sample
from trimtab.core.ports import Ledger
from trimtab.core.space import Int
from trimtab.testing import MemoryLedger

LIMIT_MS = 2.0


@dataclass(frozen=True)
class Number:
    n: Annotated[int, Int(0, 1_000_000)] = 0


@dataclass(frozen=True)
class Nothing:
    """A problem whose measurements cost nothing."""

    seeds: int = 1
    name: str = "nothing"
    goal: str = "lower the cost"
    plan_type: type[Number] = Number

    @property
    def objective(self) -> Objective:
        return Objective("cost", "min")

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(1.0, self.seeds),), holdout_seeds=2)

    def observe(self) -> Evidence:
        return Evidence({}, "nowhere", datetime(2026, 1, 1, tzinfo=UTC))

    def baselines(self) -> Mapping[str, Number]:
        return {"current": Number(0)}

    def measure(self, plan: Number, sample: Sample) -> Measurement:
        return Measurement({"cost": 1.0 + plan.n % 7 + sample.seed % 3}, "simulation")


class Count:
    """Proposes 1, 2, 3, … ten at a time."""

    name = "count"

    def __init__(self, limit: int) -> None:
        self._next, self._limit = 1, limit

    def propose(self, brief: Brief[Any]) -> Sequence[Proposal[Any]]:
        first, self._next = self._next, min(self._next + 10, self._limit + 1)
        return [Proposal(Number(n), self.name) for n in range(first, self._next)]


def main() -> None:
    """Print the table and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    lines = [f"# The loop's own cost: {trials} trials with an empty measurement (at most {LIMIT_MS:g} ms a trial)", ""]
    lines += ["| ledger | seeds a trial | ms a trial | CPU ms a trial |", "|---|---:|---:|---:|"]
    for seeds in (1, 5):
        lines.append(row("memory", seeds, trials, MemoryLedger()))
        with tempfile.TemporaryDirectory() as folder:
            ledger = open_ledger(Path(folder) / "ledger.db")
            lines.append(row("SQLite", seeds, trials, ledger))
            ledger.close()
    lines += ["", f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}"]
    table = "\n".join(lines) + "\n"
    print(table)
    Path(__file__).with_suffix(".md").write_text(table, encoding="utf-8")


def row(name: str, seeds: int, trials: int, ledger: Ledger) -> str:
    """One study."""
    wall, cpu = time.perf_counter(), time.process_time()
    decision = optimize(Nothing(seeds), Count(trials), search=Meter(), check=Meter(), ledger=ledger)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    count = len(decision.trials)
    assert count == trials, decision.stopped
    return f"| {name} | {seeds} | {1000 * wall / count:.2f} | {1000 * cpu / count:.2f} |"


if __name__ == "__main__":
    main()
