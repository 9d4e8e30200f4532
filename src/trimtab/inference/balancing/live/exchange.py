"""One backend connection and the exchange on it: a request goes out, the answer's bytes are passed on as they come."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools


class Receiver(Protocol):
    """Whoever waits for an answer."""

    def on_bytes(self, data: bytes) -> None:
        """Bytes of the answer, head included."""
        ...

    def on_end(self, status: int, *, keep_alive: bool) -> None:
        """The answer is whole."""
        ...

    def on_broken(self, *, has_begun: bool) -> None:
        """The connection ended before the answer did."""
        ...


class Connection(asyncio.Protocol):
    """A connection to a backend. It carries one exchange at a time; `is_free` between them."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._parser = httptools.HttpResponseParser(self)  # one for all answers on this connection
        self._has_begun = self._is_head = self._is_done = self._has_length = self._keeps_alive = False

    @property
    def is_free(self) -> bool:
        """Whether another request may be sent on it."""
        return self._receiver is None and self.transport is not None and not self.transport.is_closing()

    def ask(self, request: bytes, receiver: Receiver, *, is_head: bool) -> None:
        """Send a request; the receiver is told of the answer."""
        assert self.transport is not None
        self._receiver, self._is_head = receiver, is_head
        self._has_begun = self._is_done = self._keeps_alive = False
        self.transport.write(request)

    def drop(self) -> None:
        """Close it; its receiver hears no more."""
        self._receiver = None
        if self.transport is not None:
            self.transport.abort()

    def pause(self) -> None:
        """Read no more until `resume`: the client does not keep up."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        receiver, parser = self._receiver, self._parser
        if receiver is None:
            self.drop()  # nobody asked: whatever this is, the next answer would be taken for it
            return
        self._has_begun = True
        try:
            parser.feed_data(data)
        except httptools.HttpParserError:
            self._broken(receiver)
            return
        receiver.on_bytes(data)
        if self._is_done:
            self._receiver = None
            if not self._keeps_alive and self.transport is not None:
                self.transport.close()
            receiver.on_end(parser.get_status_code(), keep_alive=self._keeps_alive)

    def connection_lost(self, error: Exception | None) -> None:
        receiver, parser = self._receiver, self._parser
        if receiver is None:
            return
        if self._has_begun and error is None and not self._has_length:
            self._receiver = None
            receiver.on_end(parser.get_status_code(), keep_alive=False)
            return
        self._broken(receiver)

    # httptools
    def on_headers_complete(self) -> None:
        if self._is_head and self._parser.get_status_code() >= 200:
            self._is_done = True  # and the connection is closed: the parser waits for a body

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._has_length = True

    def on_message_begin(self) -> None:
        self._has_length = False

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            # Only now does the parser know; and a HEAD's answer it takes for the beginning of a longer one.
            self._is_done, self._keeps_alive = True, self._parser.should_keep_alive()

    def _broken(self, receiver: Receiver) -> None:
        self.drop()
        receiver.on_broken(has_begun=self._has_begun)
