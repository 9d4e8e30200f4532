"""`balance run` and `scale run` as a user starts them: processes, ports, signals and files that change."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SERVICE = """
import argparse, http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/die":
            os._exit(1)
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *said):
        pass
asked = argparse.ArgumentParser()
asked.add_argument("--host")
asked.add_argument("--port", type=int)
given = asked.parse_args()
http.server.ThreadingHTTPServer((given.host, given.port), Handler).serve_forever()
"""


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The command, its address and that of its metrics."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab.faces.cli.main", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
    )
    assert process.stdout is not None
    try:
        found = [re.search(r"http://\S+", process.stdout.readline()) for _ in range(2)]
        assert found[0] is not None
        assert found[1] is not None
        yield process, found[0].group(), found[1].group()
    finally:
        process.kill()
        process.wait()


def got(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def until(true: object, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def service(tmp_path: Path) -> Path:
    folder = tmp_path / "service"
    folder.mkdir()
    (folder / "serve.py").write_text(SERVICE)
    return folder


def test_workers_are_started_routed_to_replaced_when_they_die_and_stopped(service: Path) -> None:
    with started("scale", "run", str(service), "--port", "0", "--least", "2", "--most", "3") as (process, url, metrics):
        until(lambda: got(url + "/x")[0] == 200)
        until(lambda: len({got(url + "/x")[1] for _ in range(20)}) == 2)
        workers = {got(url + "/x")[1] for _ in range(20)}
        os.kill(int(next(iter(workers))), signal.SIGKILL)
        assert {got(url + "/x")[0] for _ in range(20)} == {200}  # a GET finds the other one
        until(lambda: len({got(url + "/x")[1] for _ in range(20)} - workers) == 1)
        assert "trimtab_requests_total" in got(metrics)[1]
        left = {got(url + "/x")[1] for _ in range(20)}
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))


def test_the_route_is_taken_anew_when_its_file_changes_and_a_bad_one_is_refused(service: Path, tmp_path: Path) -> None:
    from trimtab.inference.balancing.signature import PICK

    policy = tmp_path / "route.py"
    policy.write_text(f"{PICK.head}\n    return outstanding\n")
    ports = []
    backends = []
    for _ in range(2):
        from trimtab.deployment.packaging import server

        backends.append(server.start(service, Path(sys.executable)))
        ports.append(backends[-1].port)
    named = [part for port in ports for part in ("--backend", f"127.0.0.1:{port}")]
    with started("balance", "run", "--port", "0", "--route", str(policy), *named) as (process, url, metrics):
        until(lambda: len({got(url + "/x")[1] for _ in range(20)}) == 2)
        policy.write_text("import os\n")
        until(lambda: 'event="policy refused"}' in got(metrics)[1])
        assert len({got(url + "/x")[1] for _ in range(20)}) == 2
        policy.write_text(f"{PICK.head}\n    state[0] += 1\n    return state[0]\n")  # the first candidate scores lowest
        until(lambda: 'event="policy swapped"} 2' in got(metrics)[1])
        assert len({got(url + "/x")[1] for _ in range(20)}) == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        assert process.stdout is not None
        assert "refused" in process.stdout.read()
    for one in backends:
        server.kill(one)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("balance", "run", "--backend", "nowhere"), "is no address"),
        (("balance", "run", "--backend", "127.0.0.1:1", "--route", "/nope"), "cannot be read"),
        (("scale", "run", "/nope"), "no packaged service"),
        (("scale", "run", "/nope", "--least", "3", "--most", "2"), "3 to 2 workers"),
    ],
)
def test_what_cannot_be_served_is_refused_at_once(arguments: tuple[str, ...], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trimtab.faces.cli.main", *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert said in done.stderr
