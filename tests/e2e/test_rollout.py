"""A changed route is let in step by step, goes back by itself when it is worse, and survives `kill -9`."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from trimtab.adapters.ledger import ledger_in
from trimtab.core.errors import InputError
from trimtab.core.events import RolloutMoved
from trimtab.deployment.packaging import server
from trimtab.faces.cli.main import app
from trimtab.inference.balancing.signature import PICK

SERVICE = """
import argparse, http.server, time
class Handler(http.server.BaseHTTPRequestHandler):
    disable_nagle_algorithm = True  # or the two bytes wait 40 ms for the head to be acknowledged
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        status = STATUS if self.path == "/" else 200
        self.send_response(status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *said):
        pass
asked = argparse.ArgumentParser()
asked.add_argument("--host")
asked.add_argument("--port", type=int)
given = asked.parse_args()
http.server.ThreadingHTTPServer((given.host, given.port), Handler).serve_forever()
"""
PACE = ("--shadow-s", "0.5", "--canary-s", "2", "--canary", "0.5", "--margin", "0.2")


def first(step: int = 1) -> str:
    """All to the first backend: the candidate that is asked first scores lowest."""
    return f"{PICK.head}\n    state[0] += {step}\n    return state[0]\n"


def last(step: int = 1) -> str:
    """All to the last one."""
    return f"{PICK.head}\n    state[0] -= {step}\n    return state[0]\n"


@pytest.fixture
def backends(tmp_path: Path) -> Iterator[list[str]]:
    """Two that are well and a third that fails every request."""
    made = []
    for status in (200, 200, 500):
        folder = tmp_path / f"service-{len(made)}"
        folder.mkdir()
        (folder / "serve.py").write_text(SERVICE.replace("STATUS", str(status)))
        made.append(server.start(folder, Path(sys.executable)))
    yield [f"127.0.0.1:{one.port}" for one in made]
    for one in made:
        server.kill(one)


@contextmanager
def routing(folder: Path, route: Path, backends: list[str], *pace: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    named = [part for one in backends for part in ("--backend", one)]
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab.faces.cli.main", "balance", "run", "--port", "0", "--rollout",
         "--route", str(route), *(pace or PACE), *named],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        yield process, found.group()
    finally:
        process.kill()
        process.wait()


@contextmanager
def asking(url: str, clients: int = 3) -> Iterator[list[int]]:
    """Requests without a pause; the statuses of their answers."""
    statuses: list[int] = []
    over = threading.Event()

    def ask() -> None:
        # A router that is killed answers no more.
        with suppress(httpx.TransportError), httpx.Client(timeout=20) as client:
            while not over.is_set():
                statuses.append(client.get(url).status_code)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for one in threads:
        one.start()
    try:
        yield statuses
    finally:
        over.set()
        for one in threads:
            one.join()


def moves(folder: Path) -> list[RolloutMoved]:
    with closing(ledger_in(folder)) as ledger:
        return [one.event for one in ledger.events(RolloutMoved)]


def until(folder: Path, *steps: str, seconds: float = 120.0) -> list[RolloutMoved]:
    deadline = time.monotonic() + seconds
    while [one.step for one in moves(folder)] != list(steps):
        assert time.monotonic() < deadline, moves(folder)
        time.sleep(0.1)
    return moves(folder)


def command(folder: Path, *arguments: str) -> str:
    """What `trimtab rollout …` prints. Raises InputError."""
    return CliRunner().invoke(app, ["rollout", *arguments, "--in", str(folder)], catch_exceptions=False).output


def test_a_route_is_let_in_step_by_step_or_goes_back(tmp_path: Path, backends: list[str]) -> None:
    route = tmp_path / "route.py"
    route.write_text(first())
    with routing(tmp_path, route, backends) as (process, url), asking(url) as statuses:
        until(tmp_path, "full")
        route.write_text(last())  # to the backend that fails
        found = until(tmp_path, "full", "shadow", "canary", "back")
        in_shadow = found[2].facts
        assert in_shadow["asked"] == in_shadow["differed"] > 100  # type: ignore[operator]
        time.sleep(0.5)
        del statuses[:]
        time.sleep(0.5)
        assert set(statuses) == {200}
        route.write_text(first(2))  # another text, equally good
        found = until(tmp_path, "full", "shadow", "canary", "back", "shadow", "canary", "full")
        assert found[-1].candidate == first(2)
        assert found[-1].facts["requests"] >= 600  # type: ignore[operator]
        assert "asked for" in command(tmp_path, "back", str(route))
        found = until(tmp_path, *(one.step for one in found), "asked back", "back")
        assert found[-1].incumbent == first()
        with pytest.raises(InputError, match="nothing to go back to"):
            command(tmp_path, "back", str(route))
        assert "back: by command" in command(tmp_path, "status")
        assert json.loads(command(tmp_path, "status", "--json"))["rollouts"][0]["step"] == "back"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def test_a_router_that_is_killed_goes_on_with_the_step_and_the_incumbent(tmp_path: Path, backends: list[str]) -> None:
    route = tmp_path / "route.py"
    route.write_text(first())
    slow = ("--shadow-s", "0.5", "--canary-s", "600", "--canary", "0.5")
    with routing(tmp_path, route, backends[:2], *slow) as (process, url), asking(url):
        until(tmp_path, "full")
        route.write_text(last())
        until(tmp_path, "full", "shadow", "canary")
        process.kill()
        process.wait()
    with routing(tmp_path, route, [backends[0], backends[2]], *slow[:1], "600") as (process, url):
        assert process.stdout is not None
        assert any("canary begins anew" in line for line in iter(process.stdout.readline, ""))
        with asking(url) as statuses:  # in shadow again: none goes to the candidate's, which fails
            assert "asked for" in command(tmp_path, "back", str(route))
            until(tmp_path, "full", "shadow", "canary", "asked back", "back")
        assert set(statuses) <= {200}
    with closing(ledger_in(tmp_path)) as ledger:
        assert ledger.first_broken() is None


def test_a_ledger_that_fails_for_a_while_ends_nothing(tmp_path: Path) -> None:
    route = tmp_path / "route.py"
    route.write_text(first())
    with routing(tmp_path, route, ["127.0.0.1:9"], "--shadow-s", "600") as (process, url):
        assert process.stdout is not None
        until(tmp_path, "full")
        route.write_text(last())
        until(tmp_path, "full", "shadow")
        with closing(sqlite3.connect(tmp_path / ".trimtab" / "ledger.db")) as database:
            database.execute("ALTER TABLE trimtab_events RENAME TO mislaid")
            route.write_text(last(2))
            for _ in range(2):  # who takes it, and who is asked back
                assert any("tries again: the ledger" in line for line in iter(process.stdout.readline, ""))
            assert httpx.get(url).status_code >= 500  # it answers still: its backend does not
            database.execute("ALTER TABLE mislaid RENAME TO trimtab_events")
        until(tmp_path, "full", "shadow", "shadow")
        command(tmp_path, "back", str(route))
        until(tmp_path, "full", "shadow", "shadow", "asked back", "back")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def test_what_cannot_be_rolled_out_or_back_is_said(tmp_path: Path) -> None:
    assert "nothing was rolled out" in command(tmp_path, "status")
    with pytest.raises(InputError, match=r"nothing was rolled out from route\.py"):
        command(tmp_path, "back", "route.py")
    for arguments, said in ((("--rollout",), "no program to roll out"), (("--rollout", "--canary", "0"), "a share")):
        with pytest.raises(InputError, match=said):
            CliRunner().invoke(app, ["balance", "run", "--backend", "127.0.0.1:9", *arguments], catch_exceptions=False)
