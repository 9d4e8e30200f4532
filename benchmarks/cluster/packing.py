"""pack on Alibaba's openb pods and nodes (2023): GPUs allocated when 90, 100 and 130 % of them have been asked for.

python benchmarks/cluster/packing.py [--data FOLDER] [--budget CPU_SECONDS]

Pods are drawn until they ask for so much, as in Weng et al. (ATC 2023). The rule is chosen on pods of the first half of
the history. Two tables: pods of the second half, with the first half's mix as the usual one; and, as in the paper, pods
of the whole history with its mix. No placement can do better than the last row of each: a bound by the shares alone.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

from trimtab.adapters.meters import host
from trimtab.cluster.packing.plan import LIBRARY, PEERS, PackingPlan
from trimtab.cluster.packing.problem import LEVELS, Packing, Pool, allocation, at_most, drawn, library
from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.proposers.evolve import Evolve
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules
from trimtab.testing import MemoryLedger

ORDERS = 10
FULL = LEVELS.index(1.0)
FIRST_SEED = 1000  # none that the search or the loop has seen


def main() -> None:
    """Print the tables and write them beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRIMTAB_DATA", "../shared/data")))
    parser.add_argument("--budget", type=float, default=120.0, help="CPU seconds of search")
    given = parser.parse_args()
    folder, facts = given.data / "jobs", host()
    problem = Packing(
        str(folder / "alibaba_openb_2023_pods.csv.gz"), str(folder / "alibaba_openb_2023_nodes.csv"), "openb"
    )
    plan, by = _chosen(problem, given.budget)
    print(f"chosen by {by}:\n{plan.program}")
    rules = {"spread": problem.current, **PEERS, **LIBRARY, "trimtab": plan}
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}. {problem.fleet.gpus:,.0f} GPUs, mean of "
        f"{ORDERS} orders of arrival; chosen on the first half's pods ({given.budget:g} CPU-s)."
    ]
    pools: dict[Pool, str] = {"holdout": "pods of the second half", "all": "pods of the whole history"}
    for pool, title in pools.items():
        lines += ["", f"| {title} | {' | '.join(f'{level:.0%}' for level in LEVELS)} | against FGD at 100 % |"]
        lines += ["|---|" + "---:|" * (len(LEVELS) + 1)]
        made = {name: _allocated(problem, one, pool) for name, one in rules.items()}
        for name, values in made.items():
            lines.append(
                f"| {name} | {' | '.join(f'{one:.2%}' for one in values.mean(axis=0))} | {_gain(values, made['fgd'])} |"
            )
        most = np.mean([at_most(problem, pool, FIRST_SEED + order) for order in range(ORDERS)], axis=0)
        lines.append(f"| any placement, at most | {' | '.join(f'{one:.2%}' for one in most)} | |")
    arrivals, start = len(drawn(problem.fleet, "all", 7)), time.process_time()
    allocation(problem, PEERS["fgd"], "all", 7)
    lines += [
        "",
        f"{arrivals:,} pods on {len(problem.fleet.sizes):,} nodes by FGD: {time.process_time() - start:.2f} CPU-s.",
    ]
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text + "\n", encoding="utf-8")


def _chosen(problem: Packing, budget: float) -> tuple[PackingPlan, str]:
    decision = optimize(
        problem,
        Portfolio(Rules("library", library), search=Evolve()),
        search=Meter(cpu_seconds=budget),
        check=Meter(),
        ledger=MemoryLedger(),
    )
    if decision.winner is None:
        return decision.current, "nobody: the current rule stays"
    return decision.winner.proposal.plan, decision.winner.proposal.by


def _allocated(problem: Packing, plan: PackingPlan, pool: Pool) -> np.ndarray:
    return np.array([allocation(problem, plan, pool, FIRST_SEED + order) for order in range(ORDERS)])


def _gain(made: np.ndarray, peer: np.ndarray) -> str:
    """Points more at 100 %, with twice the standard error of the pairs."""
    off = 100 * (made[:, FULL] - peer[:, FULL])
    return f"{off.mean():+.2f} ± {2 * off.std(ddof=1) / np.sqrt(len(off)):.2f}"


if __name__ == "__main__":
    main()
