"""defer on a year of carbon intensities that nothing was chosen on: every policy with every forecast, and the loop's.

python benchmarks/cluster/carbon.py [--data FOLDER] [--budget CPU_SECONDS]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from trimtab.adapters.meters import host
from trimtab.cluster.deferring.forecasts import BLENDS, KINDS, LEARNED
from trimtab.cluster.deferring.measure import Known, keep_forecasts, waited
from trimtab.cluster.deferring.plan import WindowPlan
from trimtab.cluster.deferring.policies import QUANTILE, WINDOW_POLICIES
from trimtab.cluster.deferring.problem import Deferring, window_library
from trimtab.cluster.deferring.series import Source
from trimtab.cluster.deferring.windows import Work
from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.proposers.evolve import Evolve
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules
from trimtab.testing import MemoryLedger

ZONES = ("DE-LU", "GB", "US-CAL-CISO")
# The day-ahead prices beside each zone's carbon; there are none of Britain's here, but its neighbour's know the wind.
PRICES = {"DE-LU": "DE-LU", "GB": "DE-LU", "US-CAL-CISO": "US-CAL-CISO"}
AHEAD_KINDS = (*LEARNED, *BLENDS)
WORK = (("any hours", Work(4, 24)), ("one piece", Work(4, 24, is_whole=True)))


def main() -> None:
    """Print the tables and write them beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRIMTAB_DATA", "../shared/data")))
    parser.add_argument("--budget", type=float, default=20.0, help="CPU seconds of search for each row of the loop")
    given = parser.parse_args()
    facts = host()
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}. 4 h of work within 24 h, handed in at every "
        f"hour of the second year; the loop chose on the first ({given.budget:g} CPU-s).",
        "Share of the saving that foresight makes over running at once.",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for zone in ZONES:
            lines += ["", *table(zone, given.data / "carbon", Path(folder), given.budget)]
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text + "\n", encoding="utf-8")


def table(zone: str, data: Path, folder: Path, budget: float) -> list[str]:
    """The rows of a zone."""
    carbon = Source(str(data / "electricitymaps_hourly_2023_2024.csv.gz"), "gco2_kwh_direct", f"zone={zone}")
    price = Source(str(data / "electricity_price_hourly_2023_2024.csv.gz"), "usd_mwh", f"zone={PRICES[zone]}")
    known = kept(Known(carbon), folder / f"{zone}.npz")
    rows: dict[str, list[float]] = {
        "at once": [0.0, 0.0],
        "below the week's quantile": captured(known, WindowPlan("week", QUANTILE)),
    }
    for kind in KINDS:
        for name in ("lowest", "piece", "levelled"):
            rows[f"{name}, forecast: {kind}"] = captured(known, WindowPlan(kind, WINDOW_POLICIES[name]))
    rows["trimtab"] = chosen(known, budget)
    known = kept(Known(carbon, price), folder / f"{zone}-ahead.npz")
    beside = f"with {PRICES[zone]}'s prices of the next day"
    for kind in AHEAD_KINDS:
        for name in ("lowest", "piece"):
            rows[f"{name}, forecast: {kind} {beside}"] = captured(known, WindowPlan(kind, WINDOW_POLICIES[name]))
    rows[f"trimtab, {beside}"] = chosen(known, budget)
    lines = [f"| {zone} | any hours | one piece |", "|---|---:|---:|"]
    return [*lines, *(f"| {name} | {values[0]:.1%} | {values[1]:.1%} |" for name, values in rows.items())]


def kept(known: Known, to: Path) -> Known:
    """The series with its forecasts made once."""
    keep_forecasts(known, WORK[0][1].within, to)
    return replace(known, made=str(to))


def captured(known: Known, plan: WindowPlan) -> list[float]:
    """What a plan captures on the unseen half, for each kind of work."""
    problems = [Deferring(known, work) for _, work in WORK]
    return [waited(plan, known, one.work, one.unseen()).captured for one in problems]


def chosen(known: Known, budget: float) -> list[float]:
    """What the loop's choices capture on the unseen half."""
    found = []
    for _, work in WORK:
        problem = Deferring(known, work)
        decision = optimize(
            problem,
            Portfolio(Rules("library", window_library), search=Evolve()),
            search=Meter(cpu_seconds=budget),
            check=Meter(),
            ledger=MemoryLedger(),
        )
        plan = decision.current if decision.winner is None else decision.winner.proposal.plan
        print(f"{work}: {plan.forecast}\n{plan.program}", flush=True)
        found.append(waited(plan, known, work, problem.unseen()).captured)
    return found


if __name__ == "__main__":
    main()
