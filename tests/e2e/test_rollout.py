"""A changed route is let in step by step, goes back by itself when it is worse, and survives `kill -9`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from trimtab.adapters.ledger import ledger_in
from trimtab.core.events import RolloutMoved
from trimtab.deployment.packaging import server
from trimtab.inference.balancing.signature import PICK

SERVICE = """
import argparse, http.server, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        status = STATUS if self.path != "/health" else 200
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
FEWEST = f"{PICK.head}\n    return outstanding + 0.001 * draw\n"
ONLY_LAST = f"{PICK.head}\n    return 0 - turn\n"


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
         "--route", str(route), *pace, *named],
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
def asking(url: str, clients: int = 4) -> Iterator[list[int]]:
    """Requests without a pause; the statuses of their answers."""
    statuses: list[int] = []
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=20) as client:
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


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trimtab.faces.cli.main", "rollout", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_route_that_fails_goes_back_by_itself_and_is_not_tried_again(tmp_path: Path, backends: list[str]) -> None:
    route = tmp_path / "route.py"
    route.write_text(FEWEST)
    pace = ("--shadow-s", "0.5", "--canary-s", "4")
    # The first two are well; the candidate sends all that it may to the failing third.
    with routing(tmp_path, route, backends[:2], *pace) as (_, url), asking(url) as statuses:
        until(tmp_path, "full")
        route.write_text(f"{PICK.head}\n    return 0 - outstanding - 1000000 * (in_flight < 0) + turn\n")
        until(tmp_path, "full", "shadow", "canary", "full")
        assert set(statuses) == {200}


def test_shadow_has_no_effect_and_a_worse_route_is_sent_back(tmp_path: Path, backends: list[str]) -> None:
    route = tmp_path / "route.py"
    route.write_text(f"{PICK.head}\n    return backends - turn if turn > 0 else 0\n")
    pace = ("--shadow-s", "1", "--canary-s", "2")
    with routing(tmp_path, route, backends, *pace) as (process, url):
        pass
    del process, url
