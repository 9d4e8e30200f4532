"""Answers that are not plain: parsed in full and written anew, without what concerned the backend's connection only.

Such are chunked ones, those that end with their connection, interim ones (dropped), heads in pieces, `Connection`.
"""

from __future__ import annotations

import httptools

from trimtab.inference.balancing.live.hops import end_to_end

MOST_HEAD_BYTES = 64 * 1024


class BrokenAnswer(Exception):
    """What a backend sent is no answer."""


class Relay:
    """One answer. `feed` and `end` give the bytes that go to the client; BrokenAnswer for what is none."""

    def __init__(self, *, is_head: bool, takes_chunks: bool) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._is_head, self._takes_chunks = is_head, takes_chunks
        self._out: list[bytes] = []
        self._headers: list[tuple[bytes, bytes]] = []
        self._reason = b""
        self._head_size = 0
        self._is_final = self._is_chunked = self._has_length = self._is_excess = False
        self.status = 0
        self.is_done = self.keeps_alive = False
        self.ends_client = False  # the client learns the end of the answer by the end of its connection

    def feed(self, data: bytes) -> bytes:
        """Bytes from the backend."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.is_done:
                raise BrokenAnswer(str(error)) from None
        out = b"".join(self._out)
        self._out.clear()
        return out

    def end(self) -> None:
        """The connection ended. Raises BrokenAnswer when the answer is not whole."""
        if not self._is_final or self._is_chunked or self._has_length:
            raise BrokenAnswer("the connection ended within the answer")
        self.is_done, self.keeps_alive = True, False

    # httptools
    def on_message_begin(self) -> None:
        self._headers, self._reason, self._has_length = [], b"", False
        self._is_excess = self.is_done

    def on_status(self, reason: bytes) -> None:
        self._reason += reason
        self._count(len(reason))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        self._has_length |= name.lower() == b"content-length"
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200 or self.is_done:
            return
        self._is_final = True
        codings = [value.lower() for name, value in self._headers if name.lower() == b"transfer-encoding"]
        if codings not in ([], [b"chunked"]):
            raise BrokenAnswer("its transfer coding is not known")
        is_empty = self.status in (204, 304)
        is_bare = self._is_head or is_empty
        self._is_chunked = bool(codings) and not is_empty
        self.ends_client = not is_bare and not self._has_length and not (self._is_chunked and self._takes_chunks)
        self._out.append(self._head())
        # And its connection is not used again: the parser, or the backend, may take it to have a body.
        self.is_done = self._is_head or (is_empty and bool(codings))

    def on_body(self, body: bytes) -> None:
        if self.is_done:
            return
        if self._is_chunked and self._takes_chunks:
            self._out.append(b"%x\r\n%s\r\n" % (len(body), body))
        else:
            self._out.append(body)

    def on_message_complete(self) -> None:
        if self.status < 200 or self.is_done:
            return
        if self._is_chunked and self._takes_chunks:
            self._out.append(b"0\r\n\r\n")
        self.is_done, self.keeps_alive = True, self._parser.should_keep_alive()

    def _head(self) -> bytes:
        kept = [*end_to_end(self._headers), *(one for one in self._headers if one[0].lower() == b"content-length")]
        if self.ends_client:
            kept.append((b"connection", b"close"))
        elif self._is_chunked and self._takes_chunks:
            kept.append((b"transfer-encoding", b"chunked"))
        lines = [b"HTTP/1.1 %d %s" % (self.status, self._reason), *(name + b": " + value for name, value in kept)]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    @property
    def may_be_reused(self) -> bool:
        """Whether the backend's connection is at the beginning of another answer."""
        return self.keeps_alive and not self._is_excess

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > MOST_HEAD_BYTES:
            raise BrokenAnswer("the head of the answer is too large")
