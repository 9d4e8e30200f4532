"""A router's policy, rolled out: a candidate is asked in shadow, then routes slots of time, then all; or goes back."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from trimtab.adapters.programs import compile_program
from trimtab.core.errors import TrimtabError
from trimtab.core.events import RolloutMoved
from trimtab.core.model import Json
from trimtab.inference.balancing.live import Router
from trimtab.inference.balancing.live.canary import LEAST_REQUESTS, SETTLING, Canary, Pace, Slot
from trimtab.inference.balancing.live.choice import chooser
from trimtab.inference.balancing.live.pair import Pair
from trimtab.inference.balancing.signature import PICK
from trimtab.stages.rollout import OPEN, Rollout, onward
from trimtab.stages.watched import Spell

LEAST_ANSWERS = 200  # good ones, in shadow: else there is no 99th percentile to compare with
SLOT_LATENCIES, GRACE_LATENCIES = 5, 2  # a slot is long beside an answer; requests of a block have time to end
MOST_SLOT_SECONDS = 30.0
REMEMBERED = 20_000
POLL_SECONDS = 0.5
TICK_SECONDS = 0.02


class Routes:
    """What routes at a router, and what is on trial there."""

    def __init__(self, router: Router, rollout: Rollout, pace: Pace) -> None:
        self._router, self._rollout, self._pace = router, rollout, pace
        self._trial: asyncio.Task[None] | None = None

    async def begin(self, text: str) -> None:
        """Put in force what the ledger says, and go on with what was open. Raises ProgramFault."""
        await asyncio.to_thread(compile_program, text, PICK)
        await self._router.swap(await asyncio.to_thread(self._rollout.in_force, text))
        await self.take(text)

    async def take(self, text: str) -> None:
        """Try another program. Raises ProgramFault; nothing changes then."""
        await asyncio.to_thread(compile_program, text, PICK)
        step, last = await asyncio.to_thread(lambda: (self._rollout.wanted(text), self._rollout.last()))
        if step is None:
            return
        await self._drop()
        if step.step not in OPEN:
            await self._back(step, step.because)
            return
        if step != last:
            await asyncio.to_thread(self._rollout.move, step)
        else:
            self._rollout.say(f"{step.rollout}: {step.step} begins anew")
        self._trial = asyncio.create_task(self._try(step))

    async def watch(self) -> None:
        """Go back when a person asks for it; a ledger that cannot be read or written is asked again."""
        spell = Spell(self._rollout.say)
        while True:
            await asyncio.sleep(POLL_SECONDS)
            with spell.outlived():
                last = await asyncio.to_thread(self._asked)
                if last is not None:
                    await self._drop()
                    await self._back(last, "by command")

    async def end(self) -> None:
        """Stop a trial where it is; it goes on when the router comes back."""
        await self._drop()

    def _asked(self) -> RolloutMoved | None:
        return self._rollout.last() if self._rollout.is_asked_back() else None

    async def _drop(self) -> None:
        if self._trial is not None:
            self._trial.cancel()
            await asyncio.wait([self._trial])  # raises nothing that it died of
            self._trial = None

    async def _back(self, step: RolloutMoved, because: str, facts: Mapping[str, Json] | None = None) -> None:
        await asyncio.to_thread(self._rollout.move, onward(step, "back", because, facts))
        await self._router.swap(step.incumbent)

    async def _try(self, step: RolloutMoved) -> None:
        """A trial from its open step to its end. If the ledger does not take a step, the incumbent goes on."""
        made = [await asyncio.to_thread(compile_program, text, PICK) for text in (step.incumbent, step.candidate)]
        pair = await asyncio.to_thread(Pair, *made)
        self._router.choice.use(await asyncio.to_thread(chooser, pair.policy), pair.state)
        try:
            await self._judge(step, pair)
        except TrimtabError as error:
            self._rollout.say(f"{step.rollout} stands still, the incumbent goes on: {error.message}")
        finally:
            pair.heed(candidate=False)  # it may have been stopped in a slot of the candidate's

    async def _judge(self, step: RolloutMoved, pair: Pair) -> None:
        threshold, rate = await self._shadow(pair)
        canary = Canary(threshold, self._pace, _seed(step))
        if step.step == "shadow":
            share = pair.differed / max(1, pair.asked)
            facts = {"asked": pair.asked, "differed": pair.differed, "threshold_ms": 1000 * threshold}
            because = f"asked for {pair.asked:,} requests, it would have sent {share:.1%} elsewhere"
            step = onward(step, "canary", because, facts)
            await asyncio.to_thread(self._rollout.move, step)
        await self._canary(step, pair, canary, rate)

    async def _shadow(self, pair: Pair) -> tuple[float, float]:
        """(the incumbent's 99th percentile in seconds, answers a second); the candidate is asked, and not heeded.

        It lasts until there are enough good answers: next to errors alone no candidate is slow.
        """
        seen: deque[float] = deque(maxlen=REMEMBERED)
        began, total = time.monotonic(), 0

        def heard(status: int, seconds: float) -> None:
            nonlocal total
            if status == 499:  # the client left
                return
            total += 1
            if status < 500:
                seen.append(seconds)

        pair.heed(candidate=False)
        with self._listening(heard):
            while time.monotonic() - began < self._pace.shadow_seconds or len(seen) < LEAST_ANSWERS:
                await asyncio.sleep(TICK_SECONDS)
        return float(np.quantile(seen, 0.99)), total / (time.monotonic() - began)

    async def _canary(self, step: RolloutMoved, pair: Pair, canary: Canary, rate: float) -> None:
        seconds = self._slot_seconds(canary, rate)
        with self._listening(canary.heard):
            while not canary.is_worse and (verdict := canary.is_no_worse) is None:
                await self._block(pair, canary, seconds)
        pair.heed(candidate=False)
        if canary.is_worse:
            await self._back(step, "its slots were worse: slower or more errors than chance allows", canary.facts())
        elif verdict:
            to = onward(step, "full", "no worse by more than the margins", canary.facts())
            await asyncio.to_thread(self._rollout.move, to)
            await self._router.swap(step.candidate)
        else:
            await self._back(step, "it could not be shown to be no worse", canary.facts())

    @contextmanager
    def _listening(self, heard: Callable[[int, float], None]) -> Iterator[None]:
        self._router.counts.listeners.append(heard)
        try:
            yield
        finally:
            self._router.counts.listeners.remove(heard)

    async def _block(self, pair: Pair, canary: Canary, seconds: float) -> None:
        slots = []
        for is_candidate in canary.block():
            pair.heed(candidate=is_candidate)
            await asyncio.sleep(SETTLING * seconds)
            slot, arrived = Slot(is_candidate), self._router.counts.arrived
            canary.open(slot)
            await self._wait(seconds * (1 - SETTLING), canary)
            slot.ends, slot.arrived = time.monotonic(), self._router.counts.arrived - arrived
            slots.append(slot)
            if canary.is_worse:
                return
        pair.heed(candidate=False)
        await self._wait(min(self._router.settings.try_seconds, GRACE_LATENCIES * canary.threshold), canary)
        canary.close(slots)

    async def _wait(self, seconds: float, canary: Canary) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not canary.is_worse:
            await asyncio.sleep(min(left, TICK_SECONDS))

    def _slot_seconds(self, canary: Canary, rate: float) -> float:
        """Long beside an answer, and with enough of them."""
        wanted = self._pace.canary_seconds / (self._pace.blocks * canary.slots_a_block)
        least = max(SLOT_LATENCIES * canary.threshold, LEAST_REQUESTS / self._pace.blocks / max(rate, 1e-9))
        return min(max(wanted, least), max(wanted, MOST_SLOT_SECONDS))


def _seed(step: RolloutMoved) -> int:
    return int.from_bytes(step.rollout.encode()[-8:], "big")
