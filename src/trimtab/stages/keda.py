"""`scale keda`: a replica policy for Kubernetes: measures, decides behind the shield, answers KEDA.

Until a minute has been measured nothing is answered, so that a restart shrinks nothing: KEDA then leaves the replicas
as they are. Once measurements stop the last number holds, then the most of the last hour: each time an event says so.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from trimtab.adapters.keda import NotKnown, Scaler
from trimtab.adapters.ledger import ledger_in
from trimtab.adapters.programs import ProgramFault
from trimtab.adapters.sources.live import Feed, Look, PrometheusFeed, Queries, RouterFeed
from trimtab.cluster.scaling.controller import Controller, Shield
from trimtab.cluster.scaling.programs import RISING
from trimtab.cluster.scaling.simulator import RECENT, STEP, Service
from trimtab.core.errors import InputError
from trimtab.core.events import Noticed
from trimtab.core.ports import Ledger
from trimtab.stages.watched import IN_FORCE, Say, Spell, Watched, noted, taken, text_of

WARM_SECONDS = 60.0
IDLE_SECONDS = 60.0  # without a request, before there need be no replica
TOLERANCE = 0.1  # Kubernetes' autoscaler leaves smaller differences alone
SYNC_STEPS = 3


@dataclass(frozen=True)
class Address:
    """Where KEDA asks."""

    host: str
    port: int


@dataclass(frozen=True)
class Metrics:
    """Where measurements come from: the URL of a router's metrics, or a Prometheus server and its queries."""

    server: str
    queries: Queries | None

    def feed(self) -> Feed:
        """Open it. Raises InputError for an address that is none."""
        if self.queries is None:
            return RouterFeed(self.server)
        return PrometheusFeed(self.server, self.queries, os.environ.get("TRIMTAB_PROMETHEUS_TOKEN", ""))


class Helm:
    """Decides how many replicas to have, from measurements alone; what KEDA is told."""

    def __init__(self, controller: Controller, feed: Feed, ledger: Ledger, say: Say) -> None:
        self._controller, self._feed, self._ledger, self._say = controller, feed, ledger, say
        self._began: float | None = None
        self._now = self._busy_at = 0.0
        self._wanted = 0
        self._count: float | None = None  # what is told; None: nothing is decided
        self._before = 0  # replicas, as told until `wanted` last changed
        self._known: int | None = None  # replicas, as last measured
        self._noted = 0
        self._is_warm = False

    def replicas(self) -> float:
        """How many to have: the same for all who ask between two steps."""
        if self._count is None or not self._is_warm:
            raise NotKnown(f"measuring: nothing is decided in the first {WARM_SECONDS:g} s")
        return self._count

    def is_active(self) -> bool:
        """Whether there must be a replica: there are requests, or nothing is known."""
        if self._controller.shield.least > 0:
            return True
        return self._now - self._busy_at < IDLE_SECONDS or not self._is_warm or self._controller.is_blind

    def swap(self, program: str) -> None:
        """Decide by another program. Raises ProgramFault."""
        self._controller.swap(program)
        self._say(IN_FORCE)

    def remember(self, now: float) -> None:
        """Take what the feed kept of the past: then there is nothing to wait for."""
        rates = self._feed.past(RECENT, STEP)
        for back, rate in zip(range(len(rates), 0, -1), rates, strict=True):
            self._controller.observe(now - back * STEP, rate, rate * self._controller.service.service_seconds)
        self._is_warm = len(rates) * STEP >= WARM_SECONDS

    def step(self, now: float, look: Look | None, *, is_sync: bool) -> None:
        """Take one measurement, and decide where it is time to."""
        self._now, began = now, self._began if self._began is not None else now
        self._began = began
        if look is not None:
            busy = look.rate * self._controller.service.service_seconds if look.busy is None else look.busy
            self._controller.observe(now, look.rate, busy)
            self._known = look.replicas
            if look.rate > 0 or busy > 0:
                self._busy_at = now
        if is_sync:
            self._decide(now)
            self._is_warm = self._is_warm or (look is not None and now - began >= WARM_SECONDS)
        self._count = self._heeded()
        self._note()

    def _decide(self, now: float) -> None:
        told = math.ceil(self._count or 0)
        there = self._known or told or self._controller.shield.least
        # What was asked for and is not there yet is on its way: else the number fell while it starts.
        wanted = self._controller.desired(now, there, max(0, self._wanted - there))
        if wanted != self._wanted:
            self._say(f"{self._wanted} → {wanted} replicas")
            self._wanted, self._before = wanted, told

    def _heeded(self) -> float:
        """What is only a little more than there is, is told as enough more to be heeded."""
        there = self._before if self._known is None else self._known
        least = there * (1 + TOLERANCE)
        return least + 0.01 if there < self._wanted <= least else float(self._wanted)

    def _note(self) -> None:
        for event in self._controller.events[self._noted :]:
            noted(self._ledger, Noticed("scale", event, {"replicas": self._wanted}), self._say)
        self._noted = len(self._controller.events)


def scale_keda(
    address: Address, metrics: Metrics, policy: Path | None, limits: tuple[Shield, Service], say: Say
) -> None:
    """Answer KEDA until SIGTERM or Ctrl-C. Raises InputError for policies, addresses and queries that make no sense."""
    feed, watched, (shield, service) = metrics.feed(), Watched(policy), limits
    try:
        controller = Controller(RISING if policy is None else text_of(policy), service, shield)
    except ProgramFault as fault:
        raise InputError(f"{policy}: {fault}", hint="`trimtab scale traffic.csv` prints one") from None
    first = feed.look()  # a query that makes no sense is refused before anybody relies on the answers
    if first is None:
        say("there is no measurement yet")
    with closing(ledger_in(Path.cwd())) as ledger:
        helm = Helm(controller, feed, ledger, say)
        helm.remember(time.monotonic())
        if first is not None:
            helm.step(time.monotonic(), first, is_sync=True)  # whoever asks at once is told what is known
        asyncio.run(_serve(address, helm, feed, watched, say))


async def _serve(address: Address, helm: Helm, feed: Feed, watched: Watched, say: Say) -> None:
    scaler, told, loop = Scaler(helm), asyncio.Event(), asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, told.set)
    await scaler.start(address.host, address.port)
    say(f"KEDA's external scaler on {address.host}:{scaler.port}")
    steering = asyncio.create_task(_steer(helm, feed, watched, say))
    ended = asyncio.create_task(told.wait())
    await asyncio.wait((steering, ended), return_when=asyncio.FIRST_COMPLETED)
    steering.cancel()
    with suppress(asyncio.CancelledError):
        await steering  # raises what ended it, if that was not us
    await scaler.stop()


async def _steer(helm: Helm, feed: Feed, watched: Watched, say: Say) -> None:
    """Measure each step, decide each third one; a question that makes no sense any more counts as missing."""
    step, spell = 0, Spell(say)
    while True:
        began, look = time.monotonic(), None
        with spell.outlived():
            look = await asyncio.to_thread(feed.look)
        helm.step(time.monotonic(), look, is_sync=step % SYNC_STEPS == 0)
        if (text := watched.changed()) is not None:
            taken(helm.swap, text, say)
        step += 1
        await asyncio.sleep(max(0.0, STEP - (time.monotonic() - began)))
