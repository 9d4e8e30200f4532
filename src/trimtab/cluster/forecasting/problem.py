"""forecast: the way of forecasting with the least error on the half of a series that nobody saw."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trimtab.cluster.forecasting.ahead import Ints, Series, forecasts
from trimtab.cluster.forecasting.plan import PEERS, ForecastPlan
from trimtab.cluster.scaling.trace import rates_of_file
from trimtab.core.errors import InputError
from trimtab.core.model import Brief, Evidence, Json, Ladder, Measurement, Objective, Proposal, Rung, Sample
from trimtab.core.ports import Capability

STEPS = 48  # of a horizon, at most
BLOCKS = 6
MOST_MOMENTS = 800  # of a half, at which forecasts are made
LEAST_DAYS = 4
LEAST_ERROR = 1e-6  # a series may repeat itself exactly, and ratios of errors are taken
Half = Literal["search", "holdout", "now"]


@dataclass(frozen=True)
class Forecasting:
    """Choose a forecast for a trace. Search: moments of the first half; holdout: of the second, after a horizon."""

    source: str
    hours: float = 24.0
    fingerprint: str = ""
    current: ForecastPlan = PEERS["yesterday"]
    name: str = "forecast"
    goal: str = "know what a series will be"

    @property
    def plan_type(self) -> type[ForecastPlan]:
        return ForecastPlan

    @property
    def objective(self) -> Objective:
        return Objective("error", "min", (), margin=0.005, scale="ratio", unit="mean error over mean")

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(1.0, BLOCKS),), holdout_seeds=BLOCKS, finalists=4)

    @property
    def step_minutes(self) -> int:
        """Minutes a step: the horizon in 48 of them at the most, whole parts of an hour."""
        wanted = self.hours * 60 / STEPS
        return next(one for one in (5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1440) if one >= wanted)

    @property
    def horizon(self) -> int:
        """Steps ahead."""
        return max(1, round(self.hours * 60 / self.step_minutes))

    @property
    def day(self) -> int:
        """Steps a day."""
        return 1440 // self.step_minutes

    @property
    def series(self) -> Series:
        """The trace in steps. Raises InputError."""
        return series_of(self.source, self.step_minutes, self.hours, self.fingerprint)

    def observe(self) -> Evidence:
        """The shape of the first half."""
        known = self.series[: len(self.series) // 2]
        hours: dict[str, Json] = {
            str(24 * place // self.day): round(float(known[place :: self.day].mean()), 4)
            for place in range(0, self.day, max(1, self.day // 24))
        }
        facts: dict[str, Json] = {
            "days": round(len(known) / self.day, 1),
            "mean": float(known.mean()),
            "mean_by_hour": hours,
            "horizon_hours": self.hours,
        }
        return Evidence(facts, Path(self.source).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, ForecastPlan]:
        """The usual ones."""
        return {"current": self.current, **PEERS}

    def measure(self, plan: ForecastPlan, sample: Sample) -> Measurement:
        """A block of the moments of a half."""
        half: Half = "search" if sample.split == "search" else "holdout"
        table, truth = made(self, plan, half)
        block = np.array_split(np.arange(len(table)), BLOCKS)[sample.seed % BLOCKS]
        mean = max(1e-9, float(np.abs(truth).mean()))
        gaps = np.abs(table[block] - truth[block])
        errors = {
            "error": LEAST_ERROR + float(gaps.mean()) / mean,
            "error_first_quarter": LEAST_ERROR + float(gaps[:, : -(-self.horizon // 4)].mean()) / mean,
        }
        return Measurement(errors, "replay")

    def moments(self, half: Half) -> Ints:
        """Steps at which forecasts are made, evenly spaced."""
        total = len(self.series)
        if half == "now":
            return np.array([total], np.int64)
        middle = total // 2
        first = min(7 * self.day, middle // 2) if half == "search" else middle + self.horizon
        last = (middle if half == "search" else total) - self.horizon
        return np.arange(first, last + 1, max(1, -(-(last - first) // MOST_MOMENTS)), dtype=np.int64)


@functools.lru_cache(maxsize=32)
def made(problem: Forecasting, plan: ForecastPlan, half: Half) -> tuple[Series, Series]:
    """(forecasts, truth) at the moments of a half; of "now" the truth is not known."""
    series, at = problem.series, problem.moments(half)
    table = forecasts(series, at, problem.horizon, problem.day, plan)
    if half == "now":
        return table, np.full(table.shape, np.nan)
    return table, series[at[:, None] + np.arange(problem.horizon)]


@functools.lru_cache(maxsize=4)
def series_of(source: str, step_minutes: int, hours: float, fingerprint: str) -> Series:
    """A trace's means by step. Raises InputError when it is too short for the horizon."""
    rates = rates_of_file(Path(source))
    whole = rates[: len(rates) // step_minutes * step_minutes].reshape(-1, step_minutes).mean(axis=1)
    least = max(LEAST_DAYS * 1440, 8 * hours * 60) / step_minutes
    if len(whole) < least:
        raise InputError(
            f"{source}: {len(rates) / 1440:.1f} days are too few to forecast {hours:g} h and to check it",
            hint=f"{LEAST_DAYS} days and eight horizons are needed: a shorter --hours, or a longer trace",
        )
    return np.ascontiguousarray(whole)


def ideas(brief: Brief[Any]) -> Sequence[Proposal[ForecastPlan]]:
    """Trees on the profile, first."""
    return [
        Proposal(ForecastPlan("boosted"), "ideas", "trees on what the profile missed"),
        Proposal(ForecastPlan("profile", level=1.0), "ideas", "the profile, at the level of the last day"),
        Proposal(ForecastPlan("boosted", level=1.0), "ideas", "both"),
    ]


def _sample(folder: Path, seed: int) -> Forecasting:
    """Twelve days of hourly rates drawn by the seed: a daily shape, and noise."""
    rng = np.random.default_rng(seed)
    hours = np.arange(12 * 24)
    rates = np.maximum(0.1, 10 + 6 * np.sin(hours / 24 * 2 * np.pi) + rng.normal(0, 1.5, len(hours)))
    lines = ["second,rate", *(f"{3600 * hour},{rate:.3f}" for hour, rate in zip(hours, rates, strict=True))]
    to = folder / f"rates-{seed}.csv"
    to.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Forecasting(str(to), 12.0, str(seed))


CAPABILITY = Capability("forecast", Forecasting, _sample)
