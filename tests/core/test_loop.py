"""The loop, seen from outside: a small noisy problem, the shipped memory ledger."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import pytest

from trimtab.core.budget import Meter
from trimtab.core.errors import ContractError
from trimtab.core.events import Decided, Judged, Measured
from trimtab.core.loop import optimize
from trimtab.core.model import (
    Brief,
    Comparison,
    Evidence,
    Failure,
    Guardrail,
    Ladder,
    Measurement,
    Objective,
    Proposal,
    Refusal,
    Rung,
    Sample,
)
from trimtab.core.space import Int, draw
from trimtab.testing import MemoryLedger


@dataclass(frozen=True)
class Batching:
    size: Annotated[int, Int(1, 64)] = 1
    tag: str = ""


@dataclass(frozen=True)
class Valley:
    """Cost is (size - best)² / 100 + 1, with noise that plans share on a sample; risk grows with size."""

    best: int = 20
    noise: float = 0.2
    own_noise: float = 0.0
    risk_bound: float = 64.0
    seed: int = 0
    name: str = "valley"
    goal: str = "lower the cost"

    @property
    def plan_type(self) -> type[Batching]:
        return Batching

    @property
    def objective(self) -> Objective:
        return Objective("cost", "min", (Guardrail("risk", self.risk_bound, "at_most"),))

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(0.2, 2), Rung(1.0, 5)), holdout_seeds=6)

    def observe(self) -> Evidence:
        return Evidence({"rows": 10}, "made up", datetime(2026, 1, 1, tzinfo=UTC))

    def baselines(self) -> Mapping[str, Batching]:
        return {"current": Batching(1), "default": Batching(8)}

    def measure(self, plan: Batching, sample: Sample) -> Measurement:
        if plan.size == 13:
            raise RuntimeError("thirteen is out of order")
        shared = random.Random(f"{self.seed} {sample.split} {sample.seed}").gauss(0, self.noise)
        own = random.Random(f"{self.seed} {sample} {plan}").gauss(0, self.own_noise)
        cost = 10 + (plan.size - self.best) ** 2 / 100 + shared + own
        return Measurement({"cost": cost, "risk": float(plan.size)}, "simulation")


class Draws:
    """Proposes random plans for ever."""

    def __init__(self, seed: int = 0) -> None:
        self.name = "draws"
        self._rng = random.Random(seed)

    def propose(self, brief: Brief[Batching]) -> Sequence[Proposal[Batching]]:
        return [Proposal(draw(brief.plan_type, self._rng, tag=""), "draws")]


class Only:
    """Proposes the given plans once."""

    def __init__(self, *plans: Batching) -> None:
        self.name, self._plans = "only", plans

    def propose(self, brief: Brief[Batching]) -> Sequence[Proposal[Batching]]:
        plans, self._plans = self._plans, ()
        return [Proposal(plan, "only") for plan in plans]


class Broken:
    name = "broken"

    def propose(self, brief: Brief[Batching]) -> Sequence[Proposal[Batching]]:
        raise RuntimeError("no ideas today")


def run(problem: Valley, proposer: object, ledger: MemoryLedger | None = None, measurements: int = 400):  # type: ignore[no-untyped-def]
    return optimize(
        problem,
        proposer,  # type: ignore[arg-type]
        search=Meter(measurements=measurements),
        check=Meter(),
        ledger=ledger or MemoryLedger(),
    )


def test_finds_a_plan_near_the_best_and_confirms_it_on_the_holdout() -> None:
    decision = run(Valley(), Draws())
    assert decision.winner is not None
    verdict = decision.winner.verdict
    assert abs(decision.winner.proposal.plan.size - 20) <= 4
    assert isinstance(verdict, Comparison)
    assert verdict.split == "holdout"
    assert verdict.gain.low > 0


def test_keeps_the_current_plan_when_nothing_is_better() -> None:
    decision = run(Valley(best=1), Draws())
    assert decision.winner is None
    assert decision.trials


def test_is_never_worse_than_the_best_baseline_even_when_the_proposer_fails() -> None:
    decision = run(Valley(best=8), Broken())
    assert decision.winner is not None
    assert decision.winner.proposal.by == "default"
    assert "no ideas today" in decision.stopped


def test_a_guardrail_refuses_what_would_have_been_better() -> None:
    decision = run(Valley(risk_bound=10.0), Only(Batching(20), Batching(10)))
    assert decision.winner is not None
    assert decision.winner.proposal.plan.size == 10
    unsafe = next(one for one in decision.trials if one.proposal.plan.size == 20).verdict
    assert isinstance(unsafe, Comparison)
    assert unsafe.ruling == "unsafe"
    assert "risk is 20, must be at most 10" in unsafe.reason


def test_plans_outside_the_space_or_that_raise_are_refused_and_the_rest_goes_on() -> None:
    decision = run(Valley(), Only(Batching(1000), Batching(13), Batching(20)))
    refused = {one.proposal.plan.size: one.verdict for one in decision.trials if isinstance(one.verdict, Refusal)}
    assert refused[1000].ruling == "invalid"
    assert "thirteen is out of order" in refused[13].reason
    assert decision.winner is not None
    assert decision.winner.proposal.plan.size == 20


def test_a_current_plan_that_cannot_be_measured_ends_the_study_with_its_reason() -> None:
    @dataclass(frozen=True)
    class Thirteen(Valley):
        def baselines(self) -> Mapping[str, Batching]:
            return {"current": Batching(13)}

    decision = run(Thirteen(), Draws())
    assert decision.winner is None
    assert "thirteen is out of order" in decision.stopped


def test_the_search_keeps_its_budget_of_measurements() -> None:
    ledger = MemoryLedger()
    decision = run(Valley(), Draws(), ledger, measurements=50)
    searched = [one for one in ledger.events(Measured) if one.event.sample.split == "search"]
    assert decision.stopped == "the search budget is spent"
    assert 50 <= len(searched) <= 57  # the last plan's rung is measured to its end


def test_a_decided_study_is_recalled_and_measures_nothing() -> None:
    ledger = MemoryLedger()
    first = run(Valley(), Draws(), ledger)
    measured = sum(1 for _ in ledger.events(Measured))
    again = run(Valley(), Draws(), ledger)
    assert again == first
    assert sum(1 for _ in ledger.events(Measured)) == measured


def test_an_interrupted_study_resumes_without_measuring_twice() -> None:
    whole = MemoryLedger()
    decision = run(Valley(), Draws(), whole)
    half = MemoryLedger()
    events = [one.event for one in whole.events(Measured)]
    half.append(*events[: len(events) // 2])
    resumed = run(Valley(), Draws(), half)
    assert resumed.winner == decision.winner
    failed = sum(isinstance(one.outcome, Failure) for one in events)  # a failure is tried again
    assert sum(1 for _ in half.events(Measured)) <= len(events) + failed


def test_other_data_is_another_study() -> None:
    ledger = MemoryLedger()
    run(Valley(), Only(Batching(20)), ledger)
    run(Valley(seed=1), Only(Batching(20)), ledger)
    assert len({one.event.study for one in ledger.events(Decided)}) == 2


def test_the_trail_of_a_decision_is_in_the_ledger() -> None:
    ledger = MemoryLedger()
    decision = run(Valley(), Only(Batching(20)), ledger)
    verdicts = [one.event.verdict for one in ledger.events(Judged, study=decision.study)]
    assert {one.split for one in verdicts if isinstance(one, Comparison)} == {"search", "holdout"}


class Bred(Only):
    """Proposes what another found, and plans that are better."""

    def propose(self, brief: Brief[Batching]) -> Sequence[Proposal[Batching]]:
        return [Proposal(Batching(25), "library"), *super().propose(brief)]


def test_one_proposer_does_not_have_all_finalists_where_another_has_a_good_one() -> None:
    ledger = MemoryLedger()
    decision = run(Valley(), Bred(*(Batching(size) for size in (18, 19, 20, 21, 22))), ledger)
    verdicts = [one.event for one in ledger.events(Judged, study=decision.study)]
    confirmed = {one.by for one in verdicts if isinstance(one.verdict, Comparison) and one.verdict.split == "holdout"}
    assert {"only", "library"} <= confirmed
    assert decision.winner is not None
    assert decision.winner.proposal.by == "only"


@dataclass(frozen=True)
class Real(Valley):
    """The same by real runs: comparisons measure the current plan anew."""

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(1.0, 2),), holdout_seeds=5, interleaved=True)

    def baselines(self) -> Mapping[str, Batching]:
        return {"current": Batching(1)}


def test_neighbours_in_the_search_share_a_current_arm_and_finalists_on_the_holdout_do_not() -> None:
    ledger = MemoryLedger()
    decision = run(Real(), Only(*(Batching(size) for size in (20, 21, 19, 18, 22, 17, 50))), ledger)
    assert decision.winner is not None
    current = [one.event for one in ledger.events(Measured) if one.event.arm]
    arms = {split: [one.arm for one in current if one.sample.split == split] for split in ("search", "holdout")}
    assert len(arms["search"]) == 3 * 2  # seven plans in turns of three, two samples each
    assert len(set(arms["holdout"])) == Real().ladder.finalists
    assert len(arms["holdout"]) == Real().ladder.finalists * 5


def test_noise_of_its_own_makes_no_winner() -> None:
    twins = [run(Valley(best=1, own_noise=1.0, seed=seed), Only(Batching(1, tag="twin"))) for seed in range(100)]
    assert sum(one.winner is not None for one in twins) <= 5


def test_a_problem_without_a_current_plan_breaks_its_contract() -> None:
    @dataclass(frozen=True)
    class Homeless(Valley):
        def baselines(self) -> Mapping[str, Batching]:
            return {"default": Batching(8)}

    with pytest.raises(ContractError, match="no baseline named 'current'"):
        run(Homeless(), Draws())
