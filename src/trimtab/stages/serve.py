"""`balance run` and `scale run`: a router for running backends, and one that starts and stops its own workers.

The router's own counts feed the autoscaler; both policies are programs in files, which are taken anew when they change.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path

from trimtab.adapters.ledger import SqlLedger, ledger_in
from trimtab.adapters.programs import ProgramFault
from trimtab.cluster.scaling.controller import Controller, Shield
from trimtab.cluster.scaling.programs import RISING
from trimtab.cluster.scaling.simulator import STEP, Service
from trimtab.core.errors import InputError, TargetError, TrimtabError
from trimtab.core.events import Noticed
from trimtab.deployment.packaging import server
from trimtab.inference.balancing.live import Router, Settings
from trimtab.inference.balancing.live.canary import Pace
from trimtab.stages.replicas import Replicas
from trimtab.stages.rollout import Rollout
from trimtab.stages.routes import Routes
from trimtab.stages.watched import IN_FORCE, REFUSED, Say, Spell, Watched, noted, text_of

SYNC_STEPS = 3
WATCH_SECONDS = 0.5
ROUTES_HINT = "`trimtab balance requests.csv` prints one"
Take = Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class Workers:
    """What `scale run` starts: a packaged service, and the limits of how many."""

    folder: Path
    shield: Shield
    service: Service
    python: Path = Path(sys.executable)


def balance_run(
    settings: Settings,
    backends: tuple[str, ...],
    policy: Path | None,
    metrics_port: int,
    say: Say,
    pace: Pace | None = None,
) -> None:
    """Route until SIGTERM or Ctrl-C. `pace`: policies are rolled out; None: a changed one is taken at once.

    Raises InputError for addresses and policies that cannot be used.
    """
    addresses = [_address(one) for one in backends]

    async def serve() -> None:
        watched = Watched(policy)  # before it is read: no change is missed
        router = await _started(settings, policy if pace is None else None, metrics_port, say)
        for host, port in addresses:
            router.add(host, port)
        async with _rolling(router, policy, pace, say) as take:
            await _until_told(router, watched, say, take)

    _run(serve())


def scale_run(
    settings: Settings,
    workers: Workers,
    policies: tuple[Path | None, Path | None],
    metrics_port: int,
    say: Say,
    pace: Pace | None = None,
) -> None:
    """Route to workers of our own, as many as the policy wants. `policies`: of the router, of the replicas.

    pace: both are rolled out; None: a changed one is taken at once.
    """
    if not (workers.folder / "serve.py").is_file():
        raise InputError(f"{workers.folder} is no packaged service", hint="make one with `trimtab package`")
    route, replicas = policies
    changes = Watched(replicas)
    controller = _controller(workers, replicas)

    async def serve(ledger: SqlLedger) -> None:
        watched = Watched(route)  # before it is read: no change is missed
        router = await _started(settings, route if pace is None else None, metrics_port, say)
        steering = _steering(controller, replicas, pace, Rollout(replicas or Path("replicas"), ledger, say))
        crew = Crew(router, workers, steering, ledger, say)
        if isinstance(steering, Replicas):
            router.counts.listeners.append(steering.heard)
        task = asyncio.create_task(crew.run(changes))
        try:
            async with _rolling(router, route, pace, say) as take:
                await _until_told(router, watched, say, take)
        finally:
            task.cancel()
            try:
                with suppress(asyncio.CancelledError):
                    await task  # raises what ended it, if that was not us
            finally:
                await crew.end()

    with closing(ledger_in(Path.cwd())) as ledger:
        _run(serve(ledger))


class Plain:
    """A controller whose program is changed at once."""

    def __init__(self, controller: Controller, say: Say) -> None:
        self.controller, self._say = controller, say
        self.observe, self.desired = controller.observe, controller.desired

    def take(self, text: str) -> None:
        """Decide by another program. Raises ProgramFault."""
        self.controller.swap(text)
        self._say(IN_FORCE)

    def judge(self, now: float) -> None:
        """There is nothing on trial."""


def _steering(controller: Controller, policy: Path | None, pace: Pace | None, rollout: Rollout) -> Plain | Replicas:
    if pace is None or policy is None:
        return Plain(controller, rollout.say)
    steering = Replicas(controller, rollout, pace.shadow_seconds)
    steering.begin(text_of(policy))
    return steering


def _run(work: Coroutine[None, None, None]) -> None:
    """On uvloop where it is to be had: twice the requests a second."""
    factory = None
    with suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)


class Crew:
    """The workers behind a router: started, drained and stopped as the controller says; replaced when they die."""

    def __init__(
        self, router: Router, workers: Workers, steering: Plain | Replicas, ledger: SqlLedger, say: Say
    ) -> None:
        self._router, self._workers, self._steering = router, workers, steering
        self._ledger, self._say = ledger, say
        self._ready: dict[str, server.Server] = {}
        self._coming: set[asyncio.Task[None]] = set()
        self._told = 0
        self._is_over = threading.Event()

    async def run(self, watched: Watched) -> None:
        """Measure each step, decide each third one; the ledger is waited for in a thread, and may fail."""
        self._grow(self._workers.shield.least)
        spell, step = Spell(self._say), 0
        arrived, now = self._router.counts.arrived, time.monotonic()
        while True:
            busy = await self._busy()
            # Since the last look: requests arrive as well while workers are drained and the ledger is waited for.
            before, since = arrived, now
            arrived, now = self._router.counts.arrived, time.monotonic()
            self._steering.observe(now, (arrived - before) / (now - since), busy)
            await self._bury()
            step += 1
            if step % SYNC_STEPS == 0:
                with spell.outlived():
                    await _followed(watched, self._take, self._say)
                    await asyncio.to_thread(self._steering.judge, now)
                await self._follow(self._steering.desired(now, len(self._ready), len(self._coming)))
            await self._tell()

    async def end(self) -> None:
        """Stop all workers, and wait for none that is still starting."""
        self._is_over.set()
        for task in list(self._coming):
            task.cancel()
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(None, server.stop, one) for one in self._ready.values()))

    async def _busy(self) -> float:
        """Requests under way, on average over the next step."""
        began, busy, looks = time.monotonic(), 0.0, 0
        while time.monotonic() - began < STEP:
            await asyncio.sleep(0.1)
            busy, looks = busy + self._router.in_flight, looks + 1
        return busy / max(1, looks)

    async def _take(self, text: str) -> None:
        await asyncio.to_thread(self._steering.take, text)

    async def _follow(self, wanted: int) -> None:
        total = len(self._ready) + len(self._coming)
        if wanted > total:
            self._say(f"{total} → {wanted} workers")
            self._grow(wanted - total)
        elif wanted < total and not self._coming:
            self._say(f"{total} → {wanted} workers")
            for name in list(self._ready)[wanted:]:
                await self._dismiss(name)

    def _grow(self, count: int) -> None:
        for _ in range(count):
            task = asyncio.create_task(self._start())
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            made = await loop.run_in_executor(
                None, server.start, self._workers.folder, self._workers.python, self._is_over.is_set
            )
        except TargetError as error:
            self._say(f"a worker did not start: {error.message}")
            return
        self._ready[self._router.add(server.HOST, made.port)] = made

    async def _dismiss(self, name: str) -> None:
        gone = self._ready.pop(name)
        await self._router.remove(name)
        await asyncio.get_running_loop().run_in_executor(None, server.stop, gone)

    async def _bury(self) -> None:
        """Replace workers that have died."""
        for name, one in list(self._ready.items()):
            if one.process.poll() is not None:
                self._say(f"worker {name} died with {one.process.returncode}: another is started")
                del self._ready[name]
                await self._router.remove(name, 0.0)
                self._grow(1)

    async def _tell(self) -> None:
        events = self._steering.controller.events
        for event in events[self._told :]:
            noticed = Noticed("scale", event, {"workers": len(self._ready)})
            await asyncio.to_thread(noted, self._ledger, noticed, self._say)
        self._told = len(events)


def _controller(workers: Workers, policy: Path | None) -> Controller:
    text = RISING if policy is None else text_of(policy)
    try:
        return Controller(text, workers.service, workers.shield)
    except ProgramFault as fault:
        raise InputError(f"{policy}: {fault}", hint="`trimtab scale traffic.csv` prints one") from None


async def _started(settings: Settings, policy: Path | None, metrics_port: int, say: Say) -> Router:
    router = Router(settings)
    if policy is not None:
        try:
            await router.swap(text_of(policy))
        except ProgramFault as fault:
            raise InputError(f"{policy}: {fault}", hint=ROUTES_HINT) from None
    await router.start()
    gc.freeze()  # what is here stays: looking through it would hold requests up for tens of milliseconds
    say(f"listening on http://{settings.host}:{router.port}")
    admin = await asyncio.start_server(
        lambda reader, writer: _metrics(router, reader, writer), "127.0.0.1", metrics_port
    )
    say(f"metrics on http://127.0.0.1:{admin.sockets[0].getsockname()[1]}/metrics")
    return router


async def _metrics(router: Router, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
        async with asyncio.timeout(5):
            await reader.readuntil(b"\r\n\r\n")
        body = router.metrics().encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {len(body)}\r\n"
        writer.write(head.encode() + b"connection: close\r\n\r\n" + body)
        await writer.drain()
    writer.close()


async def _until_told(router: Router, watched: Watched, say: Say, take: Take) -> None:
    """Serve, taking the policy anew when its file changes, until a signal; then end what is under way."""
    told, loop, spell = asyncio.Event(), asyncio.get_running_loop(), Spell(say)
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, told.set)
    while not told.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(WATCH_SECONDS):
                await told.wait()
        with spell.outlived():
            await _followed(watched, take, say)
    say("no new connections; ending what is under way")
    await router.stop()


async def _followed(watched: Watched, take: Take, say: Say) -> None:
    """Take a changed program, or say why it was refused. Raises what `take` does: it counts as changed still then."""
    if (text := watched.changed()) is None:
        return
    try:
        await take(text)
    except ProgramFault as fault:
        say(REFUSED.format(fault=fault))
    except TrimtabError:
        watched.again()
        raise


@asynccontextmanager
async def _rolling(router: Router, policy: Path | None, pace: Pace | None, say: Say) -> AsyncIterator[Take]:
    """What is done with a changed policy: it is swapped in, or rolled out."""
    if policy is None or pace is None:

        async def swap(text: str) -> None:
            await router.swap(text)
            say(IN_FORCE)

        yield swap
        return
    with closing(ledger_in(Path.cwd())) as ledger:
        routes = Routes(router, Rollout(policy, ledger, say), pace)
        try:
            await routes.begin(text_of(policy))
        except ProgramFault as fault:
            raise InputError(f"{policy}: {fault}", hint=ROUTES_HINT) from None
        watch = asyncio.create_task(routes.watch())
        try:
            yield routes.take
        finally:
            watch.cancel()
            await routes.end()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.removeprefix("http://").rstrip("/").rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"{text!r} is no address of a backend", hint="write it as host:port")
    return host, int(port)
