"""The workers of `scale run`: what goes on while the ledger fails, and what is measured."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from trimtab.adapters.ledger import SqlLedger, ledger_in
from trimtab.cluster.scaling.controller import Controller, Shield
from trimtab.cluster.scaling.simulator import DESIRED, Service
from trimtab.core.events import RolloutMoved
from trimtab.inference.balancing.live import Router, Settings
from trimtab.stages import serve
from trimtab.stages.replicas import Replicas
from trimtab.stages.rollout import Rollout
from trimtab.stages.serve import Crew, Plain, Workers
from trimtab.stages.watched import Watched

SERVED = Service(0.1, 0.4)
ONE = Shield(1, 1)
WORKER = """
import http.server, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.ThreadingHTTPServer(("127.0.0.1", port), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def always(count: int) -> str:
    return f"{DESIRED.head}\n    return {count}\n"


async def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def stopped(task: asyncio.Task[None], crew: Crew) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await crew.end()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    with closing(ledger_in(tmp_path)) as made:
        yield made


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workers:
    monkeypatch.setattr(serve, "STEP", 0.05)  # seconds: a decision is otherwise a quarter of a minute away
    (tmp_path / "serve.py").write_text(WORKER)
    (tmp_path / "ready").write_text("yes")
    return Workers(tmp_path, ONE, SERVED)


def test_scaling_goes_on_while_the_ledger_fails(tmp_path: Path, ledger: SqlLedger, workers: Workers) -> None:
    said: list[str] = []
    policy = tmp_path / "replicas.py"
    policy.write_text(always(1))

    async def scaled() -> None:
        replicas = Replicas(Controller(always(1), SERVED, ONE), Rollout(policy, ledger, said.append), 600.0)
        replicas.begin(always(1))
        crew = Crew(Router(Settings()), workers, replicas, ledger, said.append)
        task = asyncio.create_task(crew.run(Watched(policy)))
        with closing(sqlite3.connect(tmp_path / ".trimtab" / "ledger.db")) as database:
            database.execute("ALTER TABLE trimtab_events RENAME TO mislaid")
            policy.write_text(always(12))
            await until(lambda: any("tries again: the ledger" in one for one in said))
            await asyncio.sleep(1.0)
            assert sum("tries again" in one for one in said) == 1
            database.execute("ALTER TABLE mislaid RENAME TO trimtab_events")
        await until(lambda: len(list(ledger.events(RolloutMoved))) == 2)
        await stopped(task, crew)

    asyncio.run(scaled())
    assert [one.event.step for one in ledger.events(RolloutMoved)] == ["full", "shadow"]


def test_the_rate_is_that_of_all_the_time_since_the_last_look(ledger: SqlLedger, workers: Workers) -> None:
    looked: list[tuple[float, float]] = []
    router = Router(Settings())
    plain = Plain(Controller(always(1), SERVED, ONE), lambda said: None)

    def observe(now: float, rate: float, busy: float) -> None:
        looked.append((now, rate))
        time.sleep(0.1)  # as when workers are drained
        router.counts.arrived += 100

    plain.observe = observe

    async def scaled() -> None:
        crew = Crew(router, workers, plain, ledger, lambda said: None)
        task = asyncio.create_task(crew.run(Watched(None)))
        await until(lambda: len(looked) > 4)
        await stopped(task, crew)

    asyncio.run(scaled())
    counted = [rate * (now - before) for (before, _), (now, rate) in pairwise(looked)]
    assert counted == pytest.approx([100.0] * len(counted))


def test_the_end_waits_for_no_worker_that_does_not_become_ready(ledger: SqlLedger, workers: Workers) -> None:
    folder = workers.folder
    (folder / "ready").unlink()
    (folder / "serve.py").write_text(f"import os\nopen('pid', 'w').write(str(os.getpid()))\n{WORKER}")

    async def scaled() -> None:
        crew = Crew(Router(Settings()), workers, Plain(Controller(always(1), SERVED, ONE), print), ledger, print)
        task = asyncio.create_task(crew.run(Watched(None)))
        await until(lambda: (folder / "pid").exists() and (folder / "pid").read_text() != "")
        await stopped(task, crew)

    ended = threading.Thread(target=asyncio.run, args=(scaled(),), daemon=True)
    ended.start()
    ended.join(60)
    assert not ended.is_alive()  # a service has twice that time to become ready
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)
