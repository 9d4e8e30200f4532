"""rightsize on Alibaba's GenTD26 pods: idle share of memory requests and pods ever over them, on time that nobody saw.

python benchmarks/cluster/rightsize.py [--data FOLDER] [--budget CPU_SECONDS]

Requests are made of the first half of each pod's day and held against the second, each from a rule that was learnt on
other pods; the loop chose on the first half alone. Foresight asks for what a pod will use at most.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from trimtab.adapters.meters import host
from trimtab.cluster.rightsizing.measure import foresight, interval, outcomes
from trimtab.cluster.rightsizing.plan import SizingPlan, peers
from trimtab.cluster.rightsizing.problem import Rightsizing, ideas, library
from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.proposers.evolve import Evolve
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules, Turns
from trimtab.proposers.search import Search
from trimtab.testing import MemoryLedger

RISK = 0.05


def main() -> None:
    """Print the table and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRIMTAB_DATA", "../shared/data")))
    parser.add_argument("--budget", type=float, default=60.0, help="CPU seconds of search")
    given = parser.parse_args()
    source = str(given.data / "rightsizing" / "alibaba_gentd26_pod_memory_util_anon.csv.gz")
    problem, facts = Rightsizing(source, "memory", RISK), host()
    plan, by = _chosen(problem, given.budget)
    print(f"chosen by {by}: {plan}")
    rules = {**peers("memory"), "highest use + 40 %": SizingPlan("krr", margin=0.4), "learnt": SizingPlan("learnt")}
    seen = problem.view("holdout")
    made = {name: problem.outcomes(one, "holdout") for name, one in {**rules, "trimtab": plan}.items()}
    made["foresight"] = outcomes(foresight(seen.futures, seen.floor), seen.futures)
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}. Memory of {len(seen.futures)} pods; at most "
        f"{RISK:.0%} ever over asked for; chosen on the first half ({given.budget:g} CPU-s).",
        "",
        "| rule | slack | 95 % | pods ever over | 95 % |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, (slack, over) in made.items():
        (low, high), (few, many) = interval(slack), interval(np.asarray(over, float))
        lines.append(
            f"| {name} | {slack.mean():.1%} | {low:.1%} to {high:.1%} | {np.mean(over):.1%} | {few:.1%} to {many:.1%} |"
        )
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text + "\n", encoding="utf-8")


def _chosen(problem: Rightsizing, budget: float) -> tuple[SizingPlan, str]:
    decision = optimize(
        problem,
        Portfolio(
            Rules("ideas", ideas), Rules("library", library), search=Turns(Search(fixed={"kind": "learnt"}), Evolve())
        ),
        search=Meter(cpu_seconds=budget),
        check=Meter(),
        ledger=MemoryLedger(),
    )
    if decision.winner is None:
        return decision.current, "nobody: the current rule stays"
    return decision.winner.proposal.plan, decision.winner.proposal.by


if __name__ == "__main__":
    main()
