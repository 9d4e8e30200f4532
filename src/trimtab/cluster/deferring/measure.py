"""Replays a plan: work that may wait on a series, jobs with a deadline on spot markets."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trimtab.adapters.programs import compile_program
from trimtab.cluster.deferring.forecasts import BLENDS, KINDS, blend, forecasts
from trimtab.cluster.deferring.optimum import cheapest_jobs
from trimtab.cluster.deferring.plan import SpotPlan, WindowPlan
from trimtab.cluster.deferring.profiles import Ahead, Table
from trimtab.cluster.deferring.series import Market, Source, read_availability, read_market
from trimtab.cluster.deferring.spot import COST, FINISH, MARKET, Job, played
from trimtab.cluster.deferring.windows import (
    DEFER,
    Series,
    Starts,
    Work,
    cheapest_work,
    work_at_once,
    worked,
)
from trimtab.core.errors import InputError


@dataclass(frozen=True)
class Known:
    """A series, and beside it one that is published a day ahead, at step `published` of every day; `made`: forecasts.

    Forecasts are made here when `made` is no file that holds them (`keep_forecasts` writes one).
    """

    series: Source
    ahead: Source | None = None
    published_hour: int = 12
    made: str = ""


@dataclass(frozen=True)
class Waited:
    """What work that may wait cost, each one's sum of the series, beside foresight and not waiting at all."""

    cost: Series
    foresight: Series
    at_once: Series

    @property
    def captured(self) -> float:
        """The share of the saving of foresight."""
        hoped = float((self.at_once - self.foresight).sum())
        return float((self.at_once - self.cost).sum()) / hoped if hoped > 0 else 1.0


@dataclass(frozen=True)
class Ran:
    """What jobs did on spot markets: cost in on-demand hours beside foresight's, and whether any was late."""

    cost: Series
    foresight: Series
    late: int

    @property
    def to_foresight(self) -> float:
        """The mean cost over the mean cost of foresight."""
        return float(self.cost.sum() / self.foresight.sum())


def waited(plan: WindowPlan, known: Known, work: Work, starts: Starts) -> Waited:
    """Replay work that is handed in at each of `starts`."""
    market, table = market_of(known.series), forecast_of(known, work.within, plan.forecast)
    policy = compile_program(plan.program, DEFER)
    cost = worked(market.values, table, starts, work, policy, market.day)
    return Waited(cost, cheapest_work(market.values, starts, work), work_at_once(market.values, starts, work))


@dataclass(frozen=True)
class Hours:
    """Jobs handed in every `every` hours, so that their windows lie within one half of a trace."""

    is_second: bool
    every: float = 1.0

    def starts(self, steps: int, length: int, step_hours: float) -> Starts:
        """Steps at which jobs with windows of `length` steps begin; the second half's after a purge of a day."""
        half = steps // 2
        purge = min(round(24 / step_hours), half // 10)
        first, end = (half + purge, steps) if self.is_second else (0, half)
        return np.arange(first, max(first, end - length + 1), max(1, round(self.every / step_hours)))


def ran(
    plan: SpotPlan, sources: Sequence[str], jobs: Sequence[Job], hours: Hours, part: tuple[int, int] = (0, 1)
) -> Ran:
    """Replay each job on each trace; `part`: (i, n), of n equal parts of each trace's jobs the i-th."""
    policy = compile_program(plan.program, MARKET)
    cost, foresight, late = [], [], 0
    for source in sources:
        found = read_availability(source)
        for job in jobs:
            starts = hours.starts(len(found.up), job.steps(found.step_hours), found.step_hours)
            mine = np.array_split(np.arange(len(starts)), part[1])[part[0]]
            made = played(found.up, starts[mine], job, found.step_hours, policy)
            late += int((made[:, FINISH] > job.deadline + 1e-6).sum())
            cost.append(made[:, COST])
            foresight.append(_foresight(source, job, hours)[mine])
    return Ran(np.concatenate(cost), np.concatenate(foresight), late)


@functools.lru_cache(maxsize=1024)
def _foresight(source: str, job: Job, hours: Hours) -> Series:
    found = read_availability(source)
    starts = hours.starts(len(found.up), job.steps(found.step_hours), found.step_hours)
    return np.asarray(cheapest_jobs(found.up, starts, job, found.step_hours))


def market_of(source: Source) -> Market:
    """The series of a source, read once."""
    return read_market(source)


@functools.lru_cache(maxsize=16)
def forecast_of(known: Known, within: int, kind: str) -> Table:
    """The forecasts of a kind for every step of the series: read, or made."""
    if known.made and Path(known.made).exists():
        with np.load(known.made) as kept:
            return np.ascontiguousarray(kept[kind])
    if kind in BLENDS:
        return blend([forecast_of(known, within, part) for part in BLENDS[kind]])
    market = market_of(known.series)
    return np.ascontiguousarray(forecasts(market.values, within, kind, market.day, ahead_of(known)))


def keep_forecasts(known: Known, within: int, to: Path) -> None:
    """Make all forecasts of a series and write them: measurements then need not make them each for itself."""
    np.savez(to, **{kind: forecast_of(known, within, kind).astype(np.float64) for kind in KINDS})  # type: ignore[arg-type]


def ahead_of(known: Known) -> Ahead | None:
    """The series that is known ahead, on the steps of the other. Raises InputError when they do not match."""
    if known.ahead is None:
        return None
    market, beside = market_of(known.series), market_of(known.ahead)
    if beside.step != market.step:
        raise InputError(
            f"{known.ahead.source}: steps of {beside.step:,} s beside steps of {market.step:,} s",
            hint="bring both series to the same steps",
        )
    shift = (market.first - beside.first) // market.step
    values = np.full(len(market.values), np.nan)
    first, last = max(0, -shift), min(len(values), len(beside.values) - shift)
    if last - first < 0.9 * len(values):
        raise InputError(f"{known.ahead.source} covers less than nine tenths of {known.series.source}")
    values[first:last] = beside.values[first + shift : last + shift]
    return Ahead(values, known.published_hour * 3600 // market.step)


def warm() -> None:
    """Compile all that a measurement calls: before a worker is confined, since the compiler writes its cache."""
    up, starts, job = np.ones(200, np.uint8), np.arange(2), Job(4.0, 8.0)
    played(up, starts, job, 1.0, compile_program(SpotPlan().program, MARKET))
    cheapest_jobs(up, starts, job, 1.0)
    values = np.arange(200.0)
    worked(values, np.zeros((200, 24)), starts, Work(), compile_program(WindowPlan().program, DEFER))
