"""Rolling out a route: how often a candidate that is no worse is sent back, and how soon one that is."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from trimtab.adapters.programs import compile_program
from trimtab.inference.balancing.live.canary import Canary, Pace, Slot
from trimtab.inference.balancing.live.choice import LEAST_REQUEST, Choice, chooser
from trimtab.inference.balancing.live.pair import Pair
from trimtab.inference.balancing.signature import PICK

P99 = 0.1


def judged(seed: int, slower: float = 0.0, failing: float = 0.0, blocks: int = 20, requests: int = 60) -> Canary:
    """A canary behind traffic whose own tail wanders; the candidate's is so much heavier."""
    rng = np.random.default_rng(seed)
    canary, level = Canary(P99, Pace(blocks=blocks), seed), 0.01
    while not canary.is_worse and canary.is_no_worse is None:
        slots = []
        for is_candidate in canary.block():
            level = float(np.clip(level * rng.lognormal(0, 0.2), 0.001, 0.05))
            slot = Slot(is_candidate, arrived=requests)
            share = level + slower * is_candidate
            slot.seconds = np.where(rng.random(requests) < share, 2 * P99, P99 / 2).tolist()
            slot.errors = int((rng.random(requests) < failing * is_candidate).sum())
            slots.append(slot)
        canary.close(slots)
    return canary


def test_an_equal_candidate_is_seldom_called_worse() -> None:
    """The stated level is 5 % for all looks together."""
    assert sum(judged(seed).is_worse for seed in range(200)) <= 12


def test_a_worse_one_is_sent_back_within_a_few_blocks() -> None:
    for worse in ({"slower": 0.2}, {"failing": 0.2}):
        made = [judged(seed, **worse) for seed in range(20)]
        assert all(one.is_worse for one in made)
        assert np.median([one.seen for one in made]) <= 8
    assert made[0].facts()["error_share"] > 0.05


def test_one_that_is_no_worse_is_let_in_and_one_that_cannot_be_shown_is_not() -> None:
    steady = [judged(seed, requests=2000) for seed in range(10)]
    assert sum(one.is_no_worse is True for one in steady) >= 8
    thin = judged(0, requests=3, blocks=3)
    assert thin.seen == 9
    assert thin.is_no_worse is False


def test_a_block_without_traffic_is_no_evidence() -> None:
    canary = Canary(P99, Pace(share=0.5, blocks=2), 0)
    canary.close([Slot(True), Slot(False)])
    canary.close([Slot(True, arrived=1, seconds=[0.01]), Slot(False)])
    assert canary.seen == 0
    canary.close([Slot(True, arrived=3, seconds=[0.01]), Slot(False, arrived=1, seconds=[0.01])])
    assert canary.facts()["slower_share"] == pytest.approx(2 / 3)  # what never ended was slow


def test_a_request_whose_client_left_never_ended() -> None:
    canary, slot = Canary(P99, Pace(), 0), Slot(True, arrived=2)
    canary.open(slot)
    canary.heard(499, 0.0)
    assert slot.requests == 2
    canary.heard(200, 0.0)
    assert slot.slow(P99) == 0.5


def test_both_are_asked_for_each_request_and_one_is_heeded() -> None:
    always_first = f"{PICK.head}\n    state[0] += 1\n    return state[0]\n"
    pair = Pair(compile_program(LEAST_REQUEST, PICK), compile_program(always_first, PICK))
    choice, clock = Choice(), count(1.0, 0.01)
    for _ in range(3):
        choice.open(choice.add(), is_open=True)
    choice.use(chooser(pair.policy), pair.state)
    assert set(np.bincount([choice.send(next(clock)) for _ in range(300)], minlength=3) > 50) == {True}
    assert pair.asked == 299  # the last one is counted when the next begins
    assert 150 < pair.differed < 250  # two of three times the lot falls on another than the first
    pair.heed(candidate=True)
    assert {choice.send(next(clock)) for _ in range(50)} == {0}
    pair.heed(candidate=False)
    assert {choice.send(next(clock)) for _ in range(50)} == {1, 2}  # the others have fewer by now


def test_a_pair_of_the_same_program_never_differs() -> None:
    policy = compile_program(LEAST_REQUEST, PICK)
    pair, choice, clock = Pair(policy, policy), Choice(), count(1.0, 0.01)
    for _ in range(4):
        choice.open(choice.add(), is_open=True)
    choice.use(chooser(pair.policy), pair.state)
    for _ in range(200):
        choice.send(next(clock))
    assert (pair.asked, pair.differed) == (199, 0)
