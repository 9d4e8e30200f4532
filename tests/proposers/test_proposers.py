"""Proposers, driven through the loop on a small problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.core.test_loop import Batching, Broken, Valley
from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.core.model import Brief, Decision, Proposal
from trimtab.core.ports import Proposer
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


def test_a_past_winner_is_tried_first() -> None:
    ledger = MemoryLedger()
    won = run(Search(seed=1), ledger)
    again = run(Recall(ledger, "valley"), ledger)
    assert won.winner is not None
    assert again.winner is not None
    assert again.winner.proposal.plan == won.winner.proposal.plan
    assert again.winner.proposal.by == "recall"
