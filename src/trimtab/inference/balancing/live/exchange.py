"""One backend connection and the exchange on it: a request goes out, the answer's bytes are passed on as they come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from trimtab.inference.balancing.live.heads import BODY, STATUS, read_answer
from trimtab.inference.balancing.live.relay import BrokenAnswer, Relay

if TYPE_CHECKING:
    from trimtab.inference.balancing.live.router import Backend
    from trimtab.inference.balancing.live.turn import Turn

_BODY_MASK, _STATUS_MASK, _LENGTH_AT = (1 << BODY) - 1, (1 << STATUS) - 1, BODY + STATUS


class Connection(asyncio.Protocol):
    """A connection to a backend, and the attempt of the one turn that it serves; free between turns."""

    __slots__ = ("_is_paused", "_left", "_relay", "_status", "backend", "began", "look", "transport", "turn")

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.transport: asyncio.Transport | None = None
        self.turn: Turn | None = None
        self.began, self.look = 0.0, 0
        self._left, self._status = 0, 0  # bytes of the body to come
        self._relay: Relay | None = None
        self._is_paused = False

    @property
    def is_free(self) -> bool:
        """Whether a request may be sent on it."""
        return self.turn is None and self.transport is not None and not self.transport.is_closing()

    def drop(self) -> None:
        """Close it; nobody hears of it any more."""
        self.turn = None
        if self.transport is not None:
            self.transport.abort()

    def pause(self, is_paused: bool) -> None:
        """Read no more while the client does not keep up."""
        if is_paused != self._is_paused and self.transport is not None and not self.transport.is_closing():
            self._is_paused = is_paused
            (self.transport.pause_reading if is_paused else self.transport.resume_reading)()

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        turn = self.turn
        if turn is None:
            self.drop()  # nobody asked: whatever this is, the next answer would be taken for it
        elif self._left:
            self._go_on(turn, data)
        elif self._relay is not None or (found := read_answer(data)) < 0:
            self._pass(turn, data)
        else:
            status = (found >> BODY) & _STATUS_MASK
            length = (found >> _LENGTH_AT) - 1
            if status == 204 or status == 304 or turn.is_head:
                length = 0
            left = (found & _BODY_MASK) + length - len(data)
            if length < 0 or left < 0:
                self._pass(turn, data)
            elif left == 0:
                turn.answered(self, data, status)
            else:
                self._left, self._status = left, status
                turn.passed(self, data)

    def connection_lost(self, error: Exception | None) -> None:
        turn, relay = self.turn, self._relay
        if turn is None:
            return
        try:
            if error is not None or relay is None:
                raise BrokenAnswer
            relay.end()
        except BrokenAnswer:
            turn.failed(self, "connection broke", may_be_done=True)
        else:
            turn.answered(self, b"", relay.status, ends_client=relay.ends_client)

    def _go_on(self, turn: Turn, data: bytes) -> None:
        """More of a body whose length is known."""
        self._left -= len(data)
        if self._left > 0:
            turn.passed(self, data)
            return
        excess, self._left = -self._left, 0
        if excess and self.transport is not None:
            self.transport.abort()  # what comes after an answer would be taken for the next one
        turn.answered(self, data[: len(data) - excess], self._status)

    def _pass(self, turn: Turn, data: bytes) -> None:
        """More of an answer that is not plain."""
        if self._relay is None:
            self._relay = Relay(is_head=turn.is_head, takes_chunks=turn.takes_chunks)
        relay = self._relay
        try:
            out = relay.feed(data)
        except BrokenAnswer:
            turn.failed(self, "answer broken", may_be_done=True)
            self.drop()
            return
        if not relay.is_done:
            if out:
                turn.passed(self, out)
            return
        self._relay = None
        if not relay.may_be_reused and self.transport is not None:
            self.transport.close()
        turn.answered(self, out, relay.status, ends_client=relay.ends_client)
