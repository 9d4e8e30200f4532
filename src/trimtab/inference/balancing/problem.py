"""balance: the routing policy with the shortest slow answers, on the half of the requests that nobody saw."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

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
from trimtab.inference.balancing.measure import Fleet, Reference, referred, routed, tail
from trimtab.inference.balancing.plan import ASKING, PEERS, RoutingPlan, prequal
from trimtab.inference.balancing.policies import LIBRARY, RELAXED
from trimtab.inference.balancing.requests import Tokens, at_load, load_of_file, part, resampled, utilisation
from trimtab.inference.balancing.simulator import Load

TWO_CHOICES = RoutingPlan()
TOKENS = Tokens()
SEEDS = 8
CHUNKS = 16  # of a sample: drawn from its half with replacement
MOST = 200_000  # requests of a sample
PURGE = 0.05  # of the requests, between the halves


@dataclass(frozen=True)
class Asked:
    """Where the requests come from. `load` above 0: time is stretched until they are that share of the capacity."""

    source: str
    load: float = 0.0
    tokens: Tokens = TOKENS
    fingerprint: str = ""


@dataclass(frozen=True)
class Balancing:
    """Choose a routing policy. Search: chunks of the first half; holdout: of the second."""

    asked: Asked
    fleet: Fleet
    probes_allowed: float = 1.0  # a request
    answers_report: bool = True  # whether backends can say on their answers how busy they are
    current: RoutingPlan = TWO_CHOICES
    seeds: int = SEEDS
    name: str = "balance"
    goal: str = "route requests so that the slowest hundredth is answered sooner"

    @property
    def plan_type(self) -> type[RoutingPlan]:
        return RoutingPlan

    @property
    def objective(self) -> Objective:
        rails = (
            Guardrail("probes_a_request", self.probes_allowed, "at_most"),
            Guardrail("reports_on_answers", float(self.answers_report), "at_most"),
        )
        return Objective("p99_seconds", "min", rails, margin=0.01, scale="ratio", unit="p99 latency")

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(0.25, self.seeds), Rung(1.0, self.seeds)), holdout_seeds=self.seeds, finalists=3)

    def observe(self) -> Evidence:
        """The shape of the first half, and the fleet."""
        seen = part(self.load, slice(0, self.half))
        needs = seen.work + seen.prefix
        facts: dict[str, Json] = {
            "requests": len(needs),
            "load": round(utilisation(seen, self.fleet.capacity), 3),
            "seconds": {str(q): round(float(np.quantile(needs, q)), 5) for q in (0.5, 0.9, 0.99, 1.0)},
            "mean_seconds": round(float(needs.mean()), 5),
            "routers": self.fleet.routers,
            "backends": self.fleet.backends,
            "slots": self.fleet.slots,
            "speeds": list(self.fleet.speeds[:16]),
            "rtt_seconds": self.fleet.rtt_seconds,
            "cached_blocks": self.fleet.cached_blocks,
        }
        return Evidence(facts, Path(self.asked.source).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, RoutingPlan]:
        """Today's policy and the usual ones as they come."""
        return {"current": self.current, **peers(self.fleet)}

    def measure(self, plan: RoutingPlan, sample: Sample) -> Measurement:
        """Route one draw of chunks of a half; `fraction` below 1: fewer chunks."""
        load = self.drawn(sample)
        made = routed(plan, load, self.fleet, sample.seed)
        count = len(load.times)
        shares = np.bincount(made.backend, minlength=self.fleet.backends) / count
        p99 = tail(made)
        metrics = {
            "p99_seconds": p99,
            "p50_seconds": tail(made, 0.5),
            "mean_seconds": float(made.latency.mean()),
            "probes_a_request": made.probes / count,
            "reports_on_answers": float(plan.reports == "answers"),
            "prefix_found": float(made.found.mean()),
        }
        note = f"p99 {p99:.4g} s, busiest backend {shares.max() * self.fleet.backends:.2f} × its share"
        return Measurement(metrics, "simulation", notes=note if sample.split == "search" else "")

    def reference(self, name: Reference, sample: Sample) -> float:
        """The p99 in seconds of a rule that sees the backends themselves, on the same requests."""
        return tail(referred(name, self.drawn(sample), self.fleet, sample.seed))

    @property
    def load(self) -> Load:
        """All requests, at the load asked for."""
        return _load(self.asked, self.fleet.capacity)

    @property
    def half(self) -> int:
        """The number of the first request of the second half."""
        return len(self.load.times) // 2

    def drawn(self, sample: Sample) -> Load:
        """The requests of a sample: chunks of its half, drawn by the seed; the holdout's begins after the purge."""
        total = len(self.load.times)
        first, last = (0, self.half) if sample.split == "search" else (self.half + int(total * PURGE), total)
        size = max(25, min(last - first, MOST) // CHUNKS)
        count = max(1, round(CHUNKS * sample.fraction))
        return resampled(self.load, slice(first, last), count, size, sample.seed)


@functools.lru_cache(maxsize=4)
def _load(asked: Asked, capacity: float) -> Load:
    load = load_of_file(Path(asked.source), asked.tokens)
    return at_load(load, capacity, asked.load) if asked.load > 0 else load


def peers(fleet: Fleet) -> dict[str, RoutingPlan]:
    """The known policies, for a fleet: those for prefixes where there are caches only."""
    made = PEERS | {"prequal": prequal(1.0, fleet.backends)}
    return made if fleet.cached_blocks else {name: plan for name, plan in made.items() if not name.startswith("prefix")}


def ideas(brief: Brief[Any]) -> Sequence[Proposal[RoutingPlan]]:
    """Known good starts: ask the best guess before sending, learn from every answer, count what was sent since."""
    plans = {
        "ask the best guess, wait for its reply, learn from answers": ASKING,
        "the same, not waiting": replace(ASKING, waits=False),
        "learn from answers alone": replace(ASKING, probes=0.0, waits=False, asks="random"),
        "probes alone": replace(ASKING, reports="probes"),
        "a random probe, waited for": replace(ASKING, asks="random"),
        "reports that grow old, a random probe": replace(ASKING, asks="random", program=RELAXED),
        "learn from answers alone, by reports that grow old": replace(
            ASKING, probes=0.0, waits=False, asks="random", program=RELAXED
        ),
    }
    return [Proposal(plan, "ideas", because) for because, plan in plans.items()]


def library(brief: Brief[Any]) -> Sequence[Proposal[RoutingPlan]]:
    """The programs that ship, with the best guess asked: what the search for better ones starts from."""
    return [Proposal(replace(ASKING, program=text), "library", name) for name, text in LIBRARY.items()]


def _sample(folder: Path, seed: int) -> Balancing:
    """Sixteen thousand requests of lognormal length at 85 % of eight backends."""
    rng = np.random.default_rng(seed)
    fleet, count = Fleet(backends=8, routers=4, slots=1, rtt_seconds=0.0005), 16_000
    needs = 0.05 * rng.lognormal(-0.5, 1.0, count)
    times = np.cumsum(rng.exponential(0.05 / fleet.capacity / 0.85, count))
    to = folder / f"requests-{seed}.csv"
    lines = [f"{time:.6f},{need:.6f}" for time, need in zip(times, needs, strict=True)]
    to.write_text("time,seconds\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return Balancing(Asked(str(to), fingerprint=str(seed)), fleet)


CAPABILITY = Capability("balance", Balancing, _sample)
