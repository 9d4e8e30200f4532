"""balance: p99 latency ÷ that of a router that sees all unfinished work, for known policies and what the loop chose.

python benchmarks/inference/balance.py [--data FOLDER] [--budget CPU_SECONDS] [--fleets NAME ...]

Sizes are lognormal (σ = 1), or drawn from the Azure LLM code trace of 2023 (tokens → seconds by `requests.Tokens`; the
first half of its requests for the search, the second for the report). Arrivals come by chance. Nobody is told what a
request needs: the mean is expected (and, of the Azure sizes, the prompt's share is known). The loop chooses on one half
of the requests; every figure is of the other half, drawn in 8 ways, of which the interval is.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.csv

from trimtab.adapters.meters import host
from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.core.model import Sample
from trimtab.core.statistics import paired_interval
from trimtab.inference.balancing.measure import Fleet, routed
from trimtab.inference.balancing.plan import ASKING, PEERS, RoutingPlan, prequal
from trimtab.inference.balancing.problem import Asked, Balancing, peers
from trimtab.inference.balancing.requests import Tokens, drawn
from trimtab.stages.balance import policies
from trimtab.testing import MemoryLedger

REQUESTS = 80_000
LOADS = (0.85, 0.95)
FLEETS = {
    "1 slot": Fleet(32, 16, 1),
    "2 slots": Fleet(32, 16, 2),
    "4 slots": Fleet(32, 16, 4),
    "2 slots, speeds 0.5 to 1.5": Fleet(32, 16, 2, speeds=(0.5, 1.0, 1.5, 1.0)),
}


def main() -> None:
    """Print the tables and write them beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRIMTAB_DATA", "../shared/data")))
    parser.add_argument("--budget", type=float, default=8.0, help="CPU seconds of search for each figure")
    parser.add_argument("--fleets", nargs="*", default=list(FLEETS), choices=list(FLEETS))
    given = parser.parse_args()
    facts = host()
    text = (
        f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}; {speed():.1f} M requests/s routed by two "
        "choices, CPU time, warm\n"
    )
    for fleet in given.fleets:
        text += "\n" + "\n".join(table(fleet, given.data, given.budget)) + "\n"
    text += "\n" + "\n".join(caches(given.data, given.budget)) + "\n"
    print(text)
    if given.fleets == list(FLEETS):
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def table(name: str, data: Path, budget: float) -> list[str]:
    """One fleet: every policy under each kind of sizes and each load, as a multiple of the oracle."""
    columns, chosen = [], []
    with tempfile.TemporaryDirectory() as folder:
        for sizes in ("lognormal", "Azure LLM"):
            for load in LOADS:
                problem = _problem(Path(folder), FLEETS[name], (sizes, load), data)
                plan = _chosen(problem, budget)
                columns.append((f"{sizes} {load:.0%}", _ratios(problem, plan)))
                chosen.append((f"{sizes} {load:.0%}", plan))
    lines = [
        f"### 32 backends of {name}, 16 routers: p99 ÷ oracle, unseen half",
        "| policy | " + " | ".join(head for head, _ in columns) + " | probes a request |",
        "|---|" + "---:|" * (len(columns) + 1),
    ]
    for policy in columns[0][1]:
        cells = " | ".join(found[policy][0] for _, found in columns)
        lines.append(f"| {policy} | {cells} | {max(found[policy][1] for _, found in columns):.2f} |")
    lines += ["", "Chosen:"]
    lines += [f"- {head}: {_told(plan)}" for head, plan in chosen]
    return lines


