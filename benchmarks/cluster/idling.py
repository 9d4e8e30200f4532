"""scale to zero on Alibaba's GenTD26 image requests: idle replica-hours of each model's replica, beside a keep-alive.

python benchmarks/cluster/idling.py [--data FOLDER] [--budget CPU_SECONDS]

One replica for each model (or each group of users); the rule is chosen on the first half. Beside every rule stands the
keep-alive with as many cold starts as it has, so that hours are compared at equal cold-hit rates.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from trimtab.adapters.meters import host
from trimtab.cluster.idling.plan import LIBRARY, IdlingPlan
from trimtab.cluster.idling.policies import keep_alive
from trimtab.cluster.idling.problem import BLOCKS, Idling, least_hours, library
from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.proposers.evolve import Evolve
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules
from trimtab.testing import MemoryLedger

BY = {"model": "checkpoint_model_version_id", "group of users": "groupId"}
LENGTHS = np.array([5, 10, 20, 30, 45, 60, 90, 120, 180, 240, 300, 420, 600, 900, 1200, 1800, 3600, 7200])  # seconds


def main() -> None:
    """Print the tables and write them beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRIMTAB_DATA", "../shared/data")))
    parser.add_argument("--budget", type=float, default=60.0, help="CPU seconds of search")
    given = parser.parse_args()
    source, facts = str(given.data / "traffic" / "alibaba_gentd26_lora_requests.csv.gz"), host()
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}. Second half of the log; chosen on the first "
        f"({given.budget:g} CPU-s). Fewer: idle hours beside the keep-alive with as many cold starts."
    ]
    for title, column in BY.items():
        lines += ["", *table(Idling(source, column), title, given.budget)]
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text + "\n", encoding="utf-8")


def table(problem: Idling, title: str, budget: float) -> list[str]:
    """The rows of one way to tell functions apart."""
    rows = problem.rows("holdout")
    kept = np.array([problem.outcome(IdlingPlan(keep_alive(one)), rows) for one in LENGTHS])
    chosen = _chosen(problem, budget)
    print(f"{title}:\n{chosen.program}")
    lines = [
        f"| one replica for each {title}, {len(problem.calls.names):,} of them | idle hours | cold | fewer | 95 % |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, plan in {**problem.baselines(), **LIBRARY, "trimtab": chosen}.items():
        hours, cold = problem.outcome(plan, rows)
        same = _hours_at(cold, kept)
        low, high = _interval(problem, plan, same)
        lines.append(f"| {name} | {hours:.1f} | {cold:.1%} | {1 - hours / same:.1%} | {low:.1%} to {high:.1%} |")
    cold = problem.outcome(problem.current, rows)[1]
    least = least_hours(problem, rows, cold)
    fewer = 1 - least / _hours_at(cold, kept)
    return [*lines, f"| foresight, nothing loaded ahead of a call | {least:.1f} | {cold:.1%} | {fewer:.1%} | |"]


def _hours_at(cold: float, kept: np.ndarray) -> float:
    """Idle hours of the keep-alive with a share of cold starts, between the lengths that were replayed."""
    return float(np.exp(np.interp(cold, kept[::-1, 1], np.log(kept[::-1, 0]))))


def _interval(problem: Idling, plan: IdlingPlan, same: float) -> tuple[float, float]:
    """A bootstrap over blocks of idle times: of the plan's hours, paired with the five minutes' of the same block."""
    blocks = np.array_split(problem.rows("holdout"), BLOCKS)
    ours = np.array([problem.outcome(plan, block)[0] for block in blocks])
    theirs = np.array([problem.outcome(problem.current, block)[0] for block in blocks])
    rng, scale = np.random.default_rng(0), same / theirs.sum()
    drawn = rng.integers(0, BLOCKS, (4000, BLOCKS))
    low, high = np.quantile(1 - ours[drawn].sum(axis=1) / (scale * theirs[drawn].sum(axis=1)), [0.025, 0.975])
    return float(low), float(high)


def _chosen(problem: Idling, budget: float) -> IdlingPlan:
    decision = optimize(
        problem,
        Portfolio(Rules("library", library), search=Evolve()),
        search=Meter(cpu_seconds=budget),
        check=Meter(),
        ledger=MemoryLedger(),
    )
    return decision.current if decision.winner is None else decision.winner.proposal.plan


if __name__ == "__main__":
    main()
