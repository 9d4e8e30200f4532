"""Which versions of a script are tried, by what each patch saves: told by a price list, no script is run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from trimtab.core.model import Brief, Comparison, Evidence, Interval, Objective, Proposal, Spend, Trial
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Derived, Rules
from trimtab.training.scripts.plan import CURRENT, PatchPlan
from trimtab.training.scripts.proposing import NAME, each, first, together

Tried = dict[tuple[str, ...], float]


def tried(prices: Mapping[str, float], unsafe: str = "", either: tuple[str, ...] = ()) -> Tried:
    """Every version that is tried, in order, and its cost: the product of what its patches leave of it.

    either: patches that do the same, so that only the first of them that is there counts.
    """
    members = Portfolio(Rules(NAME, first), Rules(NAME, each), derived=Derived(NAME, together))
    evidence = Evidence({"patches": dict.fromkeys(prices, "why")}, "train.py", datetime.now(UTC))
    history: tuple[Trial[PatchPlan], ...] = ()
    while True:
        brief = Brief("", PatchPlan, CURRENT, Objective("cpu_seconds", "min"), evidence, history, Spend())
        proposals = members.propose(brief)
        if not proposals:
            return {one.proposal.plan.patches: one.verdict.metrics["cost"] for one in history}  # type: ignore[union-attr]
        history += tuple(Trial(one, judged(one, prices, unsafe, either)) for one in proposals)


def judged(one: Proposal[PatchPlan], prices: Mapping[str, float], unsafe: str, either: tuple[str, ...]) -> Comparison:
    again = [name for name in one.plan.patches if name in either][1:]
    cost = math.prod(prices[name] for name in one.plan.patches if name not in again)
    ruling = "unsafe" if unsafe in one.plan.patches else "better"
    return Comparison(ruling, "", Interval(1 - cost, 1 - cost, 1 - cost), {"cost": cost}, {}, "run")  # type: ignore[arg-type]


def best(made: Tried) -> tuple[str, ...]:
    return min(made, key=lambda patches: (made[patches], len(patches)))


def test_where_all_together_save_much_each_is_left_out_and_what_saves_nothing_stays_out() -> None:
    prices = {"one-thread": 0.15, "loader-in-process": 0.8, "fused-optimizer": 1.0, "rows-at-once": 1.1}
    made = tried(prices)
    assert best(made) == ("one-thread", "loader-in-process")
    assert ("one-thread",) not in made
    assert sum(made.values()) < 2.0  # runs of the script as it is; each alone would be 3


def test_a_patch_that_its_rival_beats_gives_way() -> None:
    prices = {"one-thread": 0.6, "half-the-threads": 0.4, "load-once": 0.7, "fused-optimizer": 1.0}
    assert best(tried(prices)) == ("half-the-threads", "load-once")


def test_one_patch_that_does_it_all_is_tried_alone() -> None:
    assert ("one-thread",) in tried({"one-thread": 0.2, "load-once": 1.0, "fused-optimizer": 1.0})


@pytest.mark.parametrize(
    ("prices", "unsafe"),
    [
        ({"one-thread": 0.5, "load-once": 0.9, "fused-cells": 0.7}, "fused-cells"),
        ({"one-thread": 0.95, "load-once": 0.94, "fused-cells": 1.2}, ""),
    ],
)
def test_where_all_together_are_unsafe_or_save_little_each_is_tried_alone(
    prices: dict[str, float], unsafe: str
) -> None:
    made = tried(prices, unsafe)
    assert {(name,) for name in prices} <= set(made)
    assert ("one-thread", "load-once") in made


def test_one_patch_alone_is_tried() -> None:
    assert list(tried({"load-once": 0.5})) == [("load-once",)]


def test_where_all_together_are_unsafe_those_that_leave_the_result_as_it_is_are_tried_together() -> None:
    prices = {"one-thread": 0.5, "load-once": 0.9, "no-gradients-in-evaluation": 0.9}
    assert ("load-once", "no-gradients-in-evaluation") in tried(prices, "one-thread")


def test_of_two_patches_that_do_the_same_one_is_kept() -> None:
    prices = {"one-thread": 0.2, "one-job": 0.2, "load-once": 0.5, "fused-optimizer": 1.0}
    made = tried(prices, either=("one-thread", "one-job"))
    assert best(made) == ("one-job", "load-once")
