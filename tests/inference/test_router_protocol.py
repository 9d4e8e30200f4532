"""What the router passes on and what it refuses, byte by byte: real connections, odd requests, odd answers."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import httptools
import pytest

from trimtab.inference.balancing.live import Router, Settings
from trimtab.inference.balancing.live.heads import BODY, read_request

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LAST = b"GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
T = TypeVar("T")
HOST = b" HTTP/1.1\r\nhost: x\r\n"


class Backend:
    """Answers each request with the same bytes, and keeps what it was sent."""

    def __init__(self, answer: bytes = OK, *, ends: bool = False, piece: int = 1 << 30) -> None:
        self.answer, self.ends, self.piece = answer, ends, piece
        self.seen: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [one[15:] for one in head.lower().split(b"\r\n") if one.startswith(b"content-length:")]
                body = await reader.readexactly(int(lengths[0]) if lengths else 0)
                self.seen.append(head + body)
                answer = OK if b" /last " in head else self.answer
                for place in range(0, len(answer), self.piece):
                    writer.write(answer[place : place + self.piece])
                    await writer.drain()
                    await asyncio.sleep(0)
                if self.ends and b" /last " not in head:
                    break
        writer.close()


@contextlib.asynccontextmanager
async def connected(
    *backends: Backend, settings: Settings | None = None
) -> AsyncIterator[tuple[Router, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A router before the backends, and a client's connection to it."""
    servers = [await asyncio.start_server(one.serve, "127.0.0.1", 0) for one in backends]
    router = Router(settings or Settings(health_seconds=0.0))
    await router.start()
    for one in servers:
        router.add("127.0.0.1", one.sockets[0].getsockname()[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    yield router, reader, writer
    writer.close()
    assert router.in_flight == 0
    await router.stop(0.1)
    for one in servers:
        one.close()


async def asked(backend: Backend, *pieces: bytes, settings: Settings | None = None) -> bytes:
    """What a client reads until the router closes, after a request in pieces."""
    async with connected(backend, settings=settings) as (_, reader, writer):
        with contextlib.suppress(ConnectionError):
            for one in pieces:
                writer.write(one)
                await writer.drain()
                await asyncio.sleep(0)
        return await reader.read(-1)


def play(scenario: Callable[[], Awaitable[T]]) -> T:
    return asyncio.run(asyncio.wait_for(scenario(), 60))  # type: ignore[arg-type]


def lines(message: bytes) -> set[bytes]:
    head, _, body = message.partition(b"\r\n\r\n")
    return {*head.lower().split(b"\r\n"), b"body " + body}


@pytest.mark.parametrize(
    ("request_", "passed"),
    [
        (b"GET /a?b" + HOST + b"\r\n", b"GET /a?b" + HOST + b"x-forwarded-for: 127.0.0.1\r\n\r\n"),
        (
            b"POST /" + HOST + b"Content-Length: 2\r\nConnection: keep-alive\r\n\r\nab",
            b"POST /" + HOST + b"Content-Length: 2\r\nConnection: keep-alive\r\nx-forwarded-for: 127.0.0.1\r\n\r\nab",
        ),
        (
            b"GET /" + HOST + b"x-forwarded-for: 9.9.9.9\r\n\r\n",
            b"GET /" + HOST + b"x-forwarded-for: 9.9.9.9\r\nx-forwarded-for: 127.0.0.1\r\n\r\n",
        ),
        (
            b"GET /" + HOST + b"connection: x-own, keep-alive\r\nx-own: 1\r\nx-kept: 2\r\nte: trailers\r\n\r\n",
            b"GET /" + HOST + b"x-kept: 2\r\nx-forwarded-for: 127.0.0.1\r\n\r\n",
        ),
        (
            b"GET /" + HOST + b"upgrade: h2c\r\nconnection: upgrade\r\n\r\n",
            b"GET /" + HOST + b"x-forwarded-for: 127.0.0.1\r\n\r\n",
        ),
        (
            b"POST /" + HOST + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n1;x=y\r\nb\r\n0\r\nt: 1\r\n\r\n",
            b"POST /" + HOST + b"content-length: 2\r\nx-forwarded-for: 127.0.0.1\r\n\r\nab",
        ),
    ],
)
def test_a_request_is_passed_on_without_what_concerned_its_connection(request_: bytes, passed: bytes) -> None:
    backend, in_pieces = Backend(), Backend()

    async def at_once() -> None:
        async with connected(backend) as (_, reader, writer):
            writer.write(request_)
            assert await reader.readexactly(len(OK)) == OK

    play(at_once)
    assert lines(backend.seen[0]) == lines(passed)
    pieces = [request_[place : place + 7] for place in range(0, len(request_), 7)]
    assert play(lambda: asked(in_pieces, *pieces, LAST)) == OK + OK
    assert lines(in_pieces.seen[0]) - {b"connection: keep-alive"} == lines(passed) - {b"connection: keep-alive"}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /" + HOST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /" + HOST + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n", 400),
        (b"POST /" + HOST + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab", 400),
        (b"POST /" + HOST + b"content-length: +2\r\n\r\nab", 400),
        (b"POST /" + HOST + b"content-length: -2\r\n\r\nab", 400),
        (b"POST /" + HOST + b"content-length: 2, 2\r\n\r\nab", 400),
        (b"POST /" + HOST + b"content-length : 2\r\n\r\nab", 400),
        (b"POST /" + HOST + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /" + HOST + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        (b"POST /" + HOST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /" + HOST + b"transfer-encoding: chunked\r\n\r\nzz\r\n\r\n", 400),
        (b"GET /" + HOST + b"a: b\nc: d\r\n\r\n", 400),
        (b"GET /" + HOST + b"a: b\rc: d\r\n\r\n", 400),
        (b"GET /" + HOST + b" folded: b\r\n\r\n", 400),
        (b"GET /" + HOST + b"a: \x00\r\n\r\n", 400),
        (b"GET /" + HOST + b"a b: c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nhost: x\n\n", 400),
        (b"GET / HTTP/2.0\r\nhost: x\r\n\r\n", 505),
        (b"CONNECT x:80" + HOST + b"\r\n", 501),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_what_two_servers_could_read_differently_reaches_no_backend(request_: bytes, status: int) -> None:
    backend = Backend()
    answer = play(lambda: asked(backend, request_ + LAST))
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not backend.seen


class Parsed:
    """What a full parser makes of bytes."""

    def __init__(self, text: bytes) -> None:
        self.names: set[bytes] = set()
        self.body, self.whole = b"", 0
        with contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            httptools.HttpRequestParser(self).feed_data(text)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.names.add(name.lower())

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.whole += 1


def test_whatever_is_passed_on_as_it_is_a_full_parser_reads_the_same() -> None:
    chance = random.Random(5)
    fields = [b"host: x", b"x:", b"Content-Length: 2", b"content-length:02", b"content-length : 2", b"te: trailers"]
    fields += [
        b"connection: keep-alive",
        b"connection: close",
        b"transfer-encoding: chunked",
        b"upgrade: x",
        b"x: \x80",
    ]
    noise = [b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b"GET", b" HTTP/1.0", b"a", *fields]
    plain = 0
    for _ in range(20_000):
        parts = [b"POST", b" /", b" HTTP/1.1", b"\r\n", b"\r\n", b"ab"]
        for one in chance.choices(fields, k=chance.randrange(4)):
            parts[4:4] = [one, b"\r\n"]
        if chance.random() < 0.7:
            parts.insert(chance.randrange(len(parts)), chance.choice(noise))
        text = b"".join(parts)
        found = read_request(text)
        start, size = found & 0xFFFF, max(0, (found >> BODY) - 1)
        if found >= 0 and len(text) - start == size:
            parsed, plain = Parsed(text), plain + 1
            assert (parsed.whole, parsed.body) == (1, text[start:]), text
            assert not parsed.names & {b"te", b"transfer-encoding", b"upgrade"}, text
    assert plain > 500


@pytest.mark.parametrize("asks", [b"HTTP/1.0\r\n", b"HTTP/1.1\r\nconnection: close\r\n"])
def test_a_connection_is_closed_for_those_who_want_it(asks: bytes) -> None:
    assert play(lambda: asked(Backend(), b"GET / " + asks + b"host: x\r\n\r\n")) == OK


@pytest.mark.parametrize("before", [0, 1, 20])
def test_the_body_of_a_careful_client_is_asked_for_when_its_turn_comes(before: int) -> None:
    backend = Backend()

    async def scenario() -> None:
        async with connected(backend) as (_, reader, writer):
            writer.write((b"GET /" + HOST + b"\r\n") * before)
            writer.write(b"POST /" + HOST + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n")
            asks = OK * before + b"HTTP/1.1 100 Continue\r\n\r\n"
            assert await reader.readexactly(len(asks)) == asks
            writer.write(b"ab" + LAST)
            assert await reader.read(-1) == OK + OK

    play(scenario)
    assert backend.seen[before].endswith(b"\r\n\r\nab")
    assert b"expect" not in backend.seen[before]


@pytest.mark.parametrize(
    ("answer", "ends", "got"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", False, b"HTTP/1.1 204 No Content\r\n\r\n" + OK),
        (
            b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
            False,
            b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n" + OK,
        ),
        *(
            (
                b"HTTP/1.1 %s\r\netag: 1\r\ntransfer-encoding: chunked\r\n\r\n%s" % (status, body),
                False,
                b"HTTP/1.1 %s\r\netag: 1\r\n\r\n%s" % (status, OK),
            )
            for status in (b"304 Not Modified", b"204 No Content")
            for body in (b"", b"0\r\n\r\n", b"2\r\nok\r\n0\r\n\r\n")
        ),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, False, OK + OK),
        (
            b"HTTP/1.1 200 OK\r\nconnection: close, x-own\r\nx-own: 1\r\nserver: y\r\ncontent-length: 2\r\n\r\nok",
            True,
            b"HTTP/1.1 200 OK\r\nserver: y\r\ncontent-length: 2\r\n\r\nok" + OK,
        ),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", True, OK + OK),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", True, b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nto the end"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\nt: 1\r\n\r\n",
            False,
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + OK,
        ),
        (OK + b"more than was said", False, OK + OK),
        (OK + OK, False, OK + OK),
    ],
)
@pytest.mark.parametrize("piece", [1 << 30, 5])
def test_an_answer_is_passed_on_whole_and_the_next_is_not_mixed_up_with_it(
    answer: bytes, ends: bool, got: bytes, piece: int
) -> None:
    backend = Backend(answer, ends=ends, piece=piece)
    assert play(lambda: asked(backend, b"GET /" + HOST + b"\r\n", LAST)) == got


def test_the_answer_to_a_head_has_no_body_to_wait_for() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    for answer in (OK[:-2], chunked):
        assert play(lambda: asked(Backend(answer), b"HEAD /" + HOST + b"\r\n" + LAST)) == answer + OK  # noqa: B023


def test_an_old_client_gets_no_chunks() -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    got = play(lambda: asked(Backend(head + b"2\r\nok\r\n0\r\n\r\n"), b"GET / HTTP/1.0\r\nhost: x\r\n\r\n"))
    assert got == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok"
    got = play(lambda: asked(Backend(head), b"HEAD / HTTP/1.0\r\nhost: x\r\n\r\n"))
    assert got == b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
def test_an_answer_that_is_none_is_a_bad_gateway(answer: bytes) -> None:
    backend = Backend(answer)
    got = play(lambda: asked(backend, b"POST /" + HOST + b"content-length: 0\r\n\r\n" + LAST))
    assert got.startswith(b"HTTP/1.1 502 ")
    assert got.endswith(OK)
    assert len(backend.seen) == 2  # a POST is not repeated


def test_a_request_that_does_not_become_whole_is_refused_in_time() -> None:
    settings = Settings(health_seconds=0.0, try_seconds=0.2)
    got = play(lambda: asked(Backend(), b"GET / HTTP/1.1\r\nhos", settings=settings))
    assert got.startswith(b"HTTP/1.1 408 ")


def test_thousands_of_requests_in_one_piece_are_answered_in_order() -> None:
    backend = Backend()
    sent = b"".join(b"GET /%d" % number + HOST + b"\r\n" for number in range(3000))
    assert play(lambda: asked(backend, sent + LAST)) == OK * 3001
    paths = [one.split(b" ")[1] for one in backend.seen[:-1]]
    assert paths == [b"/%d" % number for number in range(3000)]


def test_refusing_thousands_at_once_is_no_matter_either() -> None:
    async def scenario() -> bytes:
        async with connected() as (_, reader, writer):
            writer.write((b"GET /" + HOST + b"\r\n") * 3000 + LAST)
            return await reader.read(-1)

    assert play(scenario).count(b"HTTP/1.1 503 ") == 3001


def test_a_client_that_does_not_read_holds_its_backend_back_and_loses_nothing() -> None:
    size = 40_000_000
    backend = Backend(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)

    async def scenario() -> tuple[bytes, int]:
        async with connected(backend) as (router, reader, writer):
            writer.write(b"GET /" + HOST + b"\r\n" + LAST)
            while not router.waiting_bytes:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            held = router.waiting_bytes
            return await reader.read(-1), held

    answer, held = play(scenario)
    assert held < 4_000_000
    assert answer.endswith(b"x" + OK)
    assert len(answer) > size


def test_clients_that_do_not_read_are_cut_off_and_their_backend_is_not_blamed() -> None:
    size = 40_000_000
    backend = Backend(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
    settings = Settings(try_seconds=0.5, health_path="/last", health_seconds=60.0)

    async def scenario() -> tuple[Router, bytes]:
        async with connected(backend, settings=settings) as (router, reader, writer):
            while not router.is_healthy(router.backends[0]):
                await asyncio.sleep(0.01)
            others = [await asyncio.open_connection("127.0.0.1", router.port) for _ in range(3)]
            for _, one in others:
                one.write(b"GET /" + HOST + b"\r\n")
            while router.counts.events["client gone"] < len(others):
                await asyncio.sleep(0.01)
            for _, one in others:
                one.close()
            writer.write(LAST)
            return router, await reader.read(-1)

    router, answer = play(scenario)
    assert answer == OK
    assert router.counts.events["client too slow"] == 3
    assert not router.counts.events["timed out"] + router.counts.events["ejected"]
