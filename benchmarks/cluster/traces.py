"""scale on five public traces: every policy on the half that nothing was chosen on, against the foresight optimum.

python benchmarks/cluster/traces.py [--data ../shared/data] [--budget CPU_SECONDS] [--bin MINUTES]

Rates come in bins of ten minutes (ServeGen) or half an hour (taxi), joined by straight lines; NASA's requests are
counted in bins of `--bin` minutes for the same treatment. A replica's work is set so that twenty are busy on average;
a request may wait four times its own work; cold starts take 60 s.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trimtab.adapters.meters import host
from trimtab.cluster.scaling.measure import replayed
from trimtab.cluster.scaling.plan import PEERS, ScalingPlan
from trimtab.cluster.scaling.problem import Scaling, Traffic, history, optimum_hours_per_day
from trimtab.cluster.scaling.programs import LIBRARY, written
from trimtab.cluster.scaling.simulator import Service
from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.stages.scale import LIMITS, confined, policies
from trimtab.testing import MemoryLedger

Series = npt.NDArray[np.float64]
BUSY = 20.0  # replicas at work, on average
PATIENCE = 4.0  # times its own work that a request may wait
SERVEGEN = ("m-large", "m-small", "deepseek-r1")


def main() -> None:
    """Print the table and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRIMTAB_DATA", "../shared/data")))
    parser.add_argument("--budget", type=float, default=60.0, help="CPU seconds of search for each trace")
    parser.add_argument("--bin", type=int, default=10, help="minutes over which NASA's requests are counted")
    given = parser.parse_args()
    if not given.data.is_dir():
        sys.exit(f"{given.data} is not there: name the folder of the data sets with --data or TRIMTAB_DATA")
    lines: list[str] = []
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, rates in traces(given.data / "traffic", given.bin).items():
            rows, ratio = table(name, problem_of(name, rates, Path(folder)), given.budget)
            lines += rows
            ratios.append(ratio)
            print("\n".join(rows), flush=True)
    text = "\n".join([*head(given.budget, given.bin), *lines, "", f"Mean cost ÷ foresight: {np.mean(ratios):.3f}.", ""])
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text.splitlines()[-1])


def traces(folder: Path, minutes: int) -> Mapping[str, Series]:
    """Requests a second, by minute."""
    found = {name: joined(column(folder / f"servegen_{name}_rate.csv", "rate"), 10) for name in SERVEGEN}
    found["nyc-taxi"] = joined(column(folder / "nab_nyc_taxi.csv", "value") / 1800, 30)
    with gzip.open(folder / "nasa_1995_jul_aug_rps_1s.txt.gz", "rt") as file:
        seconds = np.array([float(line) for line in file])
    size = minutes * 60
    found["nasa"] = joined(seconds[: len(seconds) // size * size].reshape(-1, size).mean(axis=1), minutes)
    return found


def column(file: Path, name: str) -> Series:
    with file.open(encoding="utf-8") as lines:
        return np.array([float(row[name]) for row in csv.DictReader(lines)])


def joined(values: Series, minutes: int) -> Series:
    """Straight lines between the middles of bins, by minute."""
    middles = np.arange(len(values)) * minutes + minutes / 2
    return np.asarray(np.interp(np.arange(len(values) * minutes) + 0.5, middles, values))


def problem_of(name: str, rates: Series, folder: Path) -> Scaling:
    file = folder / f"{name}.csv"
    lines = [f"{minute * 60},{rate:.6f}" for minute, rate in enumerate(rates)]
    file.write_text("second,rate\n" + "\n".join(lines) + "\n", encoding="utf-8")
    work = BUSY / float(rates.mean())
    return Scaling(Traffic(str(file), fingerprint=name), Service(work, PATIENCE * work))


def table(name: str, problem: Scaling, budget: float) -> tuple[list[str], float]:
    """The rows of one trace, and what trimtab's policy costs over the optimum."""
    with confined(problem) as runner:
        decision = optimize(
            problem,
            policies(),
            search=Meter(cpu_seconds=budget),
            check=Meter(),
            ledger=MemoryLedger(),
            runner=runner,
            limits=LIMITS,
        )
    chosen = decision.current if decision.winner is None else decision.winner.proposal.plan
    by = "current" if decision.winner is None else decision.winner.proposal.by
    shipped = {f"program {key}": ScalingPlan("program", program=text) for key, text in LIBRARY.items()}
    plans = {"static, 1.2 × the peak": problem.current, **PEERS, **shipped, f"**trimtab** ({by})": chosen}
    optimum = optimum_hours_per_day(problem, problem.unseen())
    rows = [
        f"\n## {name}\n",
        f"{len(decision.trials)} plans in {decision.spent.cpu_seconds:.0f} CPU-s.\n",
        "| policy, unseen half | replica-hours a day | ÷ foresight | late (1 % allowed) |",
        "|---|---:|---:|---:|",
    ]
    made = {
        label: replayed(plan, history(problem.traffic), problem.unseen(), problem.service)
        for label, plan in plans.items()
    }
    for label, one in made.items():
        rows.append(f"| {label} | {one.hours_per_day:.1f} | {one.hours_per_day / optimum:.3f} | {one.late_share:.2%} |")
    rows.append(f"| foresight | {optimum:.1f} | 1.000 | as allowed |")
    ours = made[f"**trimtab** ({by})"]
    text = written(chosen, problem.service.service_seconds, round(float(ours.replicas.max())))
    return [*rows, "", "```python", text.rstrip(), "```"], ours.hours_per_day / optimum


def head(budget: float, minutes: int) -> list[str]:
    about = host()
    return [
        "# Replica policies on public traces\n",
        *(__doc__ or "").strip().splitlines()[3:],
        "",
        f"{about['cpu']}, {about['cores']} cores, load {about['load']}; {budget:g} CPU-s of search a trace. Method: "
        f"simulation. `python benchmarks/cluster/traces.py --budget {budget:g} --bin {minutes}`",
    ]


if __name__ == "__main__":
    main()
