"""Among plans that are as good as equal, pair by pair, the steadiest is confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

import numpy as np

from trimtab.core.budget import Meter
from trimtab.core.events import Judged
from trimtab.core.loop import optimize
from trimtab.core.model import Comparison, Evidence, Ladder, Measurement, Objective, Proposal, Rung, Sample
from trimtab.core.space import Int
from trimtab.core.wire import load
from trimtab.proposers.rules import Rules
from trimtab.testing import MemoryLedger

SAMPLES = 20


@dataclass(frozen=True)
class Mean:
    models: Annotated[int, Int(0, 9)] = 0


@dataclass(frozen=True)
class Blended:
    """Means of some models. All share the noise of a sample, and have some of their own."""

    quality: Mapping[int, float]
    name: str = "blended"
    goal: str = "the best blend"
    plan_type: type = Mean
    objective: Objective = field(default_factory=lambda: Objective("score", "max"))
    ladder: Ladder = field(
        default_factory=lambda: Ladder((Rung(1.0, SAMPLES),), SAMPLES, finalists=1, steadiest="models")
    )

    def observe(self) -> Evidence:
        return Evidence({}, "", datetime.now(UTC))

    def baselines(self) -> Mapping[str, Mean]:
        return {"current": Mean()}

    def measure(self, plan: Mean, sample: Sample) -> Measurement:
        shared = np.random.default_rng(sample.seed).normal(0, 10) if plan.models else 0.0
        own = 0.1 * plan.models * (-1) ** sample.seed  # of the mean zero
        return Measurement({"score": self.quality[plan.models] + shared + own, "models": float(plan.models)}, "run")


def confirmed(quality: Mapping[int, float]) -> int:
    """How many models are compared on the holdout."""
    ledger = MemoryLedger()
    plans = Rules("plans", lambda _: [Proposal(Mean(models), "plans") for models in quality if models])
    optimize(Blended(quality), plans, search=Meter(measurements=1000), check=Meter(), ledger=ledger)
    judged = [one.event for one in ledger.events(Judged)]
    (found,) = [one for one in judged if isinstance(one.verdict, Comparison) and one.verdict.split == "holdout"]
    return load(Mean, found.plan).models


def test_of_what_ties_with_the_best_the_steadiest_is_confirmed() -> None:
    assert confirmed({0: 0.0, 1: 20.0, 2: 20.0, 3: 20.0 - 0.01, 4: 19.0}) == 3


def test_what_is_surely_worse_than_the_best_does_not_tie_however_wide_its_gain_over_the_current_plan() -> None:
    assert confirmed({0: 0.0, 1: 20.0, 2: 19.7, 4: 19.5}) == 1
