"""schedule: the policy under which jobs of the user's own log are done soonest, on the half that nobody saw."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.cluster.scheduling.cluster import Cluster, Group
from trimtab.cluster.scheduling.measure import Half, History, Replay, foresight, replayed
from trimtab.cluster.scheduling.plan import CLASSICAL, LIBRARY, SchedulingPlan
from trimtab.core.model import Brief, Evidence, Guardrail, Json, Ladder, Measurement, Objective, Proposal, Rung, Sample
from trimtab.core.ports import Capability

BLOCKS = 12  # equal numbers of jobs, in the order of submission
CHEAP = 0.25  # of a half, for a first look


@dataclass(frozen=True)
class Scheduling:
    """Choose a scheduling policy for a job log. Search: the first half of the time; holdout: the second."""

    history: History
    blocks: int = BLOCKS
    name: str = "schedule"
    goal: str = "jobs done sooner on the same cluster, with few preemptions"

    @property
    def plan_type(self) -> type[SchedulingPlan]:
        return SchedulingPlan

    @property
    def objective(self) -> Objective:
        rail = Guardrail("preemptions", self.history.cluster.most_preemptions, "at_most")
        return Objective("hours", "min", (rail,), margin=0.005, scale="ratio", unit="hours a job")

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(CHEAP, self.blocks), Rung(1.0, self.blocks)), holdout_seeds=self.blocks, finalists=3)

    @property
    def current(self) -> SchedulingPlan:
        """Today's policy, by the cluster's file."""
        return CLASSICAL[self.history.cluster.current]

    def observe(self) -> Evidence:
        """The jobs and the cluster, of the first half only."""
        log, rows = self.history.log, self.history.rows("search")
        work, gpus = log.duration[rows], log.gpus[rows]
        span = max(1.0, float(log.submit[rows.stop - 1] - log.submit[rows.start]))
        cluster = self.history.cluster
        facts: dict[str, Json] = {
            "jobs": len(work),
            "days": round(span / 86_400, 1),
            "gpus_of_the_cluster": cluster.gpus,
            "load": round(float((work * gpus).sum()) / span / cluster.gpus, 3),
            "preemption_allowed": cluster.preemption,
            "restart_seconds": cluster.restart_seconds,
            "duration_seconds": {str(q): float(np.quantile(work, q)) for q in (0.1, 0.5, 0.9, 0.99)},
            "share_of_jobs_by_gpus": {str(n): round(float((gpus == n).mean()), 4) for n in np.unique(gpus)[:12]},
            "share_of_gpu_time_by_gpus": {
                str(n): round(float((work * gpus)[gpus == n].sum() / (work * gpus).sum()), 4)
                for n in np.unique(gpus)[:12]
            },
        }
        return Evidence(facts, Path(self.history.source).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, SchedulingPlan]:
        """Today's policy and the usual ones; without those that preempt where that is not allowed."""
        usual = {name: plan for name, plan in CLASSICAL.items() if self._may(plan)}
        return {"current": self.current, **usual}

    def measure(self, plan: SchedulingPlan, sample: Sample) -> Measurement:
        """One block of a half's jobs; `fraction` below 1: of its first jobs only."""
        half: Half = "search" if sample.split == "search" else "holdout"
        made = _replayed(self.history, plan, half, sample.fraction)
        block = np.array_split(np.arange(len(made.taken)), self.blocks)[sample.seed % self.blocks]
        metrics = {
            "hours": float(made.taken[block].mean()) / 3600,
            "preemptions": float(made.preempted[block].mean()),
            "hours_waited": float(made.waited[block].mean()) / 3600,
        }
        return Measurement(metrics, "simulation", notes=_worst(self.history, made, block) if half == "search" else "")

    def replays(self, plans: Mapping[str, SchedulingPlan]) -> dict[str, Replay]:
        """Plans on the whole unseen half, and the foresight optimum."""
        made = {name: _replayed(self.history, plan, "holdout", 1.0) for name, plan in plans.items()}
        return {**made, "foresight": foresight(self.history, "holdout")}

    def _may(self, plan: SchedulingPlan) -> bool:
        return self.history.cluster.preemption or not plan.preempts


@functools.lru_cache(maxsize=12)
def _replayed(history: History, plan: SchedulingPlan, half: Half, share: float) -> Replay:
    return replayed(history, plan, half, share)


def _worst(history: History, made: Replay, block: Any) -> str:
    """Which jobs waited the most, for whoever writes programs."""
    gpus = history.log.gpus[made.rows][block]
    waits = {int(n): float(made.waited[block][gpus == n].mean()) / 3600 for n in np.unique(gpus)}
    shown = sorted(waits.items(), key=lambda one: -one[1])[:3]
    return "mean hours waited, the worst sizes: " + ", ".join(f"{n} GPUs {hours:.2f}" for n, hours in shown)


def library(brief: Brief[Any]) -> Sequence[Proposal[SchedulingPlan]]:
    """The programs that ship: what the search for better ones starts from."""
    return [Proposal(plan, "library", name) for name, plan in LIBRARY.items()]


def warm() -> None:
    """Nothing to do: importing this module has compiled the simulator."""


def _sample(folder: Path, seed: int) -> Scheduling:
    """Two days of 600 jobs drawn by the seed, of two tenants whose jobs last differently, on a small cluster."""
    rng = np.random.default_rng(seed)
    lines = ["submit_s,duration_s,num_gpus,tenant"]
    for at in np.sort(rng.uniform(0, 2 * 86_400, 600)):
        tenant = int(rng.random() < 0.3)
        seconds = max(1.0, rng.lognormal(5.0 + 2.5 * tenant, 1.0))
        lines.append(f"{at:.0f},{seconds:.0f},{rng.choice([1, 2, 4], p=[0.7, 0.2, 0.1])},t{tenant}")
    to = folder / f"jobs-{seed}.csv"
    to.write_text("\n".join(lines) + "\n", encoding="utf-8")
    cluster = Cluster((Group("pool", 3, 4),), current="easy", most_preemptions=3.0)
    return Scheduling(History(str(to), cluster, str(seed)), blocks=4)


CAPABILITY = Capability("schedule", Scheduling, _sample)
