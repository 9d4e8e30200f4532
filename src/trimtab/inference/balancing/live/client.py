"""A client's connection: reads whole requests within limits, one at a time, and writes what answers them.

A plain request that comes in one piece is passed on nearly as it is; all else goes through a full parser.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, cast

import httptools

from trimtab.inference.balancing.live.heads import BODY, read_request
from trimtab.inference.balancing.live.hops import end_to_end
from trimtab.inference.balancing.live.turn import Turn

if TYPE_CHECKING:
    from trimtab.inference.balancing.live.router import Router

MOST_HEAD_BYTES = 64 * 1024
_BODY_MASK = (1 << BODY) - 1
_WITH_BODY = (b"POST", b"PUT", b"PATCH")


class Request(NamedTuple):
    """A whole request that waits, as it is sent on."""

    content: bytes
    keeps_alive: bool
    takes_chunks: bool


class Client(asyncio.Protocol):
    """One client. Its turn gets one request at a time, which `finish` or `refuse` ends."""

    def __init__(self, router: Router) -> None:
        self._router, self._most_bytes = router, router.settings.most_bytes
        self.turn = Turn(router, self)
        self.transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._lines: list[bytes] = []
        self._body: list[bytes] = []
        self._size = self._head_size = 0
        self._begun = 0  # the look at which a request began that is not whole yet; 0: there is none
        self._is_busy = self._is_going_on = self._wants_continue = False
        self._refusal: tuple[int, str, str] | None = None  # of all that comes after the requests that wait
        self.is_paused = False
        self._keeps_alive = True
        self._forwarded = b""

    def write(self, data: bytes) -> None:
        """Pass on bytes of the answer."""
        if self.transport is not None:
            self.transport.write(data)

    def finish(self, *, ends: bool = False) -> None:
        """The answer is whole: the next request, if there is one."""
        self._is_busy = False
        if ends or not self._keeps_alive:
            self.close()
        elif self._waiting or self._wants_continue or self._refusal:
            self._go_on()

    def refuse(self, status: int, reason: str, text: str, *, is_head: bool = False) -> None:
        """Answer a request without a backend."""
        body = (text + "\n").encode()
        head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n"
        head += "retry-after: 1\r\n" if status == 503 else ""
        head += "" if self._keeps_alive else "connection: close\r\n"
        self.write(head.encode() + b"\r\n" + (b"" if is_head else body))
        self.finish()

    def abort(self) -> None:
        """Cut the connection: half an answer cannot be taken back."""
        if self.transport is not None:
            self.transport.abort()

    def close(self) -> None:
        """Close it when what was written is sent."""
        if self.transport is not None:
            self.transport.close()

    def look(self, before: int) -> None:
        """Give up on what began before a look: attempts at backends, and requests that do not become whole."""
        if self._is_busy:
            self.turn.give_up(before)
        elif self._begun and self._begun < before:
            self._wrong(408, "Request Timeout", "the request did not become whole in time")

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        peer = transport.get_extra_info("peername")
        address = str(peer[0]).encode() if isinstance(peer, tuple) else b"unix"
        self._forwarded = b"x-forwarded-for: " + address + b"\r\n\r\n"

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        is_between = not self._is_busy and not self._begun and not self.is_paused
        if is_between and (found := read_request(data)) >= 0:
            body, size = found & _BODY_MASK, max(0, (found >> BODY) - 1)
            if len(data) - body == size <= self._most_bytes:
                self._is_busy = True
                self.turn.begin(b"".join((data[: body - 2], self._forwarded, data[body:])))
                return
        self._parse(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self._router.forget(self)
        self._waiting.clear()
        if self._is_busy:
            self.turn.client_gone()

    def pause_writing(self) -> None:
        self.is_paused = True
        self.turn.pause(True)

    def resume_writing(self) -> None:
        self.is_paused = False
        self.turn.pause(False)
        if not self._is_busy:
            self._go_on()

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                # Asked for, not taken up: the request is answered as it is, and the connection stays what it was.
                self._parser, data = httptools.HttpRequestParser(self), data[upgrade.args[0] :]
            except (httptools.HttpParserError, httptools.HttpParserCallbackError):
                self._wrong(400, "Bad Request", "this is no HTTP/1 request")
                break
        if not self._is_busy:
            self._go_on()
        if self._waiting and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()  # until those are answered

    # httptools
    def on_message_begin(self) -> None:
        self._url, self._headers, self._body, self._size, self._head_size = b"", [], [], 0, 0
        self._begun = self._router.looks

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        method, version = self._parser.get_method(), self._parser.get_http_version()
        codings = [value.lower() for name, value in self._headers if name.lower() == b"transfer-encoding"]
        if version not in ("1.0", "1.1"):
            self._wrong(505, "HTTP Version Not Supported", "this router speaks HTTP/1.1")
        elif method == b"CONNECT" or codings not in ([], [b"chunked"]):
            self._wrong(501, "Not Implemented", "this router knows no CONNECT and no transfer coding but chunked")
        # Now, not at the end: fields that come after the body are no fields of the head.
        kept = [name + b": " + value for name, value in end_to_end(self._headers)]
        self._lines = [method + b" " + self._url + b" HTTP/1.1", *kept]
        self._wants_continue = any(name.lower() == b"expect" for name, _ in self._headers)
        if self._wants_continue and not self._is_busy:
            self._go_on()

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._most_bytes:
            self._wrong(413, "Content Too Large", f"a request may have {self._most_bytes:,} bytes")
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        self._begun, self._wants_continue = 0, False
        if self._refusal is None:
            is_new = self._parser.get_http_version() == "1.1"
            keeps_alive = is_new and self._parser.should_keep_alive()
            self._waiting.append(Request(self._content(), keeps_alive, is_new))

    def _content(self) -> bytes:
        body = b"".join(self._body)
        if body or self._parser.get_method() in _WITH_BODY:
            self._lines.append(b"content-length: %d" % len(body))
        return b"\r\n".join((*self._lines, self._forwarded)) + body

    def _count_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > MOST_HEAD_BYTES:
            self._wrong(431, "Request Header Fields Too Large", "the head of the request is too large")

    def _go_on(self) -> None:
        """Take the next request that waits, unless the client does not read its answers."""
        if self._is_going_on:
            return
        self._is_going_on = True  # a request that is refused at once comes back here: no recursion
        while self._waiting and not self._is_busy and not self.is_paused and self.transport is not None:
            request = self._waiting.popleft()
            self._is_busy, self._keeps_alive = True, request.keeps_alive
            self.turn.begin(request.content, takes_chunks=request.takes_chunks)
        self._is_going_on = False
        if self._waiting or self.transport is None or self.transport.is_closing():
            return
        if not self._is_busy and self._refusal is not None:
            refusal, self._keeps_alive = self._refusal, False
            self.refuse(*refusal)
            return
        if not self._is_busy and self._wants_continue:
            self._wants_continue = False
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.transport.resume_reading()

    def _wrong(self, status: int, reason: str, text: str) -> None:
        """Refuse the rest of the connection: where the next request begins is not known any more."""
        if self._refusal is None:
            self._refusal = status, reason, text
            if not self._is_busy:
                self._go_on()
