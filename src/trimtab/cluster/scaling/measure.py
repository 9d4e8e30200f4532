"""Replays a plan over a stretch of a trace."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trimtab.adapters.programs import compile_program
from trimtab.cluster.forecasting.seasonal import seasonal_quantile
from trimtab.cluster.scaling import simulator
from trimtab.cluster.scaling.plan import ScalingPlan
from trimtab.cluster.scaling.queueing import Series, highest_rates, least_servers
from trimtab.cluster.scaling.simulator import STEP, Service

KINDS = {
    "static": simulator.STATIC,
    "hpa": simulator.HPA,
    "keda": simulator.KEDA,
    "knative": simulator.KNATIVE,
    "forecast": simulator.FORECAST,
    "program": simulator.PROGRAM,
}
Heard = npt.NDArray[np.bool_]
ALL_HEARD: Heard = np.zeros(0, bool)
GAP_EVERY, GAP_MINUTES = 60.0, 3.0  # means: how often measurements stop, and for how long
MOST_TIMES = 4.0  # the highest rate of the trace: what no sensible policy provides for
LEAD_MINUTES = 3  # the forecast policy looks at the highest forecast of the next minutes: a cold start and a sync


@dataclass(frozen=True)
class Replay:
    """What a plan did over a stretch, by minute, and in all."""

    replicas: Series  # billed, mean of each minute
    late: Series  # share of each minute's requests
    late_share: float  # of all requests
    replica_hours: float

    @property
    def hours_per_day(self) -> float:
        return self.replica_hours / (len(self.replicas) / 1440)


class History:
    """A trace with the forecasts that policies may look at; each is made once."""

    def __init__(self, rates: Series) -> None:
        self.rates = rates
        self._forecast = functools.lru_cache(maxsize=16)(self._make)

    @functools.cached_property
    def highest(self) -> float:
        """The highest rate, requests/s."""
        return float(self.rates.max())

    def forecast(self, weeks: int, quantile: float) -> Series:
        """The highest seasonal quantile of the next minutes, for each minute; it knows the past of each minute only."""
        return self._forecast(weeks, quantile)

    def _make(self, weeks: int, quantile: float) -> Series:
        single = seasonal_quantile(self.rates, weeks=weeks, quantile=quantile)
        padded = np.concatenate([single, np.repeat(single[-1:], LEAD_MINUTES)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, LEAD_MINUTES + 1)
        return np.asarray(windows.max(axis=1))


def replayed(
    plan: ScalingPlan, history: History, stretch: slice, service: Service, stress: float = 1.0, heard: Heard = ALL_HEARD
) -> Replay:
    """Replay a plan over `stretch` (minutes of the trace), with the load times `stress`.

    `heard`: for each step whether its measurements arrive; empty: all do. A static plan is sized by the highest rate
    before the stretch (or in it, when nothing came before).
    """
    rates = np.ascontiguousarray(history.rates[stretch]) * stress
    forecast = np.full(len(rates), np.nan)
    if plan.kind in ("forecast", "program"):
        forecast = history.forecast(plan.weeks, plan.quantile)[stretch] * stress
    past = history.rates[: stretch.start] if stretch.start else history.rates[stretch]
    needs = needed_rates(service, plan.late_share, MOST_TIMES * history.highest)
    first = max(1, int(least_servers(float(rates[0]) * 1.2, needs)))
    start = static_replicas(plan, past, service) if plan.kind == "static" else first
    knobs = _knobs(plan, float(start))
    numbers = np.array(
        [
            service.service_seconds,
            service.allowed_seconds,
            np.ceil(service.cold_start_seconds / STEP),
            service.spread,
            service.most,
        ]
    )
    policy = compile_program(plan.program, simulator.DESIRED)
    series = simulator.replay(
        rates, np.ascontiguousarray(forecast), heard, KINDS[plan.kind], knobs, needs, numbers, start, policy
    )
    billed, late, late_requests = series
    requests = rates.sum() * 60
    share = float(late_requests.sum() / requests) if requests > 0 else 0.0
    return Replay(billed, late, share, float(billed.sum() / 60))


def with_gaps(minutes: int, seed: int = 0) -> Heard:
    """Measurements that stop about once an hour, for some minutes each time: whether each step's arrive."""
    rng = np.random.default_rng(seed)
    steps = round(60 / STEP)
    heard = np.ones(minutes * steps, bool)
    at = 0
    while (at := at + round(rng.exponential(GAP_EVERY * steps))) < len(heard):
        until = at + max(1, round(rng.exponential(GAP_MINUTES * steps)))
        heard[at:until] = False
        at = until
    return heard


@functools.lru_cache(maxsize=256)
def needed_rates(service: Service, late_share: float, enough: float = np.inf) -> Series:
    """The highest rate for each number of replicas at a share of late requests; beyond `enough` roughly."""
    return np.asarray(
        highest_rates(
            service.most, service.service_seconds, service.allowed_seconds, service.spread, late_share, enough
        )
    )


def static_replicas(plan: ScalingPlan, past: Series, service: Service) -> int:
    """How many replicas serve `headroom` times the highest rate that was seen."""
    return max(1, int(least_servers(plan.headroom * float(past.max()), needed_rates(service, 0.01))))


def _knobs(plan: ScalingPlan, static: float) -> Series:
    return np.array(
        [
            static if plan.kind == "static" else plan.weight,
            plan.target,
            max(1.0, plan.window_seconds / STEP),
            max(1.0, plan.stabilisation_seconds / STEP),
            plan.margin,
            plan.trend,
            plan.panic,
        ]
    )


def warm() -> None:
    """Compile all that a measurement calls: before a worker is confined, since the compiler writes its cache."""
    rates = np.full(2 * 7 * 1440, 1.0)
    for kind in KINDS:
        replayed(ScalingPlan(kind, weeks=1), History(rates), slice(len(rates) - 10, len(rates)), Service(0.05, 0.2))