def _problem(folder: Path, fleet: Fleet, case: tuple[str, float], data: Path) -> Balancing:
    """Requests of two halves that share nothing but their law, each at the load, as a log."""
    sizes, load = case
    halves = [_half(number, sizes, data) for number in range(2)]
    to = folder / f"{sizes}-{load}.csv"
    tokens, now, lines = Tokens(), 0.0, []
    for number, rows in enumerate(halves):
        needs = rows[:, 0] * tokens.input_seconds + rows[:, 1] * tokens.output_seconds
        made = drawn(load * fleet.capacity / float(needs.mean()), needs, seed=number)
        lines += [f"{now + at:.6f},{row[0]:.6f},{row[1]:.6f}" for at, row in zip(made.times, rows, strict=True)]
        now += float(made.times[-1])
    to.write_text("time,input_tokens,output_tokens\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return Balancing(Asked(str(to), fingerprint=f"{sizes} {load} {fleet}"), fleet)


def caches(data: Path, budget: float) -> list[str]:
    """Prefill backends with prefix caches under the Mooncake trace, in its own order: no oracle knows such caches."""
    file = data / "traffic" / "mooncake_fast25_conversation.jsonl.gz"
    if not file.exists():
        raise SystemExit(f"{file} is not there: name the folder of the data sets with --data or TRIMTAB_DATA")
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "mooncake.csv"
        with gzip.open(file, "rt") as source, to.open("w") as table:
            table.write("time,input_tokens,output_tokens,blocks\n")
            for one in map(json.loads, source):
                blocks = " ".join(map(str, one["hash_ids"]))
                table.write(f"{one['timestamp'] / 1000},{one['input_length']},0,{blocks}\n")
        # Prefill only, as Mooncake runs it: other machines decode. 1,500 blocks of 512 tokens are kept.
        fleet, tokens = Fleet(16, 16, 1, cached_blocks=1500), replace(Tokens(), output_seconds=0.0)
        problem = Balancing(Asked(str(to), 0.9, tokens, "mooncake"), fleet)
        plan = _chosen(problem, budget)
        lines = [
            "### 16 prefill backends with caches, 16 routers, Mooncake trace, 90 % load without caches, unseen half"
        ]
        lines += ["| policy | p99 s | mean s | share of prefixes found |", "|---|---:|---:|---:|"]
        for name, one in {**peers(fleet), "best guess asked": ASKING, "trimtab, chosen": plan}.items():
            made = [problem.measure(one, Sample("holdout", seed)).metrics for seed in range(problem.seeds)]
            p99, mean, found = (
                np.mean([x[key] for x in made]) for key in ("p99_seconds", "mean_seconds", "prefix_found")
            )
            lines.append(f"| {name} | {p99:.2f} | {mean:.3f} | {found:.1%} |")
        return [*lines, "", f"Chosen: {_told(plan)}"]


def _told(plan: RoutingPlan) -> str:
    body = "; ".join(line.strip() for line in plan.program.strip().splitlines()[1:])
    asks = f"{plan.probes:.2f} probes ({plan.asks}{', waited for' if plan.waits else ''})"
    return f"{plan.candidates}, {asks}, reports on {plan.reports}: `{body}`"


def _half(number: int, sizes: str, data: Path) -> np.ndarray:
    """(requests, 2): input and output tokens of a half."""
    rng = np.random.default_rng([number, 7])
    if sizes == "lognormal":
        tokens = 0.1 / Tokens().output_seconds * rng.lognormal(-0.5, 1.0, REQUESTS // 2)
        return np.stack([np.zeros_like(tokens), tokens], axis=1)
    file = data / "traffic" / "azure_llm_2023_code.csv.gz"
    if not file.exists():
        raise SystemExit(f"{file} is not there: name the folder of the data sets with --data or TRIMTAB_DATA")
    with gzip.open(file) as source:
        trace = pyarrow.csv.read_csv(source)
    rows = np.stack([trace["ContextTokens"].to_numpy(), trace["GeneratedTokens"].to_numpy()], axis=1).astype(float)
    part = rows[: len(rows) // 2] if number == 0 else rows[len(rows) // 2 :]
    return part[rng.integers(0, len(part), REQUESTS // 2)]


def _chosen(problem: Balancing, budget: float) -> RoutingPlan:
    decision = optimize(
        problem, policies(), search=Meter(cpu_seconds=budget), check=Meter(), ledger=MemoryLedger()
    )  # fmt: skip
    return decision.current if decision.winner is None else decision.winner.proposal.plan


def _ratios(problem: Balancing, chosen: RoutingPlan) -> dict[str, tuple[str, float]]:
    """By policy: the mean ratio with its interval over the draws of the unseen half, and the probes a request."""
    samples = [Sample("holdout", seed) for seed in range(problem.seeds)]
    oracle = [problem.reference("oracle", one) for one in samples]
    plans = {
        **peers(problem.fleet),
        "prequal, 3 probes": prequal(3.0, problem.fleet.backends),
        "best guess asked": ASKING,
        "best guess asked, probes alone": replace(ASKING, reports="probes"),
        "trimtab, chosen": chosen,
    }
    found = {}
    for name, plan in plans.items():
        made = [problem.measure(plan, one).metrics for one in samples]
        ratios = [one["p99_seconds"] / best for one, best in zip(made, oracle, strict=True)]
        found[name] = (_shown(ratios), max(one["probes_a_request"] for one in made))
    jsq = [problem.reference("jsq", one) / best for one, best in zip(samples, oracle, strict=True)]
    found["JSQ, seeing all requests"] = (_shown(jsq), 0.0)
    return found


def _shown(ratios: list[float]) -> str:
    interval = paired_interval(ratios)
    return f"{interval.mid:.2f} ± {interval.high - interval.mid:.2f}"


def speed() -> float:
    """Millions of requests a second of CPU time through the simulator, two choices, once it is compiled."""
    fleet, load = Fleet(32, 16, 1), drawn(0.85 * 32, np.random.default_rng(0).exponential(1.0, 2_000_000), 0)
    routed(PEERS["p2c"], load, fleet, 0)
    start = time.process_time()
    routed(PEERS["p2c"], load, fleet, 0)
    return 2.0 / (time.process_time() - start)


if __name__ == "__main__":
    main()
