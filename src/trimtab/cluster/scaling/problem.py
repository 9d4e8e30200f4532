"""scale: the replica policy that costs least while it keeps its promise on the half of the trace that nobody saw."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.cluster.scaling.measure import History, Replay, replayed
from trimtab.cluster.scaling.optimum import foresight_hours
from trimtab.cluster.scaling.plan import PEERS, ScalingPlan
from trimtab.cluster.scaling.programs import LIBRARY
from trimtab.cluster.scaling.queueing import Series
from trimtab.cluster.scaling.simulator import Service
from trimtab.cluster.scaling.trace import rates_of_file, rates_of_times
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

STATIC = ScalingPlan()
BLOCKS = 6
STRESS = 1.05  # on the search half the load is raised: what only just holds there breaks on the other half;
SAFETY = 1.5  # and late requests count so many times
PURGE_MINUTES = 1440
FORECASTS = {"kind": "forecast"}  # where classical search looks; programs are evolved


@dataclass(frozen=True)
class Traffic:
    """Where rates come from: a table's column of times, or (without a column) a CSV file."""

    source: str
    column: str = ""
    per_row: float = 1.0
    spread_minutes: int = 1
    fingerprint: str = ""


@dataclass(frozen=True)
class Scaling:
    """Choose a replica policy for a trace. Search: the first half, stressed; holdout: the second half, as it was."""

    traffic: Traffic
    service: Service
    late_allowed: float = 0.01
    current: ScalingPlan = STATIC
    blocks: int = BLOCKS
    name: str = "scale"
    goal: str = "serve the traffic with fewer replica-hours at the promised latency"

    @property
    def plan_type(self) -> type[ScalingPlan]:
        return ScalingPlan

    @property
    def objective(self) -> Objective:
        rail = Guardrail("late_share", self.late_allowed, "at_most")
        return Objective("replica_hours_per_day", "min", (rail,), margin=0.005, scale="ratio", unit="replica-hours")

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(0.25, self.blocks), Rung(1.0, self.blocks)), holdout_seeds=self.blocks, finalists=5)

    def observe(self) -> Evidence:
        """The shape of the first half."""
        rates = history(self.traffic).rates[: self.half]
        hours = rates[: len(rates) // 60 * 60].reshape(-1, 60).mean(axis=1)
        by_hour = [float(hours[hour::24].mean()) for hour in range(min(24, len(hours)))]
        facts: dict[str, Json] = {
            "days": round(len(rates) / 1440, 1),
            "mean_requests_a_second": round(float(rates.mean()), 3),
            "quantiles": {str(q): round(float(np.quantile(rates, q)), 3) for q in (0.5, 0.9, 0.99, 1.0)},
            "mean_by_hour": [round(rate, 3) for rate in by_hour],
            "requests_a_second_of_one_replica": round(1 / self.service.service_seconds, 3),
            "cold_start_seconds": self.service.cold_start_seconds,
            "late_allowed": self.late_allowed,
        }
        return Evidence(facts, Path(self.traffic.source).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, ScalingPlan]:
        """Today's policy and the usual ones as they come."""
        return {"current": self.current, **PEERS}

    def measure(self, plan: ScalingPlan, sample: Sample) -> Measurement:
        """Replay one block of a half; `fraction` below 1: only its first days."""
        stretch, is_search = self.stretch(sample), sample.split == "search"
        made = replayed(plan, history(self.traffic), stretch, self.service, STRESS if is_search else 1.0)
        # Late requests of this block over the requests of an average one: the mean over blocks is the share of all.
        weight = self._requests(stretch) / max(1e-9, self._mean_requests(sample.split, sample.fraction))
        late = made.late_share * weight
        metrics = {
            "replica_hours_per_day": made.hours_per_day,
            "late_share": late * SAFETY if is_search else late,
            "most_replicas": float(made.replicas.max()),
        }
        return Measurement(metrics, "simulation", notes=_worst(made, stretch) if is_search else "")

    def _requests(self, stretch: slice) -> float:
        return float(history(self.traffic).rates[stretch].sum())

    def _mean_requests(self, split: Split, fraction: float) -> float:
        blocks = (self.stretch(Sample(split, seed, fraction)) for seed in range(self.blocks))
        return sum(map(self._requests, blocks)) / self.blocks

    @property
    def half(self) -> int:
        """The minute at which the second half begins."""
        return len(history(self.traffic).rates) // 2

    def stretch(self, sample: Sample) -> slice:
        """The minutes of a sample: equal blocks of the half, the holdout's after a purge of a day (or a tenth)."""
        total = len(history(self.traffic).rates)
        purge = min(PURGE_MINUTES, self.half // 10)
        first, last = (0, self.half) if sample.split == "search" else (self.half + purge, total)
        size = (last - first) // self.blocks
        start = first + (sample.seed % self.blocks) * size
        return slice(start, start + max(60, int(size * sample.fraction)))

    def unseen(self) -> slice:
        """All of the second half that the holdout's blocks cover."""
        one, last = self.stretch(Sample("holdout", 0)), self.stretch(Sample("holdout", self.blocks - 1))
        return slice(one.start, last.stop)


@functools.lru_cache(maxsize=2)
def history(traffic: Traffic) -> History:
    """The trace of a source, read once. Raises InputError."""
    if traffic.column:
        rates = rates_of_times(
            traffic.source, traffic.column, traffic.per_row, traffic.spread_minutes, traffic.fingerprint
        )
        return History(rates)
    return History(rates_of_file(Path(traffic.source)))


def optimum_hours_per_day(problem: Scaling, stretch: slice) -> float:
    """The foresight optimum's replica-hours a day over a stretch."""
    rates: Series = history(problem.traffic).rates[stretch]
    return foresight_hours(rates, problem.service, problem.late_allowed) / (len(rates) / 1440)


def ideas(brief: Brief[Any]) -> Sequence[Proposal[ScalingPlan]]:
    """Known good starts: quick to grow, slow to shrink, sized by the promise and not by a utilisation."""
    quick = ScalingPlan("forecast", weight=0.0, window_seconds=30, stabilisation_seconds=60, margin=0.05)
    plans = {
        "the recent rate and its trend, sized for the promise": quick,
        "the recent rate, sized tightly": replace(quick, trend=0.0, late_share=0.02, stabilisation_seconds=15),
        "half the forecast as a floor": replace(quick, weight=0.6, quantile=0.9, margin=0.05),
        "median forecast as a floor": replace(quick, weight=1.0, quantile=0.5, margin=0.05),
        "HPA, later and slower": ScalingPlan("hpa", target=0.8, stabilisation_seconds=120),
        "requests a replica at 80 %": ScalingPlan("keda", target=0.8, window_seconds=60, stabilisation_seconds=120),
    }
    return [Proposal(plan, "ideas", because) for because, plan in plans.items()]


def _worst(made: Replay, stretch: slice) -> str:
    """A block in a few words, for whoever proposes: its cost, and its worst hour."""
    hours = made.late[: len(made.late) // 60 * 60].reshape(-1, 60).mean(axis=1)
    if not len(hours):
        return ""
    worst = int(hours.argmax())
    at = stretch.start // 60 + worst
    return (
        f"{made.hours_per_day:.1f} replica-hours a day, {made.late_share:.2%} late; "
        f"worst: {hours[worst]:.1%} late in hour {at % 24} of day {at // 24}"
    )


def library(brief: Brief[Any]) -> Sequence[Proposal[ScalingPlan]]:
    """The programs that ship: what the search for better ones starts from."""
    return [
        Proposal(ScalingPlan("program", program=text, stabilisation_seconds=60), "library", name)
        for name, text in LIBRARY.items()
    ]


def _sample(folder: Path, seed: int) -> Scaling:
    """Four days of a daily wave with noise drawn by the seed."""
    rng = np.random.default_rng(seed)
    minutes = np.arange(4 * 1440)
    rates = 40 * (1.3 + np.sin(minutes / 1440 * 2 * np.pi)) * rng.lognormal(0, 0.1, len(minutes))
    to = folder / f"traffic-{seed}.csv"
    lines = [f"{minute * 60},{rate:.3f}" for minute, rate in zip(minutes, rates, strict=True)]
    to.write_text("second,rate\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return Scaling(Traffic(str(to), fingerprint=str(seed)), Service(0.05, 0.2), blocks=5)


CAPABILITY = Capability("scale", Scaling, _sample)
