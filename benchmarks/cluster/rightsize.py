"""rightsize on Alibaba's GenTD26 pods: idle share of memory requests and pods ever over them, on time that nobody saw.

python benchmarks/cluster/rightsize.py [--data FOLDER] [--budget CPU_SECONDS]

Requests are made of the first half of each pod's day and held against the second, each from a rule that was learnt on
other pods; the loop chose on the first half alone. Three rows are none that could be had: foresight asks for what a pod
will use at most, or (with the risk spent) leaves out the pods for which that costs most; hindsight is the best of many
drawn rules, fitted to the very half that it is held against.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from trimtab.adapters.meters import host
from trimtab.cluster.rightsizing.measure import View, foresight, interval, outcomes
from trimtab.cluster.rightsizing.plan import SizingPlan, peers
from trimtab.cluster.rightsizing.problem import Rightsizing, ideas, library
from trimtab.cluster.rightsizing.rule import drawn, signs_of
from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.proposers.evolve import Evolve
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules, Turns
from trimtab.proposers.search import Search
from trimtab.testing import MemoryLedger

RISK = 0.05
HINDSIGHT_DRAWS = 20_000
HOUR = 3600.0


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
    seen = problem.view("holdout")
    rules = {**peers("memory"), "highest use + 40 %": SizingPlan("krr", margin=0.4), "learnt": SizingPlan("learnt")}
    made = {name: problem.outcomes(one, "holdout") for name, one in rules.items()}
    made["learnt, 10 % asked"] = replace(problem, risk=0.1).outcomes(SizingPlan("learnt"), "holdout")
    made["trimtab"] = problem.outcomes(plan, "holdout")
    made["hindsight"] = _hindsight(seen)
    peaks = foresight(seen.futures, seen.floor)
    made["foresight"] = outcomes(peaks, seen.futures)
    made["foresight, the risk spent"] = _spent(*made["foresight"])
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}. Memory of {len(seen.futures)} pods; at most "
        f"{RISK:.0%} ever over asked for; chosen on the first half ({given.budget:g} CPU-s).",
        _together(problem),
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


def _together(problem: Rightsizing) -> str:
    """How many pods went over KRR's requests at once: what comes over many together, no pod's past foretells."""
    over = np.flatnonzero(problem.outcomes(peers("memory")["krr"], "holdout")[1])
    seen, when = problem.view("holdout"), []
    for place in over:
        used, half = seen.fleet.pods[place].used, len(seen.pasts[place])
        first = half + int(np.argmax(used[half:] > 1.15 * used[:half].max()))
        when.append(float(seen.fleet.pods[place].times[first]))
    most = max(int(((np.array(when) >= start) & (np.array(when) < start + HOUR)).sum()) for start in when)
    return f"Of the {len(over)} pods that went over KRR's request, {most} did so within one hour."


def _hindsight(seen: View) -> tuple[np.ndarray, np.ndarray]:
    """The drawn rule that leaves least idle of those that keep the risk, all fitted to what they are held against."""
    rng, best = np.random.default_rng(0), (np.ones(1), np.ones(1))
    peaks, looks = seen.looks(1.0)
    signs, tops = signs_of(looks), foresight(seen.futures, seen.floor) / peaks
    for _ in range(HINDSIGHT_DRAWS):
        rule = drawn(rng)
        levels = rule.levels(looks)
        needs = np.sort((tops - levels) / np.maximum(levels * rule.margins(signs), 1e-9))[::-1]
        factor = max(0.0, float(needs[int(RISK * len(needs))])) * (1 + 1e-9)
        made = outcomes(np.minimum(1.0, peaks * levels * (1 + factor * rule.margins(signs))), seen.futures)
        if made[1].mean() <= RISK and made[0].mean() < best[0].mean():
            best = made
    return best


def _spent(slack: np.ndarray, over: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Foresight that leaves out as many pods as may be over, where covering costs most: nothing of theirs is idle."""
    out = np.argsort(-slack)[: int(RISK * len(slack))]
    slack, over = slack.copy(), over.copy()
    slack[out], over[out] = 0.0, True
    return slack, over


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
