"""The A/A check: a plan equal to the current one, but counted as another, must not win more often than by chance."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.core import portable
from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.core.model import Brief, Evidence, Json, Ladder, Measurement, Objective, Proposal, Sample
from trimtab.core.ports import Problem
from trimtab.core.wire import canonical, load
from trimtab.testing.fakes import MemoryLedger

CHANCE = 0.05  # the share of A/A runs that may find a winner


@dataclass(frozen=True)
class TwinPlan:
    """A plan of another problem, and which of two equal arms it stands for."""

    plan: str  # as canonical JSON: a plan is hashable
    arm: str = "a"


@dataclass(frozen=True)
class Twin:
    """A problem whose plans are told apart by their arm alone. The loop treats it as any other."""

    twin_of: Mapping[str, Json]  # a portable reference

    @property
    def _inner(self) -> Problem[Any]:
        return _problem(canonical(self.twin_of))

    @property
    def name(self) -> str:
        return f"{self._inner.name}-twin"

    @property
    def goal(self) -> str:
        return self._inner.goal

    @property
    def plan_type(self) -> type[TwinPlan]:
        return TwinPlan

    @property
    def objective(self) -> Objective:
        return self._inner.objective

    @property
    def ladder(self) -> Ladder:
        return self._inner.ladder

    def observe(self) -> Evidence:
        """What the problem observes."""
        return self._inner.observe()

    def baselines(self) -> Mapping[str, TwinPlan]:
        """The current plan, as arm a."""
        return {"current": TwinPlan(canonical(self._inner.baselines()["current"]), "a")}

    def measure(self, plan: TwinPlan, sample: Sample) -> Measurement:
        """Measure the plan, whichever arm it stands for."""
        inner = self._inner
        return inner.measure(load(inner.plan_type, json.loads(plan.plan)), sample)


class OtherArm:
    """Proposes the current plan as arm b, once."""

    name = "other-arm"

    def propose(self, brief: Brief[Any]) -> Sequence[Proposal[Any]]:
        """Arm b, unless it is known."""
        return [] if brief.history else [Proposal(TwinPlan(brief.current.plan, "b"), self.name, "it is the same")]


def twin(problem: Problem[Any]) -> Twin:
    """The A/A version of a portable problem."""
    return Twin(portable.reference(problem))


def winners(sample: Callable[[Path, int], Problem[Any]], folder: Path, runs: int = 100) -> int:
    """In how many of `runs` studies, each on another draw of the sample, arm b was found to be better than arm a."""
    found = 0
    for seed in range(runs):
        meters = Meter(measurements=10_000), Meter(measurements=10_000)
        decision = optimize(
            twin(sample(folder, seed)), OtherArm(), search=meters[0], check=meters[1], ledger=MemoryLedger(), seed=seed
        )
        assert decision.trials, f"run {seed} judged nothing: {decision.stopped}"
        found += decision.winner is not None
    return found


def check_same(
    sample: Callable[[Path, int], Problem[Any]], folder: Path, runs: int = 100, allowed: int | None = None
) -> None:
    """Check that equal plans win in at most `allowed` runs: by default one of twenty."""
    most = int(CHANCE * runs) if allowed is None else allowed
    found = winners(sample, folder, runs)
    assert found <= most, f"the plan won against itself in {found} of {runs} runs, {most} are allowed"


@functools.lru_cache(maxsize=4)
def _problem(reference: str) -> Problem[Any]:
    found = json.loads(reference)
    problem: Problem[Any] = load(portable.imported(found["type"]), found["fields"])
    return problem
