"""What `balance` may choose: whom a router considers, what it asks, and the program that scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trimtab.adapters.programs import fault
from trimtab.core.space import Choice, Float, Int, Source, When
from trimtab.inference.balancing.policies import (
    LEAST_EWMA,
    LEAST_REQUESTS,
    OWN_FIRST,
    PEAK_EWMA,
    PREFIX,
    PREFIX_HOME,
    PREQUAL,
    RANDOM,
    ROUND_ROBIN,
)
from trimtab.inference.balancing.signature import PICK

POOLED = When("candidates", "pool")


def _fault(source: str) -> str:
    return fault(source, PICK)


@dataclass(frozen=True)
class RoutingPlan:
    """A router's policy: the candidate that `program` scores lowest gets the request.

    candidates: all backends, some drawn by chance, or those with a probe in the pool. reports: a backend says how busy
    it is when it is probed, or in the header of every answer, too. asks: whom a probe asks; best: whom the program
    scores lowest. waits: a request waits for the reply to its own probe.
    """

    candidates: Annotated[str, Choice("all", "sample", "pool")] = "sample"
    choices: Annotated[int, Int(1, 16, log=True), When("candidates", "sample")] = 2
    reports: Annotated[str, Choice("probes", "answers")] = "probes"
    probes: Annotated[float, Float(0.0, 1.0)] = 0.0  # a request
    asks: Annotated[str, Choice("random", "stalest", "best")] = "random"
    waits: Annotated[bool, Choice(False, True)] = False
    reuse: Annotated[float, Float(1.0, 32.0, log=True), POOLED] = 4.0  # of a probe in the pool
    removals: Annotated[float, Float(0.0, 2.0), POOLED] = 0.25  # from the pool, a request
    memory: Annotated[float, Float(0.5, 200.0, log=True)] = 10.0  # of the averages, in mean service times
    program: Annotated[str, Source(fault=_fault, head=PICK.head, about=PICK.about)] = LEAST_REQUESTS


def prequal(probes: float, backends: int) -> RoutingPlan:
    """Prequal with so many probes a request; removals and uses by its formula (section 4.2, δ = 1, a pool of 16)."""
    removals = min(1.0, probes / 4)
    gained = (1 - min(16, backends) / max(17, backends)) * probes - removals
    reuse = max(1.0, min(32.0, 2.0 / gained)) if gained > 0 else 32.0
    return RoutingPlan("pool", probes=probes, reuse=reuse, removals=removals, program=PREQUAL)


ASKING = RoutingPlan("all", reports="answers", probes=1.0, asks="best", waits=True, program=OWN_FIRST)

PEERS: dict[str, RoutingPlan] = {
    "random": RoutingPlan(choices=1, program=RANDOM),
    "round robin": RoutingPlan("all", program=ROUND_ROBIN),
    "p2c": RoutingPlan(),
    "least requests": RoutingPlan("all", program=LEAST_REQUESTS),
    "least ewma": RoutingPlan(program=LEAST_EWMA),
    "peak ewma": RoutingPlan(program=PEAK_EWMA),
    "prequal": prequal(1.0, 32),
    # Where backends are hardly more than the pool, the paper's formula uses a probe until it is stale: two do better.
    "prequal, two uses": RoutingPlan("pool", probes=1.0, reuse=2.0, removals=0.3, program=PREQUAL),
    "prefix": RoutingPlan("all", reports="answers", program=PREFIX),
    "prefix home": RoutingPlan("all", reports="answers", program=PREFIX_HOME),
}
