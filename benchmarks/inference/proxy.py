"""The router that runs, beside HAProxy and nginx: requests a second, and the 99th percentile at half of our own most.

python benchmarks/inference/proxy.py [--seconds 6]

Three backends that answer at once, one load generator and one proxy at a time share the machine; each proxy has one
process. The most is found by wrk with 32 connections, which ask again as soon as they are answered; half of our most
comes from an open-loop client, whatever is answered when, at the same rate for all. The proxies take turns, in three
rounds; the best round counts. On a busy host every proxy's tail is the host's: the last column says for which share of
the time it could have run and had no core. Debian: apt-get install haproxy nginx-light wrk
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop
from asking import asked

from trimtab.adapters.meters import host, process_usage, tree

OURS = "**trimtab balance run**"
PEERS = ("HAProxy, one thread, leastconn", "nginx, one worker, least_conn")
SECONDS, ROUNDS = 6, 3
BACKENDS = 3
CONNECTIONS = 32
BODY = b'{"dep_delay": 3, "carrier": "UA", "distance": 1400, "hour": 17}'
REQUEST = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)
ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 18\r\n\r\n{"prediction":0.5}'


@dataclass(frozen=True)
class Most:
    """What a proxy did at the most."""

    rate: float
    p99_ms: float
    cpu_us: float  # of the proxy, a request


class Answering(asyncio.Protocol):
    """A backend that answers whatever it is sent, at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.seen = transport, b""

    def data_received(self, data: bytes) -> None:
        self.seen += data
        while b"\r\n\r\n" in self.seen:
            head, _, rest = self.seen.partition(b"\r\n\r\n")
            lowered = head.lower()
            start = lowered.find(b"content-length:")
            size = int(lowered[start + 15 :].split(b"\r\n")[0]) if start >= 0 else 0
            if len(rest) < size:
                return
            self.seen = rest[size:]
            self.transport.write(ANSWER)  # type: ignore[attr-defined]


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", port)
    await server.serve_forever()


async def _ask(port: int, seconds: float, rate: float) -> dict[str, float]:
    made = await asked(port, np.arange(int(seconds * rate)) / rate, [REQUEST])
    of = {"p99": made.latency, "p50": made.latency, "late": made.lateness}
    shares = {"p99": 0.99, "p50": 0.5, "late": 0.99}
    return {name: float(np.quantile(values, shares[name])) * 1000 for name, values in of.items()}


def at_rate(port: int, seconds: float, rate: float) -> dict[str, float]:
    """Milliseconds (`p50`, `p99`, `late`: of the client itself, p99) by an open-loop client in a process of its own."""
    command = [sys.executable, __file__, "--ask", str(port), str(seconds), str(rate)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name: float(value) for name, value in json.loads(done.stdout).items()}


def at_most(port: int, seconds: int, folder: Path) -> tuple[float, float]:
    """Requests a second, and the 99th percentile in milliseconds, by wrk."""
    script = folder / "post.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = '{BODY.decode()}'\nwrk.headers['content-type'] = 'application/json'\n"
        "done = function(summary, latency)\n"
        "  local failed = summary.errors.status + summary.errors.read + summary.errors.timeout\n"
        "  io.write(string.format('\\n%d %d %d %d', summary.requests, summary.duration, latency:percentile(99),\n"
        "    failed))\n"
        "end\n"
    )
    command = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        "-s",
        str(script),
        f"http://127.0.0.1:{port}/predict",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    requests, micros, tail, failed = map(int, done.stdout.splitlines()[-1].split())
    assert not failed, done.stdout
    return requests / micros * 1e6, tail / 1000


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} does not listen on {port}")
            time.sleep(0.05)
        time.sleep(1.5)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(pid: int) -> float:
    """CPU time of a proxy and its workers so far."""
    return sum(usage.cpu_seconds for one in tree(pid) if (usage := process_usage(one)))


def waited_seconds(pid: int) -> float:
    """How long a proxy and its workers could have run and had no core so far."""
    return sum(int(Path(f"/proc/{one}/schedstat").read_text().split()[1]) for one in tree(pid)) / 1e9


