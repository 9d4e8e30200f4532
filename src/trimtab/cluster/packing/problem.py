"""pack: the rule that puts most of what is asked for on the GPUs there are, on pods that nothing was chosen on.

Pods are drawn from a half of the history until they ask for 1.3 times the GPUs there are, and are placed one by one, as
in Weng et al. (ATC 2023); the usual mix, by which fragmentation is measured, is always the first half's. For the search
every second order of arrival is drawn from a third of its half: what only suits the whole half does not last. While
less is asked for than there is, a rule may turn away hardly more than the best known one.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trimtab.adapters.programs import compile_program
from trimtab.cluster.packing.bound import most_allocated
from trimtab.cluster.packing.fleet import Fleet, read_fleet
from trimtab.cluster.packing.plan import LIBRARY, PEERS, PackingPlan
from trimtab.cluster.packing.simulator import FIT, Ints, Table, filled
from trimtab.core.model import Brief, Evidence, Guardrail, Json, Ladder, Measurement, Objective, Proposal, Rung, Sample
from trimtab.core.ports import Capability

LEVELS = (0.8, 0.9, 1.0, 1.3)  # of the GPUs there are, that have been asked for
SEEDS = 6  # orders of arrival
PARTS = 3  # of the half that is searched on
SPREAD = PackingPlan()
Pool = Literal["search", "holdout", "all"]


@dataclass(frozen=True)
class Packing:
    """Choose a placement rule for a fleet."""

    pods: str
    nodes: str
    fingerprint: str = ""
    short: float = 0.001  # of the GPUs: what may be allocated less than by the best known rule below the full load
    current: PackingPlan = SPREAD
    name: str = "pack"
    goal: str = "allocate more of the GPUs there are"

    @property
    def plan_type(self) -> type[PackingPlan]:
        return PackingPlan

    @property
    def objective(self) -> Objective:
        return Objective("idle", "min", (Guardrail("short_below_full", self.short, "at_most"),), margin=0.001)

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(1.0, 2), Rung(1.0, SEEDS)), holdout_seeds=SEEDS, finalists=5)

    @property
    def fleet(self) -> Fleet:
        """What the files say. Raises InputError."""
        return read_fleet(self.pods, self.nodes, self.fingerprint)

    def observe(self) -> Evidence:
        """The nodes, and what the first half asks for."""
        fleet = self.fleet
        codes = pool_of(fleet, "search")
        usual, weights = fleet.mix(codes)
        facts: dict[str, Json] = {
            "nodes": len(fleet.sizes),
            "gpus": fleet.gpus,
            "cores_by_gpu_node": float(fleet.sizes[fleet.sizes[:, 2] > 0, 0].sum() / fleet.gpus),
            "cores_asked_for_each_gpu": float(fleet.kinds[codes, 0].sum() / max(1e-9, fleet.asked(codes).sum())),
            "share_without_gpu": float((fleet.kinds[codes, 2] == 0).mean()),
            "usual_kinds": [
                {"cores": cpu, "gib": memory, "gpus": count, "share": share, "weight": round(float(weight), 4)}
                for (cpu, memory, count, share), weight in zip(usual[:12].tolist(), weights[:12], strict=True)
            ],
        }
        return Evidence(facts, Path(self.pods).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, PackingPlan]:
        """Today's rule and the known ones."""
        return {"current": self.current, **PEERS}

    def measure(self, plan: PackingPlan, sample: Sample) -> Measurement:
        """One order of arrival."""
        split: Pool = "search" if sample.split == "search" else "holdout"
        allocated = allocation(self, plan, split, sample.seed)
        metrics = {
            "idle": float(np.mean([min(1.0, level) - one for level, one in zip(LEVELS, allocated, strict=True)])),
            "short_below_full": self._short(allocated, split, sample.seed),
            **{f"allocated_at_{level:.0%}": one for level, one in zip(LEVELS, allocated, strict=True)},
        }
        return Measurement(metrics, "simulation")

    def _short(self, allocated: tuple[float, ...], split: Pool, seed: int) -> float:
        """What the best known rule allocates more, at the worst level below the full load."""
        known = [allocation(self, plan, split, seed) for plan in {self.current, *PEERS.values()}]
        below = [place for place, level in enumerate(LEVELS) if level < 1]
        return max(max(one[place] for one in known) - allocated[place] for place in below)


