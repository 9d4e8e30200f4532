"""One request's way through the router: attempts at backends, one answer, or a refusal that says why."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from trimtab.inference.balancing.live.client import Client, Request
from trimtab.inference.balancing.live.exchange import Connection

if TYPE_CHECKING:
    from trimtab.inference.balancing.live.router import Backend, Router


class Leg:
    """One attempt at one backend: what its connection tells."""

    __slots__ = ("backend", "began", "connection", "is_over", "look", "turn")

    def __init__(self, turn: Turn, backend: Backend) -> None:
        self.turn, self.backend, self.began = turn, backend, time.monotonic()
        self.look = turn.router.looks
        self.connection: Connection | None = None
        self.is_over = False

    def on_bytes(self, data: bytes) -> None:
        """Bytes of the answer."""
        self.turn.on_bytes(self, data)

    def on_end(self, status: int, *, keep_alive: bool) -> None:
        """The answer is whole."""
        self.turn.on_end(self, status, keep_alive=keep_alive)

    def on_broken(self, *, has_begun: bool) -> None:
        """The connection broke."""
        self.turn.on_failed(self, "connection broke", may_be_done=True)

    def over(self, *, is_answer: bool) -> None:
        """Take it off the books, once."""
        if not self.is_over:
            self.is_over = True
            self.turn.router.choice.ended(self.backend.place, self.began, time.monotonic(), is_answer=is_answer)


class Turn:
    """From a request to its one answer."""

    __slots__ = (
        "_attempts", "_began", "_hedge", "_is_over", "_legs", "_tried", "_winner", "client", "request", "router",
    )  # fmt: skip

    def __init__(self, router: Router, client: Client, request: Request) -> None:
        self.router, self.client, self.request = router, client, request
        self._began = time.monotonic()
        self._legs: list[Leg] = []
        self._tried: frozenset[int] = frozenset()
        self._attempts = 0
        self._winner: Leg | None = None
        self._is_over = False
        self._hedge: asyncio.TimerHandle | None = None
        client.on_gone = self._on_client_gone
        client.on_pause = self._on_pause

    def begin(self) -> None:
        """Make the first attempt."""
        self._attempt()
        hedge = self.router.settings.hedge_seconds
        if hedge and self.request.may_repeat and not self._is_over:
            self._hedge = asyncio.get_running_loop().call_later(hedge, self._ask_another)

    def _attempt(self) -> None:
        backend = self.router.next_backend(self._tried) or (
            self.router.next_backend(frozenset()) if self._tried else None
        )
        if backend is None:
            self._refuse(503, "Service Unavailable", "no backend can take a request now")
            return
        self._attempts += 1
        self._tried |= {backend.place}
        leg = Leg(self, backend)
        self._legs.append(leg)
        self.router.choice.sent(backend.place, leg.began)
        connection = backend.take()
        if connection is not None:
            self._ask(leg, connection)
        else:
            self.router.spawn(self, backend)

    async def connected(self, backend: Backend) -> None:
        """Connect for the newest attempt at a backend, and ask."""
        leg = next(one for one in reversed(self._legs) if one.backend is backend)
        try:
            connection = await self.router.connect(backend)
        except (OSError, TimeoutError):
            if not leg.is_over:
                self.on_failed(leg, "connection refused", may_be_done=False)
            return
        if leg.is_over or self._is_over:
            backend.give_back(connection)
            return
        self._ask(leg, connection)

    def _ask(self, leg: Leg, connection: Connection) -> None:
        leg.connection = connection
        connection.ask(self.request.content, leg, is_head=self.request.method == b"HEAD")

    def on_bytes(self, leg: Leg, data: bytes) -> None:
        """Pass the answer on; whoever answers first wins."""
        if self._winner is None:
            self._winner = leg
            self._drop_others(leg)
        self.client.write(data)

    def on_end(self, leg: Leg, status: int, *, keep_alive: bool) -> None:
        """The answer is whole."""
        leg.over(is_answer=True)
        leg.backend.failures = 0
        if leg.connection is not None:
            leg.backend.give_back(leg.connection)
        self._end(leg.backend.name, status)
        self.client.finish(keep_alive=keep_alive)

    def on_failed(self, leg: Leg, event: str, *, may_be_done: bool) -> None:
        """An attempt came to nothing: try another backend if that is allowed, else say so."""
        leg.over(is_answer=False)
        self.router.failed(leg.backend, event)
        if self._is_over:
            return
        if self._winner is leg:
            self._end(leg.backend.name, 502)
            self.client.abort()  # the client has half an answer: it must see that it is not whole
        elif any(not one.is_over for one in self._legs):
            return  # the hedge is still under way
        elif self._attempts < self.router.settings.attempts and (self.request.may_repeat or not may_be_done):
            self.router.counts.events["retried"] += 1
            self._attempt()
        elif event == "timed out":
            self._refuse(504, "Gateway Timeout", "the backend did not answer in time")
        else:
            self._refuse(502, "Bad Gateway", f"{event}; the request was not repeated: it may have been done")

    def _ask_another(self) -> None:
        if self._winner is None and not self._is_over and len(self._legs) == 1:
            backend = self.router.next_backend(self._tried)
            if backend is not None:
                self.router.counts.events["hedged"] += 1
                self._attempt()

    def give_up(self, look: int) -> None:
        """End the attempts that began before a look."""
        for leg in [one for one in self._legs if not one.is_over and one.look < look]:
            if leg.connection is not None:
                leg.connection.drop()
            self.on_failed(leg, "timed out", may_be_done=True)

    def _on_client_gone(self) -> None:
        """Nobody waits any more."""
        self.router.counts.events["client gone"] += 1
        for leg in self._legs:
            if leg.connection is not None and not leg.is_over:
                leg.connection.drop()
            leg.over(is_answer=False)
        self._is_over = True
        self._cancel_hedge()
        self.router.ended(self)

    def _on_pause(self, is_paused: bool) -> None:
        connection = self._winner.connection if self._winner is not None else None
        if connection is not None:
            (connection.pause if is_paused else connection.resume)()

    def _drop_others(self, winner: Leg) -> None:
        for leg in self._legs:
            if leg is not winner and not leg.is_over:
                if leg.connection is not None:
                    leg.connection.drop()
                leg.over(is_answer=False)

    def _refuse(self, status: int, reason: str, text: str) -> None:
        self._end("", status)
        self.client.refuse(status, reason, text)

    def _end(self, backend: str, status: int) -> None:
        self._is_over = True
        self._cancel_hedge()
        self.router.counts.answered(backend, status, time.monotonic() - self._began)
        self.router.ended(self)

    def _cancel_hedge(self) -> None:
        if self._hedge is not None:
            self._hedge.cancel()
