"""Jobs with a deadline on the spot markets of "Can't Be Late": every policy on windows of the later half of each trace.

python benchmarks/cluster/spot.py [--data FOLDER] [--budget CPU_SECONDS]

The jobs of the public leaderboard (48 h of work within 52 or 70 h, 0.02 to 0.1 h lost at a start, spot at 0.318 of the
price on demand) on its six markets and its random windows. Everything was chosen on windows that end in the first half.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.adapters.meters import host
from trimtab.adapters.programs import compile_program
from trimtab.cluster.deferring.optimum import cheapest_jobs
from trimtab.cluster.deferring.policies import SPOT_POLICIES
from trimtab.cluster.deferring.problem import Spot, spot_library
from trimtab.cluster.deferring.series import Availability, read_availability
from trimtab.cluster.deferring.spot import COST, FINISH, MARKET, STARTS, Job, Table, played
from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.proposers.evolve import Evolve
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules
from trimtab.testing import MemoryLedger

MARKETS = (
    "us-west-2a_k80_8", "us-west-2b_k80_1", "us-west-2b_k80_8", "us-west-2a_v100_1", "us-west-2a_v100_8",
    "us-west-2b_v100_1",
)  # fmt: skip
JOBS = tuple(Job(48.0, deadline, overhead) for deadline in (52.0, 70.0) for overhead in (0.02, 0.05, 0.1))
FOLDER = "real/ddl=search+task=48+overhead=0.02/real"
PURGE_STEPS = 144
Windows = Mapping[str, tuple[Availability, Any]]


@dataclass
class Score:
    """What a policy did on all windows of a half."""

    cost: list[Table]
    foresight: list[Table]
    late: int = 0
    starts: float = 0.0

    @property
    def ratios(self) -> Table:
        """Of each window."""
        return np.concatenate(self.cost) / np.concatenate(self.foresight)

    @property
    def total(self) -> float:
        """The mean cost over the mean cost of foresight."""
        return float(np.concatenate(self.cost).sum() / np.concatenate(self.foresight).sum())


def main() -> None:
    """Print the table and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRIMTAB_DATA", "../shared/data")))
    parser.add_argument("--budget", type=float, default=60.0, help="CPU seconds of search")
    given = parser.parse_args()
    archive = given.data / "spot" / "adrs_cant_be_late_real_traces.tar.gz"
    if not archive.is_file():
        sys.exit(f"{archive} is not there: name the folder of the data sets with --data or TRIMTAB_DATA")
    with tempfile.TemporaryDirectory() as folder:
        text = "\n".join(table(unpacked(archive, Path(folder)), given.budget))
    print(text)
    Path(__file__).with_suffix(".md").write_text(text + "\n", encoding="utf-8")


def unpacked(archive: Path, to: Path) -> dict[str, tuple[Path, Any]]:
    """The whole trace of each market as a file, and the steps at which its random windows begin."""
    found: dict[str, tuple[Path, list[int]]] = {name: (to / f"{name}.json", []) for name in MARKETS}
    with tarfile.open(archive) as files:
        for one in files:
            name = one.name.split("/")[-1].removesuffix(".json")
            market = one.name.removeprefix(f"{FOLDER}/").split("/")[0]
            content = files.extractfile(one) if one.isfile() and one.name.endswith(".json") else None
            if content is None:
                continue
            if one.name == f"real/ping_based/{name}.json" and name in found:
                found[name][0].write_bytes(content.read())
            elif one.name.startswith(f"{FOLDER}/") and market in found:
                found[market][1].append(json.load(content)["metadata"]["start_time"])
    return {name: (path, np.array(sorted(starts))) for name, (path, starts) in found.items()}


def table(files: dict[str, tuple[Path, Any]], budget: float) -> list[str]:
    """The rows: the programs that ship, and what the loop chose on the first half."""
    windows = {name: (read_availability(str(path)), starts) for name, (path, starts) in files.items()}
    text, by = chosen(tuple(str(path) for path, _ in files.values()), budget)
    print(f"chosen by {by}:\n{text}")
    least = {half: foresight(windows, is_second=half == "held out") for half in ("search", "held out")}
    facts = host()
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}. 48 h of work within 52 or 70 h, 0.02, 0.05 or "
        f"0.1 h lost at a start, {len(MARKETS)} markets; {sum(len(one) for one in least['held out'].values()):,} "
        f"windows held out, {sum(len(one) for one in least['search'].values()):,} to choose on "
        f"({budget:g} CPU-s).",
        "",
        "| policy | mean cost ÷ foresight, held out | mean of the ratios | at 0.02 / 0.05 / 0.1 h | starts | late "
        "| first half |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, program in {**SPOT_POLICIES, "trimtab": text}.items():
        first = scored(program, windows, least["search"], is_second=False)
        second = scored(program, windows, least["held out"], is_second=True)
        parts = " / ".join(
            f"{scored(program, windows, least['held out'], is_second=True, overhead=one).total:.3f}"
            for one in (0.02, 0.05, 0.1)
        )
        lines.append(
            f"| {name} | {second.total:.4f} | {float(second.ratios.mean()):.4f} | {parts} | "
            f"{second.starts / len(second.ratios):.0f} | {second.late} | {first.total:.4f} |"
        )
    return lines


def begins(steps: int, starts: Any, length: int, *, is_second: bool) -> Any:
    """The random windows that lie within one half of a trace, the second's after a purge of a day."""
    half = steps // 2
    return starts[starts >= half + PURGE_STEPS] if is_second else starts[starts + length <= half]


def foresight(windows: Windows, *, is_second: bool) -> dict[tuple[str, Job], Table]:
    """The least cost of each job on each market's windows."""
    return {
        (name, job): cheapest_jobs(
            found.up,
            begins(len(found.up), starts, job.steps(found.step_hours), is_second=is_second),
            job,
            found.step_hours,
        )
        for name, (found, starts) in windows.items()
        for job in JOBS
    }


def scored(
    program: str, windows: Windows, least: dict[tuple[str, Job], Table], *, is_second: bool, overhead: float = -1.0
) -> Score:
    """A program on the windows of a half: of all jobs, or of those with an overhead."""
    policy, score = compile_program(program, MARKET), Score([], [])
    for (name, job), costs in least.items():
        if overhead in (-1.0, job.overhead):
            found, starts = windows[name]
            mine = begins(len(found.up), starts, job.steps(found.step_hours), is_second=is_second)
            made = played(found.up, mine, job, found.step_hours, policy)
            score.cost.append(made[:, COST])
            score.foresight.append(costs)
            score.late += int((made[:, FINISH] > job.deadline + 1e-6).sum())
            score.starts += float(made[:, STARTS].sum())
    return score


def chosen(sources: tuple[str, ...], budget: float) -> tuple[str, str]:
    """What the loop chooses, on jobs handed in every two hours of the first halves."""
    problem = Spot(sources, JOBS, fingerprint="adrs", every_hours=2.0)
    decision = optimize(
        problem,
        Portfolio(Rules("library", spot_library), search=Evolve()),
        search=Meter(cpu_seconds=budget),
        check=Meter(),
        ledger=MemoryLedger(),
    )
    if decision.winner is None:
        return decision.current.program, "nobody: the current policy stays"
    return decision.winner.proposal.plan.program, decision.winner.proposal.by


if __name__ == "__main__":
    main()
