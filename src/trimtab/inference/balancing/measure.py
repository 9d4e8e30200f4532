"""Routes requests under a plan, or under a reference that sees what no router can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from trimtab.adapters.programs import compile_program
from trimtab.inference.balancing import deciding
from trimtab.inference.balancing.backends import FIFO, SHARED
from trimtab.inference.balancing.plan import RoutingPlan
from trimtab.inference.balancing.policies import COMPLETION, IN_FLIGHT
from trimtab.inference.balancing.signature import PICK
from trimtab.inference.balancing.simulator import Backends, Load, Routed, Series, route

CANDIDATES = {"all": deciding.ALL, "sample": deciding.SAMPLE, "pool": deciding.POOLS}
ASKS = {"random": deciding.RANDOM, "stalest": deciding.STALEST, "best": deciding.BEST}
WARM_UP = 0.1  # share of the requests, while backends fill, that does not count

Reference = Literal["jsq", "oracle"]


@dataclass(frozen=True)
class Fleet:
    """Routers and backends: `speeds` of the backends are repeated in order, so that (1, 2) is half of each."""

    backends: int = 32
    routers: int = 16
    slots: int = 2  # requests that a backend serves at a time
    speeds: tuple[float, ...] = (1.0,)
    is_shared: bool = False  # slots are cores that all requests share, else requests wait for a slot
    rtt_seconds: float = 0.001
    cached_blocks: int = 0  # that each backend keeps

    @property
    def capacity(self) -> float:
        """Seconds of work at speed 1 that all backends do in a second."""
        return float(self.all_speeds.sum()) * self.slots

    @property
    def all_speeds(self) -> Series:
        """By backend."""
        return np.resize(np.array(self.speeds, float), self.backends)


def routed(plan: RoutingPlan, load: Load, fleet: Fleet, seed: int) -> Routed:
    """What becomes of the requests under a plan."""
    rules = _rules(fleet, seed, float((load.work + load.prefix).mean()) * plan.memory)
    rules[deciding.CANDIDATES] = CANDIDATES[plan.candidates]
    rules[deciding.CHOICES] = min(plan.choices, fleet.backends)
    rules[deciding.TARGET] = ASKS[plan.asks]
    rules[deciding.WAITS] = float(plan.waits and plan.probes > 0)
    rules[deciding.CARRIES] = deciding.ANSWERS if plan.reports == "answers" else deciding.PROBES
    rules[deciding.PROBES_EACH] = plan.probes
    rules[deciding.REUSE], rules[deciding.REMOVED] = plan.reuse, plan.removals
    return route(load, _backends(fleet), rules, compile_program(plan.program, PICK))


def referred(reference: Reference, load: Load, fleet: Fleet, seed: int) -> Routed:
    """The same under a rule that sees the backends themselves: JSQ their requests, the oracle their unfinished work."""
    rules = _rules(fleet, seed, 1.0)
    if reference == "jsq":
        rules[deciding.SEES] = deciding.FRESH
        return route(load, _backends(fleet), rules, compile_program(IN_FLIGHT, PICK))
    rules[deciding.SEES] = deciding.TRUTH
    known = Load(load.times, load.work, load.prefix, load.work, load.offsets, load.blocks)
    return route(known, _backends(fleet), rules, compile_program(COMPLETION, PICK))


def tail(made: Routed, quantile: float = 0.99) -> float:
    """A quantile of the latency in seconds, after the warm-up."""
    return float(np.quantile(made.latency[int(len(made.latency) * WARM_UP) :], quantile))


def _rules(fleet: Fleet, seed: int, memory_seconds: float) -> Series:
    rules = np.zeros(deciding.MEMORY + 1)
    rules[deciding.ROUTERS], rules[deciding.SEED] = fleet.routers, seed
    rules[deciding.CHOICES] = fleet.backends
    rules[deciding.RTT], rules[deciding.MEMORY] = fleet.rtt_seconds, max(1e-9, memory_seconds)
    return rules


def _backends(fleet: Fleet) -> Backends:
    discipline = SHARED if fleet.is_shared else FIFO
    slots = np.full(fleet.backends, fleet.slots, np.int64)
    return Backends(fleet.all_speeds, slots, discipline, max(1, fleet.cached_blocks))


def warm() -> None:
    """Compile all that a measurement calls: before a worker is confined, since the compiler writes its cache."""
    nothing = np.zeros(0, np.int64)
    routed(RoutingPlan(), Load(np.arange(2.0), np.ones(2), np.zeros(2), np.ones(2), nothing, nothing), Fleet(2, 1), 0)
