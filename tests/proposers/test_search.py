"""Classical search, on spaces of every kind and on a real model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from sklearn.neighbors import KNeighborsClassifier  # type: ignore[import-untyped]

from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.core.model import (
    Brief,
    Comparison,
    Evidence,
    Interval,
    Ladder,
    Measurement,
    Objective,
    Proposal,
    Refusal,
    Rung,
    Sample,
    Spend,
    Trial,
    Verdict,
)
from trimtab.core.space import Choice, Float, Int, Subset, When, faults
from trimtab.proposers.search import MOST_SWITCHES, Search
from trimtab.testing import MemoryLedger


@dataclass(frozen=True)
class Mixed:
    depth: Annotated[int, Int(1, 64, log=True)] = 8
    rate: Annotated[float, Float(1e-3, 1.0, log=True)] = 0.1
    mode: Annotated[str, Choice("plain", "fancy")] = "plain"
    extras: Annotated[tuple[str, ...], Subset("a", "b", "c")] = ()
    finish: Annotated[int, Int(0, 9), When("mode", "fancy")] = 0
    label: str = "fixed"


def gain(plan: Mixed) -> float:
    bonus = len(plan.extras) + (2 + plan.finish / 9 if plan.mode == "fancy" else 0)
    return bonus - abs(np.log2(plan.depth) - 5) - abs(np.log10(plan.rate) + 2)


def judged(value: float, ruling: Any = "no_better") -> Comparison:
    return Comparison(ruling, "", Interval(value - 1, value, value + 1), {}, {}, "simulation")


def brief(history: tuple[Trial[Any], ...] = (), plan_type: type = Mixed) -> Brief[Any]:
    evidence = Evidence({}, "made up", datetime(2026, 1, 1, tzinfo=UTC))
    return Brief("", plan_type, plan_type(), Objective("gain", "max"), evidence, history, Spend())


def played(search: Search, rounds: int, verdict: Callable[[Mixed], Verdict]) -> tuple[Trial[Any], ...]:
    history: tuple[Trial[Any], ...] = ()
    for _ in range(rounds):
        history += tuple(Trial(one, verdict(one.plan)) for one in search.propose(brief(history)))
    return history


def by_gain(plan: Mixed) -> Verdict:
    return judged(gain(plan))


def test_every_kind_of_knob_is_searched_and_every_plan_is_valid() -> None:
    history = played(Search(seed=0), 60, by_gain)
    assert not any(faults(one.proposal.plan) for one in history)
    assert max(gain(one.proposal.plan) for one in history[30:]) > max(gain(one.proposal.plan) for one in history[:8])
    assert max(gain(one.proposal.plan) for one in history) > 4.0  # of 6.0; the plan that stands has -3.0


def test_an_idle_knob_keeps_its_default() -> None:
    plans = [one.proposal.plan for one in played(Search(seed=1), 30, by_gain)]
    assert {plan.finish for plan in plans if plan.mode == "plain"} == {0}
    assert len({plan.finish for plan in plans if plan.mode == "fancy"}) > 1


def test_a_search_that_starts_again_goes_on_as_it_would_have() -> None:
    lived = Search(seed=4)
    history = played(lived, 25, by_gain)
    assert Search(seed=4).propose(brief(history)) == lived.propose(brief(history))


def test_another_seed_searches_elsewhere() -> None:
    assert Search(seed=1).propose(brief()) != Search(seed=2).propose(brief())


def test_a_batch_holds_different_plans() -> None:
    plans = [one.plan for one in Search(seed=0, batch=10).propose(brief())]
    assert len(set(plans)) == 10


def test_plans_of_others_are_learned_from() -> None:
    good = replace(Mixed(), depth=32, rate=0.01, mode="fancy", extras=("a", "b", "c"), finish=9)
    near = [replace(good, depth=depth, finish=finish) for depth in (30, 32, 34) for finish in (7, 8, 9)]
    far = [replace(Mixed(), depth=depth, rate=rate) for depth in (1, 2, 3, 4) for rate in (0.5, 0.8, 1.0)]
    history = tuple(Trial(Proposal(plan, "language"), by_gain(plan)) for plan in near + far)
    plans = [one.plan for one in Search(seed=0, batch=10).propose(brief(history))]
    assert np.mean([gain(plan) for plan in plans]) > 2.0


def test_a_region_that_fails_or_is_unsafe_is_left() -> None:
    for bad in (Refusal("failed", "it crashed"), judged(100.0, "unsafe")):
        history = played(Search(seed=0), 50, lambda plan, bad=bad: bad if plan.mode == "fancy" else by_gain(plan))  # type: ignore[misc]
        late = [one.proposal.plan.mode for one in history[25:]]
        assert late.count("fancy") < 0.4 * len(late)


def test_the_same_object_can_serve_a_second_study() -> None:
    search = Search(seed=5)
    first = played(search, 12, by_gain)
    assert played(search, 12, by_gain) == first


def test_fixed_knobs_stay() -> None:
    plans = [one.proposal.plan for one in played(Search(seed=0, fixed={"mode": "fancy"}), 20, by_gain)]
    assert {plan.mode for plan in plans} == {"fancy"}
    assert len({plan.finish for plan in plans}) > 1


@dataclass(frozen=True)
class Wide:
    columns: Annotated[tuple[str, ...], Subset(*(f"c{i}" for i in range(MOST_SWITCHES + 1)))] = ("c1", "c2")
    size: Annotated[int, Int(0, 5, log=True)] = 0


@dataclass(frozen=True)
class Line:
    size: Annotated[int, Int(1, 64)] = 1


@dataclass(frozen=True)
class Nothing:
    size: int = 1


def test_a_subset_that_is_too_wide_is_left_as_it_stands() -> None:
    plans = [one.plan for one in Search(seed=0, batch=4).propose(brief(plan_type=Wide))]
    assert {plan.columns for plan in plans} == {("c1", "c2")}


def test_a_plan_without_knobs_gives_no_ideas() -> None:
    assert Search().propose(brief(plan_type=Nothing)) == ()


def test_a_space_that_is_used_up_ends() -> None:
    history: tuple[Trial[Any], ...] = ()
    for _ in range(12):
        plans = Search(seed=0).propose(brief(history, Wide))
        history += tuple(Trial(one, judged(float(one.plan.size))) for one in plans)
    assert {one.proposal.plan.size for one in history} == {0, 1, 2, 3, 4, 5}


def test_a_small_space_is_searched_to_its_end_where_the_model_has_settled() -> None:
    history: tuple[Trial[Any], ...] = ()
    search = Search(seed=0)
    for _ in range(63):
        plans = search.propose(brief(history, Line))
        history += tuple(Trial(one, judged(-abs(one.plan.size - 20.0))) for one in plans)
    assert len({one.proposal.plan.size for one in history}) == 63


def test_optuna_is_loaded_only_when_it_is_asked() -> None:
    code = "import sys, trimtab.proposers.search as s; s.Search(); sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_search_says_nothing_on_its_own() -> None:
    code = "from tests.proposers.test_search import Search, brief, by_gain, played\nplayed(Search(seed=0), 12, by_gain)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout + run.stderr == ""


@dataclass(frozen=True)
class Neighbours:
    count: Annotated[int, Int(1, 200, log=True)] = 100
    weights: Annotated[str, Choice("uniform", "distance")] = "uniform"
    power: Annotated[float, Float(1.0, 3.0)] = 1.0


@lru_cache(maxsize=1)
def digits() -> tuple[Any, Any, Any, Any]:
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order], y[order]
    return x[:600], y[:600], x[600:], y[600:]


@dataclass(frozen=True)
class Digits:
    """The error of nearest neighbours on blocks of digits: the first ten for the search, the others held out."""

    name: str = "digits"
    goal: str = "fewer errors"

    @property
    def plan_type(self) -> type[Neighbours]:
        return Neighbours

    @property
    def objective(self) -> Objective:
        return Objective("error", "min")

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(1.0, 2), Rung(1.0, 6)), holdout_seeds=6)

    def observe(self) -> Evidence:
        return Evidence({"rows": 1797}, "scikit-learn", datetime(2026, 1, 1, tzinfo=UTC))

    def baselines(self) -> Mapping[str, Neighbours]:
        return {"current": Neighbours(), "default": Neighbours(5, "uniform", 2.0)}

    def measure(self, plan: Neighbours, sample: Sample) -> Measurement:
        x, y, x_new, y_new = digits()
        block = slice(*(50 * (sample.seed + shift + 10 * (sample.split == "holdout")) for shift in (0, 1)))
        model = KNeighborsClassifier(plan.count, weights=plan.weights, p=plan.power, algorithm="brute").fit(x, y)
        return Measurement({"error": float(np.mean(model.predict(x_new[block]) != y_new[block]))}, "run")


def test_a_real_model_gets_better() -> None:
    decision = optimize(Digits(), Search(seed=0), search=Meter(measurements=60), check=Meter(), ledger=MemoryLedger())
    assert decision.winner is not None
    verdict = decision.winner.verdict
    assert isinstance(verdict, Comparison)
    assert verdict.split == "holdout"
    assert verdict.metrics["error"] < verdict.reference["error"] - 0.02
