"""Proposers, driven through the loop on a small problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.core.test_loop import Batching, Broken, Valley
from trimtab.core.budget import Meter
from trimtab.core.events import Decided
from trimtab.core.loop import optimize
from trimtab.core.model import Brief, Decision, Proposal, Spend
from trimtab.core.ports import Proposer
from trimtab.core.space import parse
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.recall import Recall
from trimtab.proposers.rules import Rules
from trimtab.proposers.search import Search
from trimtab.testing import MemoryLedger


def run(
    proposer: Proposer, ledger: MemoryLedger | None = None, measurements: int = 150, best: int = 20
) -> Decision[Any]:
    return optimize(
        Valley(best=best, noise=0.01),
        proposer,
        search=Meter(measurements=measurements),
        check=Meter(),
        ledger=ledger or MemoryLedger(),
    )


def forties(brief: Brief[Any]) -> Sequence[Proposal[Any]]:
    return [Proposal(Batching(40), "forties"), Proposal(Batching(41), "forties")]


def test_search_finds_the_valley() -> None:
    decision = run(Search(seed=1))
    assert decision.winner is not None
    assert abs(decision.winner.proposal.plan.size - 20) <= 2


def test_search_proposes_the_same_plans_for_the_same_history() -> None:
    first, second = (run(Search(seed=3), measurements=80) for _ in range(2))
    assert [one.proposal for one in first.trials] == [one.proposal for one in second.trials]


def test_rules_propose_each_plan_once() -> None:
    decision = run(Rules("forties", forties))
    assert decision.stopped == "no more ideas"
    assert [one.proposal.plan.size for one in decision.trials] == [8, 40, 41]


def test_a_portfolio_keeps_the_true_author_and_survives_a_broken_member() -> None:
    portfolio = Portfolio(Rules("forties", forties), Broken(), search=Search(seed=0), language=Broken())
    decision = run(portfolio)
    authors = {one.proposal.by for one in decision.trials}
    assert {"forties", "search", "default"} <= authors
    assert any("no ideas today" in note for note in portfolio.notes)


def test_a_language_member_gets_at_most_its_share() -> None:
    class Talker:
        name = "language"

        def __init__(self) -> None:
            self.size = 30

        def propose(self, brief: Brief[Any]) -> Sequence[Proposal[Any]]:
            self.size += 1
            return [Proposal(Batching(self.size % 64 + 1), "language")]

    decision = run(Portfolio(search=Search(seed=0), language=Talker()))
    spoken = sum(one.proposal.by == "language" for one in decision.trials)
    assert 0 < spoken <= 0.3 * len(decision.trials) + 1


class Repeats:
    """Proposes one plan for ever."""

    name = "repeats"

    def propose(self, brief: Brief[Any]) -> Sequence[Proposal[Any]]:
        return [Proposal(Batching(8), "repeats")]


class Babbles:
    """A language model with many ideas, all of them bad."""

    name = "language"

    def __init__(self) -> None:
        self.turns = 0

    def propose(self, brief: Brief[Any]) -> Sequence[Proposal[Any]]:
        self.turns += 1
        sizes = range(60 - 5 * self.turns, 64 - 5 * self.turns)
        return [Proposal(Batching(max(2, size)), "language") for size in sizes]


def test_a_member_that_repeats_what_is_known_does_not_end_the_study() -> None:
    decision = run(Portfolio(Repeats(), Rules("eight", lambda _: [Proposal(Batching(8), "eight")]), search=Search()))
    assert decision.winner is not None
    assert decision.winner.proposal.by == "search"


def test_rules_behind_known_plans_still_get_their_turn() -> None:
    plans = [Proposal(Batching(8), "rules"), Proposal(Batching(1), "rules"), Proposal(Batching(21), "rules")]
    decision = run(Portfolio(Rules("rules", lambda _: plans, batch=1)))
    assert [one.proposal.plan.size for one in decision.trials] == [8, 21]


def test_a_language_member_that_does_not_pay_is_not_asked_again() -> None:
    language = Babbles()
    portfolio = Portfolio(search=Search(seed=0), language=language)
    decision = run(portfolio, measurements=300)
    spoken = [place for place, one in enumerate(decision.trials) if one.proposal.by == "language"]
    assert 0 < len(spoken) < 12
    assert spoken[-1] < len(decision.trials) - 10
    assert any("language was not asked again" in note for note in portfolio.notes)


def test_many_ideas_at_once_stay_within_the_share() -> None:
    decision = run(Portfolio(search=Search(seed=0), language=Babbles()))
    authors = [one.proposal.by for one in decision.trials]
    for end in range(4, len(authors) + 1):
        assert authors[:end].count("language") <= 0.3 * end + 1


def test_without_a_search_a_portfolio_ends_with_its_rules() -> None:
    assert run(Portfolio(Rules("forties", forties))).stopped == "no more ideas"


def test_winners_of_other_problems_and_other_spaces_are_not_recalled() -> None:
    ledger = MemoryLedger()
    run(Search(seed=1), ledger)
    assert Recall(ledger, "plain").propose(brief()) == []
    stale = next(ledger.events(Decided)).event
    ledger.append(replace(stale, winner={"is": "Batching", "size": 1000}), replace(stale, winner={"width": 3}))
    (found,) = Recall(ledger, "valley").propose(brief())
    assert found.plan == decision_of(ledger)


def brief() -> Brief[Any]:
    valley = Valley()
    return Brief("", Batching, Batching(1), valley.objective, valley.observe(), (), Spend())


def decision_of(ledger: MemoryLedger) -> Batching:
    return parse(Batching, next(ledger.events(Decided)).event.winner)


def test_a_past_winner_is_tried_first() -> None:
    ledger = MemoryLedger()
    won = run(Search(seed=1), ledger)
    again = run(Recall(ledger, "valley"), ledger)
    assert won.winner is not None
    assert again.winner is not None
    assert again.winner.proposal.plan == won.winner.proposal.plan
    assert again.winner.proposal.by == "recall"
