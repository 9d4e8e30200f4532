"""The A/A check must fail where it should: a problem that favours whatever is measured later is caught."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pytest

from trimtab.core.model import Evidence, Ladder, Measurement, Objective, Rung, Sample
from trimtab.core.space import Int
from trimtab.testing import check_same

_TURN = itertools.count()


@dataclass(frozen=True)
class Knob:
    """Any plan will do."""

    value: Annotated[int, Int(0, 3)] = 0


@dataclass(frozen=True)
class WarmingUp:
    """Its machine gets faster with every measurement: the arm that is measured later looks better."""

    seed: int
    name: str = "warming-up"
    goal: str = "be fast"
    plan_type = Knob
    objective = Objective("seconds", "min")
    ladder = Ladder((Rung(1.0, 8),), holdout_seeds=8)

    def observe(self) -> Evidence:
        return Evidence({}, "nothing", datetime.now(UTC))

    def baselines(self) -> Mapping[str, Knob]:
        return {"current": Knob()}

    def measure(self, plan: Knob, sample: Sample) -> Measurement:
        noise = (hash((self.seed, sample.split, sample.seed)) % 1000) / 1e6
        return Measurement({"seconds": 1.0 / (1 + 0.01 * next(_TURN)) + noise}, "run")


def test_a_problem_that_favours_the_later_arm_is_caught(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="won against itself"):
        check_same(lambda folder, seed: WarmingUp(seed), tmp_path, runs=20)