def proxies(backends: list[int], folder: Path) -> Iterator[tuple[str, list[str], int]]:
    """(name, command, port) of each proxy that is here."""
    port = free_port()
    named = [part for one in backends for part in ("--backend", f"127.0.0.1:{one}")]
    ours = [sys.executable, "-m", "trimtab.faces.cli.main", "balance", "run", "--port", str(port), *named]
    yield OURS, ours, port
    if shutil.which("haproxy"):
        port = free_port()
        servers = "\n".join(f"  server s{place} 127.0.0.1:{one}" for place, one in enumerate(backends))
        text = (
            "global\n  nbthread 1\ndefaults\n  mode http\n  timeout client 10s\n"
            "  timeout server 10s\n  timeout connect 2s\n"
            f"frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\nbackend b\n  balance leastconn\n"
            f"  http-reuse always\n{servers}\n"
        )
        (folder / "haproxy.cfg").write_text(text)
        yield PEERS[0], ["haproxy", "-f", str(folder / "haproxy.cfg")], port
    if shutil.which("nginx"):
        port = free_port()
        servers = " ".join(f"server 127.0.0.1:{one};" for one in backends)
        text = (
            f"worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log /dev/null;\n"
            "events { worker_connections 1024; }\n"
            f"http {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};\n"
            f"upstream b {{ least_conn; {servers} keepalive 64; }}\n"
            f"server {{ listen 127.0.0.1:{port}; keepalive_requests 100000000; location / {{ proxy_pass http://b;"
            ' proxy_http_version 1.1; proxy_set_header Connection ""; } } }\n'
        )
        (folder / "nginx.conf").write_text(text)
        yield PEERS[1], ["nginx", "-c", str(folder / "nginx.conf")], port


def measured(name: str, running_: tuple[int, int], seconds: int, folder: Path) -> Most:
    """One round at the most."""
    port, pid = running_
    before = cpu_seconds(pid) if pid else 0.0
    rate, tail = at_most(port, seconds, folder)
    work = (cpu_seconds(pid) - before) / rate / seconds * 1e6 if pid else float("nan")
    return Most(rate, tail, work)


def rounds(seconds: int) -> tuple[dict[str, list[Most]], dict[str, list[dict[str, float]]], float]:
    """All rounds at the most, then all at half of our most: by proxy; and that rate."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        backends = [free_port() for _ in range(BACKENDS)]
        for one in backends:
            stack.enter_context(running([sys.executable, __file__, "--serve", str(one)], one))
        where = {"a backend, no proxy": (backends[0], 0)}
        for name, command, port in proxies(backends, folder):
            where[name] = (port, stack.enter_context(running(command, port)))
        for port, _ in where.values():
            at_most(port, 1, folder)
        most: dict[str, list[Most]] = {name: [] for name in where}
        half: dict[str, list[dict[str, float]]] = {name: [] for name in where}
        for _ in range(ROUNDS):
            for name, found in where.items():
                most[name].append(measured(name, found, seconds, folder))
        rate = max(one.rate for one in most[OURS]) / 2
        for _ in range(ROUNDS):
            for name, (port, pid) in where.items():
                before, began = waited_seconds(pid) if pid else 0.0, time.monotonic()
                made = at_rate(port, seconds, rate)
                waited = (waited_seconds(pid) - before) / (time.monotonic() - began) if pid else float("nan")
                half[name].append({**made, "waited": waited})
    return most, half, rate


def table(seconds: int) -> list[str]:
    """The lines of the table."""
    most, half, rate = rounds(seconds)
    peers = [max(one.rate for one in found) for name, found in most.items() if name in PEERS]
    about = host()
    lines = [
        f"{about['cpu']}, {about['cores']} cores, load {about['load']}; POST of {len(BODY)} bytes, one process a "
        f"proxy. Method: run, {ROUNDS} rounds in turns of {seconds} s, the best. The most: wrk, {CONNECTIONS} "
        f"connections; half of our most: {rate:,.0f} requests/s for all, open loop, whose own lateness is told apart. "
        "`python benchmarks/inference/proxy.py`",
        "",
        "| proxy | requests/s | of the faster peer | p99 at the most, ms | CPU µs a request "
        f"| p50 at {rate:,.0f}/s, ms | p99, ms | client late, p99, ms | waited for a core |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in most.items():
        best, calm = max(found, key=lambda one: one.rate), min(half[name], key=lambda one: one["p99"])
        share = best.rate / max(peers) if peers else float("nan")
        work = min(one.cpu_us for one in found)
        lines.append(
            f"| {name} | {best.rate:,.0f} | {share:.0%} | {best.p99_ms:.2f} | {work:.0f} "
            f"| {calm['p50']:.2f} | {calm['p99']:.2f} | {calm['late']:.2f} "
            f"| {calm['waited']:.0%} |"
        )
    return lines


def main() -> None:
    """Print the table and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--ask", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        uvloop.run(_serve(given.serve))
    if given.ask:
        port, seconds, rate = given.ask
        print(json.dumps(uvloop.run(_ask(int(port), float(seconds), float(rate)))))
        return
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not there: apt-get install wrk haproxy nginx-light")
    text = "\n".join(table(given.seconds))
    print(text)
    if given.seconds == SECONDS:
        Path(__file__).with_suffix(".md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
