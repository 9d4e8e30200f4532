"""schedule on the later half of Philly's job log: every policy's mean time in the system over clairvoyant SRSF's.

python benchmarks/cluster/schedule.py [--data FOLDER] [--budget CPU_SECONDS]

One pool of GPUs, of the size at which each half's load is 0.7 or 0.9; a restart costs 60 s (SRSF's, that knows all,
costs nothing). Policies are chosen on the first half; durations are predicted from jobs that had ended by then.
The last table is the simulator's speed, warm, on one core.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from trimtab.adapters.meters import host
from trimtab.cluster.scheduling.cluster import Cluster, Group
from trimtab.cluster.scheduling.joblog import JobLog, read_jobs
from trimtab.cluster.scheduling.measure import Half, History, Replay, foresight, keep_predictions, replayed, rows_of
from trimtab.cluster.scheduling.plan import CLASSICAL, LIBRARY, SchedulingPlan
from trimtab.cluster.scheduling.problem import Scheduling, library
from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.proposers.evolve import Evolve
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules
from trimtab.testing import MemoryLedger

LOADS = (0.7, 0.9)
BLOCKS = 20  # of jobs, for the interval


def main() -> None:
    """Print the tables and write them beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRIMTAB_DATA", "../shared/data")))
    parser.add_argument("--budget", type=float, default=60.0, help="CPU seconds of search for each row of the loop")
    given = parser.parse_args()
    source, facts = str(given.data / "jobs" / "philly_2017_jobs.csv.gz"), host()
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}. Mean time in the system ÷ that of clairvoyant "
        f"shortest remaining service first, unseen half; the loop chose on the first ({given.budget:g} CPU-s)."
    ]
    with tempfile.TemporaryDirectory() as folder:
        for load in LOADS:
            for preemption in (True, False):
                lines += ["", *table(source, Path(folder), load, preemption, given.budget)]
    lines += ["", *speeds(source)]
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text + "\n", encoding="utf-8")


def table(source: str, folder: Path, load: float, preemption: bool, budget: float) -> list[str]:
    """The rows of a load, with or without preemption."""
    log = read_jobs(source)
    second, first = (_pool(log, half, load, preemption) for half in ("holdout", "search"))
    history = History(source, second, before=first)
    history = replace(history, made=str(folder / f"{load}-{preemption}.npz"))
    keep_predictions(history, Path(history.made))
    plans = {name: plan for name, plan in {**CLASSICAL, **LIBRARY}.items() if preemption or not plan.preempts}
    chosen, by = _chosen(history, budget)
    print(f"load {load}, preemption {preemption}, chosen by {by}: {chosen}")
    best = {half: foresight(history, half) for half in ("search", "holdout")}
    title = f"load {load:g}, {second.gpus} GPUs" + ("" if preemption else ", no preemption")
    lines = [f"| {title} | ÷ SRSF | 95 % | preemptions a job | first half |", "|---|---:|---:|---:|---:|"]
    replays = {
        name: (replayed(history, plan, "holdout"), replayed(history, plan, "search"))
        for name, plan in {**plans, "trimtab": chosen}.items()
    }
    if not preemption:
        replays["shortest service first, told every duration"] = (
            foresight(history, "holdout", preempts=False),
            foresight(history, "search", preempts=False),
        )
    for name, (made, before) in replays.items():
        low, high = _interval(made, best["holdout"])
        lines.append(
            f"| {name} | {_ratio(made, best['holdout']):.3f} | {low:.3f} to {high:.3f} | {made.preempted.mean():.2f} | "
            f"{_ratio(before, best['search']):.3f} |"
        )
    return lines


def speeds(source: str) -> list[str]:
    """Events a second on the second half, at a load of 0.7."""
    log = read_jobs(source)
    history = History(source, _pool(log, "holdout", 0.7, True))
    lines = ["| simulator, one core | million job events a second |", "|---|---:|"]
    for name in ("fifo", "skip-fifo", "srsf", "las"):
        replayed(history, CLASSICAL[name], "holdout")
        start = time.process_time()
        made = replayed(history, CLASSICAL[name], "holdout")
        lines.append(f"| {name} | {made.events / (time.process_time() - start) / 1e6:.2f} |")
    return lines


def _pool(log: JobLog, half: Half, load: float, preemption: bool) -> Cluster:
    rows = rows_of(log, half)
    need = float((log.duration[rows] * log.gpus[rows]).sum() / (log.submit[rows.stop - 1] - log.submit[rows.start]))
    return Cluster((Group("pool", 1, round(need / load)),), current="easy", preemption=preemption)


def _chosen(history: History, budget: float) -> tuple[SchedulingPlan, str]:
    problem = Scheduling(history)
    decision = optimize(
        problem,
        Portfolio(Rules("library", library), search=Evolve()),
        search=Meter(cpu_seconds=budget),
        check=Meter(),
        ledger=MemoryLedger(),
    )
    if decision.winner is None:
        return decision.current, "nobody: the current policy stays"
    return decision.winner.proposal.plan, decision.winner.proposal.by


def _ratio(made: Replay, best: Replay) -> float:
    return float(made.taken.mean() / best.taken.mean())


def _interval(made: Replay, best: Replay) -> tuple[float, float]:
    """A bootstrap over blocks of jobs in the order of submission."""
    rng = np.random.default_rng(0)
    blocks = np.array_split(np.arange(len(made.taken)), BLOCKS)
    sums = np.array([[made.taken[one].sum(), best.taken[one].sum()] for one in blocks])
    drawn = sums[rng.integers(0, BLOCKS, (4000, BLOCKS))].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
