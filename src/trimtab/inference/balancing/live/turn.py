"""One request's way through the router: attempts at backends, one answer, or a refusal that says why."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from trimtab.inference.balancing.live.exchange import Connection

if TYPE_CHECKING:
    from trimtab.inference.balancing.live.client import Client
    from trimtab.inference.balancing.live.router import Router

SAFE_TO_REPEAT = (b"GET ", b"HEAD ", b"OPTIONS ", b"PUT ", b"DELETE ", b"TRACE ")  # idempotent, RFC 9110 9.2.2


class Turn:
    """From a request to its one answer. A client has one, for one request after the other."""

    __slots__ = (
        "_began", "_hedge", "_is_over", "_legs", "_tried", "_winner", "client", "content", "router", "takes_chunks",
    )  # fmt: skip

    def __init__(self, router: Router, client: Client) -> None:
        self.router, self.client = router, client
        self.content = b""
        self.takes_chunks = True
        self._began = 0.0
        self._legs: list[Connection] = []  # attempts that are under way
        self._tried: list[int] = []
        self._winner: Connection | None = None
        self._is_over = True
        self._hedge: asyncio.TimerHandle | None = None

    @property
    def is_head(self) -> bool:
        """Whether the answer has no body."""
        return self.content.startswith(b"HEAD ")

    @property
    def may_repeat(self) -> bool:
        """Whether the request may be done twice."""
        return self.router.settings.repeat_posts or self.content.startswith(SAFE_TO_REPEAT)

    def begin(self, content: bytes, *, takes_chunks: bool = True) -> None:
        """Make the first attempt at another request."""
        self.content, self.takes_chunks, self._is_over = content, takes_chunks, False
        self._began = now = monotonic()
        router = self.router
        router.counts.arrived += 1
        place = router.choice.send(now)
        if place < 0:
            self._refuse(503, "Service Unavailable", "no backend can take a request now")
            return
        self._attempt(place, now)
        if router.settings.hedge_seconds and not self._is_over and self.may_repeat:
            self._hedge = asyncio.get_running_loop().call_later(router.settings.hedge_seconds, self._ask_another)

    def _attempt(self, place: int, now: float) -> None:
        """Ask a backend, which the request is booked on already."""
        router = self.router
        backend = router.places[place]
        connection = backend.take()
        self._tried.append(place)
        self._legs.append(connection)
        connection.turn, connection.began, connection.look = self, now, router.looks
        if connection.transport is not None:
            connection.transport.write(self.content)
        else:
            router.spawn(router.connect(connection))

    def _attempt_elsewhere(self, *, even_again: bool) -> bool:
        """Ask a backend that was not asked yet; if there is none, one that was, where that is wanted."""
        now = monotonic()
        place = self.router.choice.send_elsewhere(now, self._tried)
        if place < 0 and even_again:
            place = self.router.choice.send(now)
        if place >= 0:
            self._attempt(place, now)
        return place >= 0

    def passed(self, connection: Connection, data: bytes) -> None:
        """A part of the answer; whoever answers first wins."""
        if self._winner is None:
            self._winner = connection
            self._drop_others(connection)
        self.client.write(data)
        if self.client.is_paused:
            connection.pause(True)

    def answered(self, connection: Connection, data: bytes, status: int, *, ends_client: bool = False) -> None:
        """The last part of the answer."""
        if len(self._legs) > 1:
            self._drop_others(connection)
        now, backend = monotonic(), connection.backend
        self.router.choice.ended(backend.place, connection.began, now, True)
        connection.turn, backend.failures = None, 0
        client = self.client
        client.write(data)
        backend.give_back(connection)
        self._end(backend.name, status, now)
        client.finish(ends=ends_client)

    def failed(self, connection: Connection, event: str, *, may_be_done: bool) -> None:
        """An attempt came to nothing: try another backend if that is allowed, else say so."""
        self._off_the_books(connection)
        self.router.failed(connection.backend, event)
        if self._winner is connection:
            self._end(connection.backend.name, 502, monotonic())
            self.client.abort()  # the client has half an answer: it must see that it is not whole
        elif self._legs:
            return  # the hedge is still under way
        elif not self._may_go_on(may_be_done):
            self._give_up_on(event)
        elif self._attempt_elsewhere(even_again=True):
            self.router.counts.events["retried"] += 1
        else:
            self._refuse(503, "Service Unavailable", "no backend can take a request now")

    def _may_go_on(self, may_be_done: bool) -> bool:
        return len(self._tried) < self.router.settings.attempts and (self.may_repeat or not may_be_done)

    def _give_up_on(self, event: str) -> None:
        if event == "timed out":
            self._refuse(504, "Gateway Timeout", "the backend did not answer in time")
        elif len(self._tried) > 1:
            self._refuse(502, "Bad Gateway", f"{event}, in {len(self._tried)} attempts")
        else:
            self._refuse(502, "Bad Gateway", f"{event}; the request was not repeated: it may have been done")

    def _ask_another(self) -> None:
        if self._winner is None and len(self._legs) == 1 and self._attempt_elsewhere(even_again=False):
            self.router.counts.events["hedged"] += 1

    def give_up(self, before: int) -> None:
        """End the attempts that began before a look."""
        for connection in [one for one in self._legs if one.look < before]:
            if connection is self._winner and self.client.is_paused:
                # Held back because the client does not read: the backend is not to blame.
                self.router.counts.events["client too slow"] += 1
                self.client.abort()
                return
            connection.drop()
            self.failed(connection, "timed out", may_be_done=True)

    def client_gone(self) -> None:
        """Nobody waits any more."""
        if self._is_over:
            return
        self.router.counts.left(monotonic() - self._began)
        self._drop_others(None)
        self._reset()

    def pause(self, is_paused: bool) -> None:
        """The client does not keep up, or does again."""
        if self._winner is not None:
            self._winner.pause(is_paused)

    def _drop_others(self, winner: Connection | None) -> None:
        for connection in [one for one in self._legs if one is not winner]:
            self._off_the_books(connection)
            connection.drop()

    def _off_the_books(self, connection: Connection) -> None:
        """An attempt is over without an answer."""
        connection.turn = None
        self._legs.remove(connection)
        self.router.choice.ended(connection.backend.place, connection.began, monotonic(), False)

    def _refuse(self, status: int, reason: str, text: str) -> None:
        self._end("", status, monotonic())
        self.client.refuse(status, reason, text, is_head=self.is_head)

    def _end(self, backend: str, status: int, now: float) -> None:
        self.router.counts.answered(backend, status, now - self._began)
        self._reset()

    def _reset(self) -> None:
        self._legs.clear()
        self._tried.clear()
        self._winner, self._is_over = None, True
        self.router.counts.ended += 1
        if self._hedge is not None:
            self._hedge.cancel()
            self._hedge = None
