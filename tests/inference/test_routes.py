"""A route on trial at a router that is told of its answers: where it is stopped, and what the shadow waits for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from trimtab.adapters.ledger import SqlLedger, ledger_in
from trimtab.core.events import RolloutMoved
from trimtab.inference.balancing.live import Router, Settings
from trimtab.inference.balancing.live.canary import Pace
from trimtab.inference.balancing.signature import PICK
from trimtab.stages.rollout import Rollout
from trimtab.stages.routes import LEAST_ANSWERS, Routes

FIRST = f"{PICK.head}\n    state[0] += 1\n    return state[0]\n"  # the candidate that is asked first scores lowest
LAST = f"{PICK.head}\n    state[0] -= 1\n    return state[0]\n"
PACE = Pace(shadow_seconds=0.0, share=0.5, canary_seconds=2.0)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    with closing(ledger_in(tmp_path)) as made:
        yield made


async def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


def answered(router: Router, status: int) -> None:
    for _ in range(LEAST_ANSWERS):
        router.counts.answered("a backend", status, 0.001)


def sent(router: Router) -> int:
    now = time.monotonic()
    place = router.choice.send(now)
    router.choice.ended(place, now, now, True)
    return place


async def trial(ledger: SqlLedger) -> tuple[Router, Routes]:
    router = Router(Settings(health_seconds=0.0))
    for port in (1, 2):
        router.add("127.0.0.1", port)
    routes = Routes(router, Rollout(Path("route.py"), ledger, lambda said: None), PACE)
    await routes.begin(FIRST)
    await routes.take(LAST)
    await until(lambda: bool(router.counts.listeners))
    return router, routes


def test_a_trial_that_is_stopped_in_the_candidates_slot_leaves_all_to_the_incumbent(ledger: SqlLedger) -> None:
    async def stopped() -> list[int]:
        router, routes = await trial(ledger)
        before = sent(router)
        answered(router, 200)
        await until(lambda: sent(router) != before)
        await routes.end()
        return [before, *(sent(router) for _ in range(20))]

    assert len(set(asyncio.run(stopped()))) == 1


def test_the_shadow_lasts_until_there_are_good_answers_to_compare_with(ledger: SqlLedger) -> None:
    async def shadowed() -> None:
        router, routes = await trial(ledger)
        for status in (500, 500, 200):
            answered(router, status)
            await asyncio.sleep(0.1)
        await until(lambda: len(list(ledger.events(RolloutMoved))) == 3)
        await routes.end()

    asyncio.run(shadowed())
    last = list(ledger.events(RolloutMoved))[-1].event
    assert (last.step, last.facts["threshold_ms"]) == ("canary", pytest.approx(1.0))
