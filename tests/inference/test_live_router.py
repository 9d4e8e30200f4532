"""The router that runs: real connections to real servers that answer, hang, reset, die and come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

import httpx
import pytest

from trimtab.adapters.programs import ProgramFault, compile_program
from trimtab.inference.balancing.live import Router, Settings
from trimtab.inference.balancing.live.choice import Choice, chooser
from trimtab.inference.balancing.signature import PICK

SETTINGS = Settings(try_seconds=1.0, connect_seconds=5.0, health_seconds=0.0)
# The default policy draws among equals; a test whose answer depends on the backend says which one comes first.
IN_ORDER = f"{PICK.head}\n    state[0] += 1\n    return state[0]\n"
IN_TURN = f"{PICK.head}\n    return turn\n"


@dataclass
class Server:
    """A backend that does as it is told; it counts the requests that reached it."""

    does: str = "answer"
    asked: int = 0
    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    posts_under_way: int = 0
    open: set[asyncio.WriteTransport] = field(default_factory=set, repr=False)
    server: asyncio.Server | None = field(default=None, repr=False)

    async def start(self) -> Server:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self.server is not None:
            self.server.close()

    async def die(self) -> None:
        """As a killed process does: nobody listens, and all connections are reset."""
        await self.stop()
        for one in self.open:
            one.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer.transport)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"GET /health" not in head:
                    self.asked += 1
                size = next(
                    (int(one[15:]) for one in head.lower().split(b"\r\n") if one.startswith(b"content-length:")), 0
                )
                body = await reader.readexactly(size)
                self.bodies += [body] if body else []
                self.posts_under_way += bool(body)
                goes_on = await self._answer(writer, head, body)
                self.posts_under_way -= bool(body)
                if not goes_on:
                    break
        writer.transport.abort()

    async def _answer(self, writer: asyncio.StreamWriter, head: bytes, body: bytes) -> bool:
        if self.does == "reset":
            return False
        if self.does == "hang":
            await asyncio.sleep(30)
        if self.does == "half":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            await writer.drain()
            return False
        if self.does == "slow":
            await asyncio.sleep(0.3)
        if self.does == "steady":
            await asyncio.sleep(0.01)
        answer = body or head.split(b" ")[1]
        if self.does == "chunked":
            writer.write(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(answer), answer)
            )
        else:
            status = b"500 Broken" if self.does == "sick" else b"200 OK"
            writer.write(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status, len(answer), answer))
        await writer.drain()
        return True


@contextlib.asynccontextmanager
async def routed(
    *does: str, settings: Settings = SETTINGS
) -> AsyncIterator[tuple[Router, list[Server], httpx.AsyncClient]]:
    servers = [await Server(one).start() for one in does]
    router = Router(settings)
    await router.start()
    for one in servers:
        router.add("127.0.0.1", one.port)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{router.port}", timeout=10) as client:
        yield router, servers, client
    await router.stop(1.0)
    for one in servers:
        await one.stop()


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))  # type: ignore[arg-type]


def test_requests_are_answered_and_shared_among_the_backends() -> None:
    async def scenario() -> None:
        async with routed("answer", "chunked", "answer") as (router, servers, client):
            answers = await asyncio.gather(*(client.post("/x", content=f"body {i}") for i in range(90)))
            assert [one.text for one in answers] == [f"body {i}" for i in range(90)]
            assert min(one.asked for one in servers) >= 10
            assert 'status="200"' in router.metrics()
            assert router.in_flight == 0

    play(scenario)


def test_a_backend_that_is_gone_costs_no_request() -> None:
    async def scenario() -> None:
        async with routed("answer", "answer") as (router, servers, client):
            await servers[0].stop()
            answers = await asyncio.gather(*(client.post("/x", content=b"b") for _ in range(30)))
            assert {one.status_code for one in answers} == {200}
            assert router.counts.events["retried"] > 0

    play(scenario)


def test_what_may_be_done_twice_is_repeated_and_nothing_else_is() -> None:
    async def scenario() -> None:
        async with routed("reset", "answer") as (router, servers, client):
            await router.swap(IN_TURN)
            got = [await client.get("/x") for _ in range(4)]
            assert {one.status_code for one in got} == {200}
            before = servers[0].asked + servers[1].asked
            posted = [await client.post("/x", content=b"b") for _ in range(4)]
            after = servers[0].asked + servers[1].asked
            assert {one.status_code for one in posted} == {200, 502}
            assert after - before == 4  # each one reached a backend once
        async with routed("reset", "answer", settings=replace(SETTINGS, repeat_posts=True)) as (_, _, client):
            posted = [await client.post("/x", content=b"b") for _ in range(8)]
            assert {one.status_code for one in posted} == {200}

    play(scenario)


def test_a_backend_that_hangs_is_given_up_on_and_a_get_goes_elsewhere() -> None:
    async def scenario() -> None:
        async with routed("hang", "answer", settings=replace(SETTINGS, try_seconds=2.0)) as (router, servers, client):
            await router.swap(IN_TURN)
            got = asyncio.gather(*(client.get("/x") for _ in range(8)))
            posted = asyncio.gather(*(client.post("/x", content=b"b") for _ in range(8)))
            assert {one.status_code for one in await got} == {200}
            assert {one.status_code for one in await posted} == {200, 504}
            assert servers[0].asked > 0

    play(scenario)


def test_half_an_answer_is_never_taken_for_a_whole_one() -> None:
    async def scenario() -> None:
        async with routed("half") as (_, _, client):
            with pytest.raises(httpx.TransportError):
                await client.get("/x")

    play(scenario)


def test_who_listens_hears_of_clients_that_left_without_an_answer() -> None:
    async def scenario() -> None:
        async with routed("hang", settings=replace(SETTINGS, try_seconds=20.0)) as (router, _, client):
            heard: list[tuple[int, float]] = []
            router.counts.listeners.append(lambda status, seconds: heard.append((status, seconds)))
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/x", timeout=0.3)
            while router.in_flight:
                await asyncio.sleep(0.01)
            ((status, seconds),) = heard
            assert status == 499
            assert seconds > 0.0

    play(scenario)


def test_a_hedge_overtakes_a_slow_backend() -> None:
    async def scenario() -> None:
        settings = replace(SETTINGS, hedge_seconds=0.05, try_seconds=20.0)
        async with routed("hang", "answer", settings=settings) as (router, servers, client):
            await router.swap(IN_ORDER)
            answers = [await client.get("/x") for _ in range(4)]
            assert {one.status_code for one in answers} == {200}
            assert router.counts.events["hedged"] == 4
            assert [one.asked for one in servers] == [4, 4]

    play(scenario)


def test_policies_are_swapped_and_backends_come_and_go_under_load_without_a_loss() -> None:
    async def scenario() -> None:
        async with routed("answer", "answer") as (router, servers, client):
            third = await Server().start()
            statuses: list[int] = []
            is_changed = asyncio.Event()

            async def load() -> None:
                left = 20
                while left:
                    left -= is_changed.is_set()
                    statuses.append((await client.post("/x", content=b"b")).status_code)
                    await asyncio.sleep(0.005)

            async def changes() -> None:
                for turn in range(2):
                    await router.swap(f"{PICK.head}\n    return outstanding + {turn} * draw\n")
                    await asyncio.sleep(0.01)
                router.add("127.0.0.1", third.port)
                await router.remove(f"127.0.0.1:{servers[0].port}")
                with pytest.raises(ProgramFault):
                    await router.swap("import os")
                is_changed.set()

            await asyncio.gather(changes(), *(load() for _ in range(4)))
            assert set(statuses) == {200}
            assert third.asked > 0
            assert len(router.backends) == 2
            await third.stop()

    play(scenario)


def test_a_backend_that_leaves_at_once_ends_its_requests_and_then_makes_room() -> None:
    async def scenario() -> None:
        async with routed("slow", "answer") as (router, servers, client):
            await router.swap(IN_ORDER)
            under_way = asyncio.create_task(client.get("/x"))
            while not servers[0].asked:
                await asyncio.sleep(0.01)
            await router.remove(router.backends[0], 0.0)
            assert (await under_way).status_code == 200
            await asyncio.sleep(0.1)
            third = await Server().start()
            router.add("127.0.0.1", third.port)
            assert (await client.get("/x")).status_code == 200
            assert third.asked == 1  # in the first place, it comes first
            await third.stop()

    play(scenario)


def test_a_policy_is_told_only_of_backends_that_have_not_left() -> None:
    choice = Choice()
    for place in range(3):
        choice.open(choice.add(), is_open=True)
        assert choice.send(1.0) == place  # the only one that is open
        choice.ended(place, 1.0, 10.0 if place == 0 else 2.0, True)
        choice.open(place, is_open=False)
    choice.remove(0)
    for place in (1, 2):
        choice.open(place, is_open=True)
    last_if_so = f"{PICK.head}\n    state[0] += 1\n    return -state[0] if backends == 2 and size == 1 else state[0]\n"
    choice.swap(chooser(compile_program(last_if_so, PICK)))
    assert choice.send(20.0) == 2


def test_backends_that_die_under_load_lose_nothing_that_may_be_repeated_and_nothing_is_done_twice() -> None:
    async def scenario() -> None:
        async with routed("steady", "steady", "steady") as (router, servers, client):
            got: list[int] = []
            posted: dict[bytes, int] = {}

            async def load(number: int) -> None:
                for turn in range(12):
                    got.append((await client.get("/x")).status_code)
                    body = b"%d of %d" % (turn, number)
                    posted[body] = (await client.post("/x", content=body)).status_code

            async def deaths() -> None:
                for one in servers[:2]:
                    while not one.posts_under_way:
                        await asyncio.sleep(0.001)
                    await one.die()
                    await asyncio.sleep(0.05)

            await asyncio.gather(deaths(), *(load(number) for number in range(8)))
            assert got == [200] * 96
            assert set(posted.values()) == {200, 502}  # 502: it may have been done, so it was not sent again
            done = [body for one in servers for body in one.bodies]
            assert len(done) == len(set(done))
            assert {body for body, status in posted.items() if status == 200} <= set(done)
            assert router.counts.events["connection broke"] > 0

    play(scenario)


def test_a_sick_backend_is_ejected_and_comes_back_when_it_is_well() -> None:
    async def scenario() -> None:
        async with routed("answer", "answer", settings=replace(SETTINGS, health_seconds=0.05)) as (
            router,
            servers,
            client,
        ):
            while not all(router.is_healthy(one) for one in router.backends):
                await asyncio.sleep(0.01)
            servers[0].does = "sick"
            while router.is_healthy(router.backends[0]):
                await asyncio.sleep(0.01)
            before = servers[0].asked
            assert {(await client.get("/x")).status_code for _ in range(10)} == {200}
            assert servers[0].asked == before
            servers[0].does = "answer"
            while not router.is_healthy(router.backends[0]):
                await asyncio.sleep(0.01)
            assert router.counts.events["ejected"] == 1

    play(scenario)


def test_bad_requests_are_refused_with_their_reason() -> None:
    async def scenario() -> None:
        async with routed(settings=replace(SETTINGS, most_bytes=1000)) as (router, _, client):
            assert (await client.get("/x")).status_code == 503  # no backend at all
            assert (await client.post("/x", content=b"b" * 2000)).status_code == 413
            for text, status in (
                (b"nonsense\r\n\r\n", b"400"),
                (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"431"),
            ):
                reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
                writer.write(text)
                assert status in await reader.read()
                writer.close()

    play(scenario)


def test_requests_that_a_client_sends_ahead_are_answered_in_order() -> None:
    async def scenario() -> None:
        async with routed("slow", "answer") as (router, _, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
            writer.write(b"".join(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % i for i in range(4)))
            text = b""
            while text.count(b"\r\n\r\n/") < 4:
                piece = await reader.read(1000)
                assert piece, text
                text += piece
            bodies = [one.split(b"HTTP")[0] for one in text.split(b"\r\n\r\n")[1:]]
            assert bodies == [b"/0", b"/1", b"/2", b"/3"]
            writer.close()

    play(scenario)


@pytest.mark.parametrize("answer", ["0 / 0", "1", "1 / 0", "-1 / 0", "draw"])
def test_a_policy_that_answers_nonsense_still_routes(answer: str) -> None:
    async def scenario() -> None:
        async with routed("answer", "answer") as (router, _, client):
            await router.swap(f"{PICK.head}\n    return {answer}\n")
            assert {(await client.get("/x")).status_code for _ in range(5)} == {200}

    play(scenario)