def pool_of(fleet: Fleet, pool: Pool) -> Ints:
    """The pods of a half of the history, or of all of it."""
    half = len(fleet.codes) // 2
    return {"search": fleet.codes[:half], "holdout": fleet.codes[half:], "all": fleet.codes}[pool]


@functools.lru_cache(maxsize=512)
def allocation(problem: Packing, plan: PackingPlan, pool: Pool, seed: int) -> tuple[float, ...]:
    """The share of the GPUs that is allocated when so much of them has been asked for, at each of `LEVELS`."""
    fleet = problem.fleet
    arrivals = drawn(fleet, pool, seed)
    mix = fleet.mix(pool_of(fleet, "all" if pool == "all" else "search"))
    looks = "change" in plan.program or "lost" in plan.program
    placed = filled(fleet.sizes, fleet.kinds, arrivals, mix, compile_program(plan.program, FIT), looks)
    asked = fleet.asked(arrivals)
    given = np.concatenate([[0.0], np.cumsum(np.where(placed >= 0, asked, 0.0))])
    return tuple(float(given[end] / fleet.gpus) for end in _ends(fleet, asked))


def at_most(problem: Packing, pool: Pool, seed: int) -> tuple[float, ...]:
    """What any placement, foresight included, could allocate of the same pods at each of `LEVELS`: a bound."""
    fleet = problem.fleet
    arrivals = drawn(fleet, pool, seed)
    return tuple(most_allocated(fleet, arrivals[:end]) for end in _ends(fleet, fleet.asked(arrivals)))


def _ends(fleet: Fleet, asked: Table) -> list[int]:
    """How many pods have come when they have asked for each of `LEVELS`."""
    total = np.cumsum(asked)
    return [int(np.searchsorted(total, level * fleet.gpus, side="right")) for level in LEVELS]


def drawn(fleet: Fleet, pool: Pool, seed: int) -> Ints:
    """Pods drawn until they ask for what the last of `LEVELS` says, and no more."""
    codes = pool_of(fleet, pool)
    if pool == "search" and seed % 2:
        codes = np.array_split(codes, PARTS)[-1 - seed // 2 % PARTS]
    rng = np.random.default_rng([seed, len(pool)])
    mean = max(1e-9, float(fleet.asked(codes).mean()))
    most = int(1.2 * LEVELS[-1] * fleet.gpus / mean) + 1000
    arrivals = codes[rng.integers(0, len(codes), most)]
    return arrivals[: int(np.searchsorted(np.cumsum(fleet.asked(arrivals)), LEVELS[-1] * fleet.gpus, side="right"))]


def library(brief: Brief[Any]) -> Sequence[Proposal[PackingPlan]]:
    """The programs that ship: what the search for better ones starts from."""
    return [Proposal(plan, "library", name) for name, plan in LIBRARY.items()]


def warm() -> None:
    """Nothing to do: importing this module has compiled the simulator."""


def _sample(folder: Path, seed: int) -> Packing:
    """Twelve nodes, of which some have GPUs, and 400 pods drawn by the seed."""
    rng = np.random.default_rng(seed)
    nodes = ["cpu,memory_gib,gpus", *["32,256,4"] * 6, *["16,64,2"] * 3, *["32,128,0"] * 3]
    pods = ["cpu,memory_gib,gpus,gpu_share"]
    for _ in range(400):
        share = rng.choice([0.0, 0.2, 0.5, 1.0], p=[0.2, 0.2, 0.2, 0.4])
        pods.append(f"{rng.choice([2, 6, 10])},{rng.choice([4, 16])},{1 if share else 0},{share}")
    for name, lines in (("nodes", nodes), ("pods", pods)):
        (folder / f"{name}-{seed}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Packing(
        str(folder / f"pods-{seed}.csv"),
        str(folder / f"nodes-{seed}.csv"),
        str(seed),
        current=PEERS["best fit"],
    )


CAPABILITY = Capability("pack", Packing, _sample)
