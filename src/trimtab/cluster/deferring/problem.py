"""defer: when work runs that may wait (prices, carbon), and what jobs with a deadline run on (spot, on demand).

Everything is chosen on the first half of the history and confirmed on the second, with no window in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.cluster.deferring.measure import Hours, Known, Waited, market_of, ran, waited
from trimtab.cluster.deferring.plan import SpotPlan, WindowPlan
from trimtab.cluster.deferring.policies import GREEDY, LOWEST, QUANTILE, SPOT_POLICIES, UNIFORM, WINDOW_POLICIES
from trimtab.cluster.deferring.profiles import FIRST_DAYS
from trimtab.cluster.deferring.series import Source, read_availability
from trimtab.cluster.deferring.spot import Job
from trimtab.cluster.deferring.windows import Starts, Work, cheapest_work, work_at_once
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
)
from trimtab.core.ports import Capability

BLOCKS = 8
AT_ONCE_PLAN, ON_DEMAND_PLAN = WindowPlan(), SpotPlan()


@dataclass(frozen=True)
class Deferring:
    """Choose when work runs that may wait. Search: the first half of the series; holdout: the second."""

    known: Known
    work: Work
    current: WindowPlan = AT_ONCE_PLAN
    blocks: int = BLOCKS
    name: str = "defer"
    goal: str = "run work that may wait when it costs least, knowing only the past"

    @property
    def plan_type(self) -> type[WindowPlan]:
        return WindowPlan

    @property
    def objective(self) -> Objective:
        return Objective("captured", "max", margin=0.005, unit="of the saving that foresight would make")

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(0.25, self.blocks), Rung(1.0, self.blocks)), holdout_seeds=self.blocks, finalists=5)

    def observe(self) -> Evidence:
        """The shape of the first half."""
        market = market_of(self.known.series)
        seen = market.values[: len(market.values) // 2]
        days = seen[: len(seen) // market.day * market.day].reshape(-1, market.day)
        starts = np.arange(len(seen) - self.work.within)
        facts: dict[str, Json] = {
            "days": len(days),
            "steps_a_day": market.day,
            "work_steps": self.work.steps,
            "within_steps": self.work.within,
            "in_one_piece": self.work.is_whole,
            "quantiles": {str(q): round(float(np.quantile(seen, q)), 3) for q in (0.0, 0.1, 0.5, 0.9, 1.0)},
            "mean_by_step_of_day": [round(float(one), 3) for one in days.mean(axis=0)],
            "mean_now": round(float(work_at_once(seen, starts, self.work).mean()) / self.work.steps, 3),
            "mean_of_foresight": round(float(cheapest_work(seen, starts, self.work).mean()) / self.work.steps, 3),
        }
        return Evidence(facts, Path(self.known.series.source).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, WindowPlan]:
        """Today's policy and the usual ones."""
        return {
            "current": self.current,
            "at once": AT_ONCE_PLAN,
            "quantile": WindowPlan("week", QUANTILE),
            "yesterday's lowest": WindowPlan("yesterday", LOWEST),
            "the week's lowest": WindowPlan("week", LOWEST),
        }

    def measure(self, plan: WindowPlan, sample: Sample) -> Measurement:
        """Replay one block of a half; `fraction` below 1: only its first days."""
        starts = self.starts(sample)
        made = waited(plan, self.known, self.work, starts)
        metrics = {
            "captured": made.captured,
            "cost": float(made.cost.mean()) / self.work.steps,
            "foresight": float(made.foresight.mean()) / self.work.steps,
        }
        return Measurement(metrics, "replay", notes=self._worst(made, starts) if sample.split == "search" else "")

    def starts(self, sample: Sample) -> Starts:
        """The steps at which a sample's work is handed in: equal blocks of a half, every step of them.

        The search half's begin when there is something to forecast from; no window reaches into another block.
        """
        market = market_of(self.known.series)
        half = len(market.values) // 2
        first = min(FIRST_DAYS * market.day, half // 4) if sample.split == "search" else half + market.day
        last = half if sample.split == "search" else len(market.values)
        size = (last - first) // self.blocks
        begin = first + sample.seed % self.blocks * size
        count = max(1, int((size - self.work.within) * sample.fraction))
        return np.arange(begin, begin + count)

    def unseen(self) -> Starts:
        """All of the second half."""
        return np.concatenate([self.starts(Sample("holdout", seed)) for seed in range(self.blocks)])

    def _worst(self, made: Waited, starts: Starts) -> str:
        """A block in a few words, for whoever proposes."""
        steps = starts % market_of(self.known.series).day
        lost = np.bincount(steps, weights=made.cost - made.foresight) / np.maximum(1, np.bincount(steps))
        return f"{made.captured:.1%} captured; most is lost by work handed in at step {int(lost.argmax())} of the day"


@dataclass(frozen=True)
class Spot:
    """Choose what jobs with a deadline run on. Search: the first half of every trace; holdout: the second.

    The blocks of a half share some of their hours, since jobs are long: intervals over them are somewhat too narrow.
    """

    sources: tuple[str, ...]
    jobs: tuple[Job, ...]
    fingerprint: str = ""
    every_hours: float = 1.0
    current: SpotPlan = ON_DEMAND_PLAN
    blocks: int = 5
    name: str = "spot"
    goal: str = "finish jobs by their deadline at the least cost on spot and on-demand machines"

    @property
    def plan_type(self) -> type[SpotPlan]:
        return SpotPlan

    @property
    def objective(self) -> Objective:
        rail = Guardrail("late", 0.0, "at_most")
        return Objective("cost", "min", (rail,), margin=0.002, scale="ratio", unit="on-demand hours")

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(1.0, self.blocks),), holdout_seeds=self.blocks, finalists=5)

    def observe(self) -> Evidence:
        """How the traces look in their first half."""
        traces: dict[str, Json] = {}
        for source in self.sources[:12]:
            found = read_availability(source)
            seen = found.up[: len(found.up) // 2]
            changes = int(np.abs(np.diff(seen.astype(int))).sum())
            traces[Path(source).stem] = {
                "share_with_spot": round(float(seen.mean()), 3),
                "changes_a_day": round(changes / (len(seen) * found.step_hours / 24), 2),
            }
        jobs: list[Json] = [
            f"{one.work:g} h in {one.deadline:g} h, {one.overhead:g} h a start" for one in self.jobs[:12]
        ]
        return Evidence({"traces": traces, "jobs": jobs}, Path(self.sources[0]).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, SpotPlan]:
        """Today's policy and the usual ones."""
        return {"current": self.current, "greedy": SpotPlan(GREEDY), "uniform progress": SpotPlan(UNIFORM)}

    def measure(self, plan: SpotPlan, sample: Sample) -> Measurement:
        """Replay the jobs that are handed in within one part of a half."""
        hours = Hours(sample.split == "holdout", self.every_hours)
        made = ran(plan, self.sources, self.jobs, hours, (sample.seed % self.blocks, self.blocks))
        metrics = {"cost": float(made.cost.mean()), "to_foresight": made.to_foresight, "late": float(made.late)}
        return Measurement(metrics, "replay", notes=f"{made.to_foresight:.4f} of the foresight optimum's cost")


def window_library(brief: Brief[Any]) -> Sequence[Proposal[WindowPlan]]:
    """The programs that ship, each with the forecasts that it may look at."""
    return [
        Proposal(WindowPlan(kind, text), "library", f"{name}, forecast by {kind}")
        for kind in ("blend", "curved", "linear", "boosted", "month", "week")
        for name, text in WINDOW_POLICIES.items()
        if name not in ("at once", "quantile")
    ]


def spot_library(brief: Brief[Any]) -> Sequence[Proposal[SpotPlan]]:
    """The programs that ship."""
    return [Proposal(SpotPlan(text), "library", name) for name, text in SPOT_POLICIES.items()]


def _sample(folder: Path, seed: int) -> Deferring:
    """Forty days of hours with a daily wave and noise drawn by the seed."""
    rng = np.random.default_rng(seed)
    hours = np.arange(40 * 24)
    values = 300 + 100 * np.sin(hours / 24 * 2 * np.pi) + np.cumsum(rng.normal(0, 8, len(hours)))
    to = folder / f"carbon-{seed}.csv"
    lines = [f"{hour * 3600},{value:.3f}" for hour, value in zip(hours, values, strict=True)]
    to.write_text("second,gco2_kwh\n" + "\n".join(lines) + "\n", encoding="utf-8")
    current = WindowPlan("week", QUANTILE)  # at once captures nothing, whatever the data
    return Deferring(Known(Source(str(to), fingerprint=str(seed))), Work(4, 24), current, blocks=5)


def _spot_sample(folder: Path, seed: int) -> Spot:
    """Twenty days of ten-minute steps that turn by chance, drawn by the seed."""
    rng = np.random.default_rng(seed)
    up, now = [], 1
    for chance in rng.random(20 * 144):
        now = 1 - now if chance < 0.05 else now
        up.append(now)
    to = folder / f"spot-{seed}.csv"
    to.write_text("second,up\n" + "\n".join(f"{600 * i},{one}" for i, one in enumerate(up)) + "\n", encoding="utf-8")
    return Spot((str(to),), (Job(10.0, 14.0), Job(10.0, 20.0, 0.05)), fingerprint=str(seed))


CAPABILITY = Capability("defer", Deferring, _sample)
SPOT = Capability("spot", Spot, _spot_sample)
