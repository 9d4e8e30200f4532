"""A client's connection: reads whole requests within limits, one at a time, and writes what answers them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import httptools

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect",
     b"content-length", b"x-forwarded-for")
)  # fmt: skip
SAFE_TO_REPEAT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))  # idempotent, RFC 9110 9.2.2
MOST_HEAD_BYTES = 64 * 1024
MOST_WAITING = 100  # requests that a client may send before the first is answered


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request, as it is sent on."""

    method: bytes
    content: bytes  # head and body
    may_repeat: bool
    keeps_alive: bool


class Client(asyncio.Protocol):
    """One client. `dispatch(client, request)` gets one request at a time, which `finish` or `refuse` ends."""

    def __init__(
        self,
        dispatch: Callable[[Client, Request], Any],
        forget: Callable[[Client], None],
        most_bytes: int,
        *,
        repeat_posts: bool,
    ) -> None:
        self._forget = forget
        self._dispatch, self._most_bytes, self._repeat_posts = dispatch, most_bytes, repeat_posts
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[Request] = deque()
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._size = self._head_size = 0
        self._is_busy = self._is_refused = False
        self.on_gone: Callable[[], None] = lambda: None
        self.on_pause: Callable[[bool], None] = lambda is_paused: None
        self._peer = b""
        self._keeps_alive = True

    def write(self, data: bytes) -> None:
        """Pass on bytes of the answer."""
        if self._transport is not None:
            self._transport.write(data)

    def finish(self, *, keep_alive: bool) -> None:
        """The answer is whole: the next request, if there is one."""
        self._is_busy = False
        self.on_gone = lambda: None
        self.on_pause = lambda is_paused: None
        if not (keep_alive and self._keeps_alive) or self._is_refused:
            self.close()
        elif self._waiting:
            self._next()
        elif self._transport is not None:
            self._transport.resume_reading()

    def refuse(self, status: int, reason: str, text: str) -> None:
        """Answer a request without a backend."""
        body = (text + "\n").encode()
        head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n"
        head += "retry-after: 1\r\n" if status == 503 else ""
        self.write(head.encode() + b"\r\n" + body)
        self.finish(keep_alive=True)

    def abort(self) -> None:
        """Cut the connection: half an answer cannot be taken back."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close it when what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]).encode() if isinstance(peer, tuple) else b"unix"

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._wrong(501, "Not Implemented", "this router does not switch protocols")
        except (httptools.HttpParserError, httptools.HttpParserCallbackError):
            self._wrong(400, "Bad Request", "this is no HTTP/1 request")

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._forget(self)
        self._waiting.clear()
        self.on_gone()

    def pause_writing(self) -> None:
        self.on_pause(True)

    def resume_writing(self) -> None:
        self.on_pause(False)

    # httptools
    def on_message_begin(self) -> None:
        self._url, self._headers, self._body, self._size, self._head_size = b"", [], [], 0, 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        lowered = name.lower()
        if lowered == b"expect" and self._transport is not None and not self._is_busy:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if lowered == b"x-forwarded-for":
            self._peer = value + b", " + self._peer
        if lowered not in HOP_BY_HOP:
            self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._most_bytes:
            self._wrong(413, "Content Too Large", f"a request may have {self._most_bytes:,} bytes")
        elif not self._is_refused:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._is_refused:
            return
        method = self._parser.get_method()
        may_repeat = method in SAFE_TO_REPEAT or self._repeat_posts
        self._waiting.append(Request(method, self._content(method), may_repeat, self._parser.should_keep_alive()))
        if not self._is_busy:
            self._next()
        elif len(self._waiting) >= MOST_WAITING and self._transport is not None:
            self._transport.pause_reading()

    def _content(self, method: bytes) -> bytes:
        body = b"".join(self._body)
        lines = [method + b" " + self._url + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in self._headers]
        lines.append(b"x-forwarded-for: " + self._peer)
        if body or method in (b"POST", b"PUT", b"PATCH"):
            lines.append(b"content-length: %d" % len(body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    def _count_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > MOST_HEAD_BYTES:
            self._wrong(431, "Request Header Fields Too Large", "the head of the request is too large")

    def _next(self) -> None:
        request = self._waiting.popleft()
        self._is_busy, self._keeps_alive = True, request.keeps_alive
        self._dispatch(self, request)

    def _wrong(self, status: int, reason: str, text: str) -> None:
        """Refuse the rest of the connection: where the next request begins is not known any more."""
        if self._is_refused:
            return
        self._is_refused = True
        if not self._is_busy:
            self.refuse(status, reason, text)
        else:
            self.abort()
