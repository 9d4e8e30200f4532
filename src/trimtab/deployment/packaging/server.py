"""Starts a service directory as a process of its own on a loopback port, talks to it, and ends it."""

from __future__ import annotations

import ctypes
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from trimtab.adapters.meters import process_usage, tree
from trimtab.core.errors import TargetError
from trimtab.deployment.packaging.environment import own_variables

START_SECONDS = 120.0
STOP_SECONDS = 15.0
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Server:
    """A running service."""

    process: subprocess.Popen[bytes]
    port: int
    log: IO[bytes]

    def logged(self) -> str:
        """The end of what it wrote."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-1500:]

    def cpu_seconds(self) -> float:
        """CPU time of all its living processes so far, finer than the ticks of /proc/PID/stat."""
        return sum(_scheduled(pid) for pid in tree(self.process.pid))

    def resident_bytes(self) -> int:
        """Resident memory of all its processes."""
        return sum(usage.rss_bytes for pid in tree(self.process.pid) if (usage := process_usage(pid)))


@contextmanager
def running(service: Path, python: Path) -> Iterator[Server]:
    """A service for the length of a block. Raises TargetError when it does not become ready."""
    server = start(service, python)
    try:
        yield server
    finally:
        kill(server)


def start(service: Path, python: Path, is_given_up: Callable[[], bool] = lambda: False) -> Server:
    """Start a service and wait until it is ready. Raises TargetError with what it wrote when it is not.

    is_given_up: asked meanwhile; when it says so, the service is ended at once.
    """
    port = _free_port()
    log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the server
    process = subprocess.Popen(
        [str(python), "-B", str(service / "serve.py"), "--host", HOST, "--port", str(port)],
        cwd=service,
        env=own_variables(),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    server = Server(process, port, log)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None and not is_given_up():
        try:
            if ask(port, "GET", "/ready")[0] == 200:
                return server
        except OSError:
            pass
        time.sleep(0.05)
    kill(server)
    raise TargetError(f"the service did not become ready: {server.logged().strip()}", hint=f"see {service}")


def stop(server: Server) -> bool:
    """Ask the service to end; whether it did in time and in good order. It is killed otherwise."""
    server.process.send_signal(signal.SIGTERM)
    try:
        code = server.process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        kill(server)
        return False
    return code in (0, -signal.SIGTERM, 128 + signal.SIGTERM)


def kill(server: Server) -> None:
    """End the service's process group at once."""
    with suppress(ProcessLookupError):
        os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()


def ask(port: int, verb: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body. Raises OSError."""
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        # A body that is refused before it is read breaks the pipe: the answer is there all the same.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(verb, path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from None
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    # Linux: also when this process is killed, no server outlives it.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _scheduled(pid: int) -> float:
    # The kernel's CPU clock of another process: in nanoseconds, and with the time of threads that have ended.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0
