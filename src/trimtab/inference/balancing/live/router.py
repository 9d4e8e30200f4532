"""The reverse proxy: takes requests, lets the policy choose a backend, passes answers on, repeats what may be repeated.

A request is sent again only while nothing of an answer has reached the client, and only if it cannot have been done
(the connection was refused) or may be done twice (idempotent methods; POST where the user says so). Backends that fail
are ejected until a health check passes. Policies and backends change while it runs; no request is dropped for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass

from trimtab.adapters.programs import ProgramFault, compile_program
from trimtab.core.errors import OutsideError
from trimtab.inference.balancing.live.choice import Choice, chooser
from trimtab.inference.balancing.live.client import Client
from trimtab.inference.balancing.live.counts import Counts
from trimtab.inference.balancing.live.exchange import Connection
from trimtab.inference.balancing.signature import PICK

EJECT_AFTER = 3  # failures in a row
LOOKS = 8  # for late attempts, in the time that one may take
IDLE_CONNECTIONS = 256  # kept for each backend


@dataclass(frozen=True)
class Settings:
    """How a router behaves; times in seconds."""

    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    try_seconds: float = 30.0  # for one attempt at a backend
    connect_seconds: float = 2.0
    attempts: int = 3
    hedge_seconds: float = 0.0  # after so long without an answer a second backend is asked; 0: never
    repeat_posts: bool = False  # POST may be done twice, as for a model's predictions
    most_bytes: int = 8 * 2**20  # of a request
    health_path: str = "/health"
    health_seconds: float = 1.0  # between checks; 0: none, all backends count as healthy
    slots: int = 256  # requests at a backend at a time


class Backend:
    """One backend: its address, its idle connections and its health."""

    def __init__(self, host: str, port: int, place: int) -> None:
        self.host, self.port, self.place = host, port, place
        self.name = f"{host}:{port}"
        self.idle: list[Connection] = []
        self.failures = 0
        self.is_leaving = False

    def take(self) -> Connection:
        """An idle connection that still stands, else one that is to be opened."""
        while self.idle:
            connection = self.idle.pop()
            if connection.is_free:
                return connection
        return Connection(self)

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        if connection.is_free and len(self.idle) < IDLE_CONNECTIONS and not self.is_leaving:
            connection.pause(False)
            self.idle.append(connection)
        else:
            connection.drop()

    def close(self) -> None:
        """Drop what is idle."""
        while self.idle:
            self.idle.pop().drop()


class Router:
    """The proxy. `start`, then change it as you like, then `stop`. All calls on one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.counts = settings, Counts()
        self.choice = Choice(slots=settings.slots)
        self._backends: dict[str, Backend] = {}
        self.places: dict[int, Backend] = {}
        self._clients: set[Client] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port, self.looks = 0, 1

    async def start(self) -> None:
        """Listen. Raises OutsideError when the port is taken."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                self._new_client, self.settings.host, self.settings.port, backlog=2048
            )
        except OSError as error:
            raise OutsideError(f"port {self.settings.port} cannot be used: {error}", hint="choose another") from None
        self.port = self._server.sockets[0].getsockname()[1]
        self.spawn(self._look_for_late())

    async def stop(self, grace_seconds: float = 10.0) -> None:
        """Take no more connections, end what is under way, then close."""
        if self._server is not None:
            self._server.close()
        deadline = asyncio.get_running_loop().time() + grace_seconds
        while self.in_flight and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        for client in list(self._clients):
            client.close()
        for task in list(self._tasks):
            task.cancel()
        for backend in self._backends.values():
            backend.close()

    def add(self, host: str, port: int) -> str:
        """Add a backend; it gets requests as soon as a health check passes. Returns its name."""
        name = f"{host}:{port}"
        if name not in self._backends:
            backend = Backend(host, port, self.choice.add())
            self._backends[name], self.places[backend.place] = backend, backend
            if self.settings.health_seconds:
                self.spawn(self._watch(backend))
            else:
                self.choice.open(backend.place, is_open=True)
        return name

    async def remove(self, name: str, grace_seconds: float = 30.0) -> None:
        """Give a backend no more requests, and wait for its last ones."""
        backend = self._backends.pop(name)
        backend.is_leaving = True
        self.choice.open(backend.place, is_open=False)
        await asyncio.wait([self.spawn(self._vacate(backend.place))], timeout=grace_seconds)
        backend.close()

    async def swap(self, source: str) -> None:
        """Route by another policy from now on. Raises ProgramFault; the old one stays then.

        It is compiled in a thread: requests go on meanwhile.
        """
        try:
            send = await asyncio.to_thread(lambda: chooser(compile_program(source, PICK)))
        except ProgramFault:
            self.counts.events["policy refused"] += 1
            raise
        self.choice.swap(send)
        self.counts.events["policy swapped"] += 1

    @property
    def backends(self) -> Sequence[str]:
        """The names of all backends that are not leaving."""
        return tuple(self._backends)

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return self.counts.arrived - self.counts.ended

    @property
    def waiting_bytes(self) -> int:
        """Bytes of answers that clients have not taken yet."""
        return sum(one.transport.get_write_buffer_size() for one in self._clients if one.transport is not None)

    def metrics(self) -> str:
        """Everything counted, in Prometheus' text format."""
        outstanding = {name: float(self.choice.outstanding(one.place)) for name, one in self._backends.items()}
        healthy = {name: float(self.is_healthy(name)) for name in self._backends}
        return self.counts.exposition({"outstanding": outstanding, "healthy": healthy})

    def is_healthy(self, name: str) -> bool:
        """Whether a backend gets requests."""
        return self.choice.is_open(self._backends[name].place)

    # What clients and turns ask of the router.
    async def connect(self, connection: Connection) -> None:
        """Open a backend's connection, and send what waits for it."""
        backend, loop = connection.backend, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.settings.connect_seconds):
                await loop.create_connection(lambda: connection, backend.host, backend.port)
        except (OSError, TimeoutError):
            if connection.turn is not None:
                connection.turn.failed(connection, "connection refused", may_be_done=False)
            return
        if connection.turn is None:  # over meanwhile
            backend.give_back(connection)
        elif connection.transport is not None:
            connection.transport.write(connection.turn.content)

    def failed(self, backend: Backend, event: str) -> None:
        """An attempt failed: after a few in a row the backend is ejected."""
        self.counts.events[event] += 1
        backend.failures += 1
        if backend.failures >= EJECT_AFTER and self.choice.is_open(backend.place) and self.settings.health_seconds:
            self.choice.open(backend.place, is_open=False)
            self.counts.events["ejected"] += 1

    def forget(self, client: Client) -> None:
        """A client's connection is gone."""
        self._clients.discard(client)

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Do something apart."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _vacate(self, place: int) -> None:
        """Give up a place after its last request, which may outlast the grace of a backend that leaves."""
        while self.choice.outstanding(place):
            await asyncio.sleep(0.01)
        self.choice.remove(place)

    def _new_client(self) -> Client:
        client = Client(self)
        self._clients.add(client)
        return client

    async def _look_for_late(self) -> None:
        """Give up on attempts that take too long: one look at all of them costs less than a timer for each.

        Time is counted in looks: while the router itself stands still, no backend is late.
        """
        while True:
            await asyncio.sleep(self.settings.try_seconds / LOOKS)
            self.looks += 1
            for client in list(self._clients):
                client.look(self.looks - LOOKS)

    async def _watch(self, backend: Backend) -> None:
        """Check a backend's health until it leaves; a check that passes brings it back."""
        while not backend.is_leaving:
            is_well = await self._is_well(backend)
            if backend.is_leaving:
                return
            if is_well:
                backend.failures = 0
                if not self.choice.is_open(backend.place):
                    self.choice.open(backend.place, is_open=True)
                    self.counts.events["admitted"] += 1
            else:
                self.failed(backend, "health check failed")
            await asyncio.sleep(self.settings.health_seconds if self.choice.is_open(backend.place) else 0.05)

    async def _is_well(self, backend: Backend) -> bool:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(max(1.0, self.settings.health_seconds)):
                reader, writer = await asyncio.open_connection(backend.host, backend.port)
                try:
                    head = (
                        f"GET {self.settings.health_path} HTTP/1.1\r\nhost: {backend.name}\r\nconnection: close\r\n\r\n"
                    )
                    writer.write(head.encode())
                    return (await reader.readline())[9:10] in (b"2", b"3")
                finally:
                    writer.close()
        return False
