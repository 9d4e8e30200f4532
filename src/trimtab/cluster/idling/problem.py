"""scale to zero: the rule under which idle replicas cost least, with hardly more cold starts than today's.

The log is replayed as a whole, so that what is known of a function by the second half is what the first half taught;
the first half is searched on, the second, after a purge, is what nobody saw.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.adapters.programs import compile_program
from trimtab.cluster.idling.calls import Calls, read_calls
from trimtab.cluster.idling.plan import LIBRARY, PEERS, IdlingPlan
from trimtab.cluster.idling.simulator import WARM, Ints, Series, replay
from trimtab.core.errors import InputError
from trimtab.core.model import (
    Brief,
    Evidence,
    Guardrail,
    Json,
    Ladder,
    Measurement,
    Objective,
    Proposal,
    Rung,
    Sample,
    Split,
)
from trimtab.core.ports import Capability

FIVE_MINUTES = IdlingPlan()
BLOCKS = 12  # equal numbers of idle times, in order
LEAST_HOURS = 1e-3
PURGE = 0.05  # of the span, between the halves


@dataclass(frozen=True)
class Idling:
    """Choose when idle replicas are loaded. `slower`: cold starts that may be added, a share of the calls."""

    source: str
    function: str = ""  # the column that tells functions apart
    load_seconds: float = 30.0
    slower: float = 0.005
    fingerprint: str = ""
    current: IdlingPlan = FIVE_MINUTES
    name: str = "idle"
    goal: str = "fewer replica-hours in which nothing is asked, with as few cold starts"

    @property
    def plan_type(self) -> type[IdlingPlan]:
        return IdlingPlan

    @property
    def objective(self) -> Objective:
        rail = Guardrail("cold_share", self.slower, "at_most", relative=True)
        return Objective("idle_hours", "min", (rail,), margin=0.01, scale="ratio", unit="idle replica-hours")

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(1.0, BLOCKS),), holdout_seeds=BLOCKS, finalists=5)

    @property
    def calls(self) -> Calls:
        """What the file says. Raises InputError."""
        return read_calls(self.source, self.function, self.fingerprint)

    def observe(self) -> Evidence:
        """How long functions are idle, of the first half only."""
        calls = self.calls
        seen = calls.gaps[self.rows("search")]
        ended = seen[seen >= 0]
        if not len(ended):
            raise InputError(
                f"{self.source}: no function is called twice", hint="name the column that tells functions apart"
            )
        facts: dict[str, Json] = {
            "functions": len(calls.names),
            "calls": len(seen),
            "idle_seconds": {str(q): round(float(np.quantile(ended, q)), 1) for q in (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)},
            "load_seconds": self.load_seconds,
        }
        return Evidence(facts, Path(self.source).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, IdlingPlan]:
        """Today's rule and the known ones."""
        return {"current": self.current, **PEERS}

    def measure(self, plan: IdlingPlan, sample: Sample) -> Measurement:
        """One block of a half."""
        rows = np.array_split(self.rows(sample.split), BLOCKS)[sample.seed % BLOCKS]
        hours, cold = self.outcome(plan, rows)
        # A rule that keeps nothing has no hours to compare as a ratio.
        return Measurement({"idle_hours": max(hours, LEAST_HOURS), "cold_share": cold}, "simulation")

    def rows(self, split: Split) -> Ints:
        """The idle times that begin in a half."""
        starts = self.calls.starts
        middle, span = float(starts[-1]) / 2, float(starts[-1])
        return np.flatnonzero(starts < middle if split == "search" else starts >= middle + PURGE * span)

    def outcome(self, plan: IdlingPlan, rows: Ints) -> tuple[float, float]:
        """(Replica-hours loaded and idle, share of the calls that find nothing loaded) of some idle times."""
        made, ended = replayed(self, plan)[rows], self.calls.gaps[rows] >= 0
        return float(made[:, 0].sum()) / 3600, float(made[ended, 1].mean()) if ended.any() else 0.0


@functools.lru_cache(maxsize=64)
def replayed(problem: Idling, plan: IdlingPlan) -> Series:
    """Of each idle time: seconds loaded, and whether the next call was cold."""
    calls = problem.calls
    return replay(calls.starts, calls.gaps, calls.who, problem.load_seconds, compile_program(plan.program, WARM))


def least_hours(problem: Idling, rows: Ints, cold_share: float) -> float:
    """The least idle hours at a share of cold starts of one who keeps or lets go at every answer, knowing what comes.

    The shortest idle times are waited through, the others not at all; nothing is loaded ahead of a call.
    """
    gaps = np.sort(problem.calls.gaps[rows][problem.calls.gaps[rows] >= 0])
    return float(gaps[: round((1.0 - cold_share) * len(gaps))].sum()) / 3600


def library(brief: Brief[Any]) -> Sequence[Proposal[IdlingPlan]]:
    """The programs that ship: what the search for better ones starts from."""
    return [Proposal(plan, "library", name) for name, plan in LIBRARY.items()]


def warm() -> None:
    """Nothing to do: importing this module has compiled the simulator."""


def _sample(folder: Path, seed: int) -> Idling:
    """Two days of 30 functions drawn by the seed: some are called every half an hour, others in bursts."""
    rng = np.random.default_rng(seed)
    lines = ["time,function,seconds"]
    for function in range(30):
        at = 0.0
        while at < 2 * 86_400:
            regular = 1800 * rng.lognormal(0, 0.02)
            at += regular if function % 2 else rng.choice([40.0, 4000.0], p=[0.8, 0.2]) * rng.exponential()
            lines.append(f"{at:.0f},f{function},2")
    to = folder / f"calls-{seed}.csv"
    to.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Idling(str(to), fingerprint=str(seed))


CAPABILITY = Capability("idle", Idling, _sample)
