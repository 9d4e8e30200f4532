"""The router that runs, beside HAProxy and nginx: requests a second, and the 99th percentile at half of its own most.

python benchmarks/inference/proxy.py [--seconds 6]

Three backends that answer at once, one load generator and one proxy at a time share the machine; each proxy has one
process. HAProxy and nginx are taken where they are installed (Debian: apt-get install haproxy nginx-light).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from trimtab.adapters.meters import host, process_usage, tree

BACKENDS = 3
CONNECTIONS = 32
BODY = b'{"dep_delay": 3, "carrier": "UA", "distance": 1400, "hour": 17}'
REQUEST = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)
ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 18\r\n\r\n{"prediction":0.5}'


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


class Asking(asyncio.Protocol):
    """A client: one request after the other, or (with a pace) at given times, whose waiting counts."""

    def __init__(self, times: list[float], until: float, gap: float) -> None:
        self.times, self.until, self.gap = times, until, gap
        self.seen, self.due = b"", 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.due = time.perf_counter() + (self.gap * (id(self) % 97) / 97 if self.gap else 0.0)
        self._send()

    def _send(self) -> None:
        now = time.perf_counter()
        if now >= self.until:
            self.transport.close()
        elif self.gap and now < self.due:
            asyncio.get_running_loop().call_later(self.due - now, self._send)
        else:
            self.began = self.due if self.gap else now
            self.due += self.gap
            self.transport.write(REQUEST)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.seen += data
        head, found, body = self.seen.partition(b"\r\n\r\n")
        if found and len(body) >= 18:
            assert head.startswith(b"HTTP/1.1 200"), head
            self.seen = b""
            self.times.append(time.perf_counter() - self.began)
            self._send()


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", port)
    await server.serve_forever()


async def _ask(port: int, seconds: float, rate: float) -> tuple[float, float]:
    times: list[float] = []
    began = time.perf_counter()
    gap = CONNECTIONS / rate if rate else 0.0
    loop = asyncio.get_running_loop()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Asking(times, began + seconds, gap), "127.0.0.1", port)
    await asyncio.sleep(seconds + 0.5)
    times.sort()
    return len(times) / seconds, times[int(len(times) * 0.99)] * 1000 if times else float("nan")


def asked(port: int, seconds: float, rate: float = 0.0) -> tuple[float, float]:
    """Requests a second and the 99th percentile in milliseconds, by a generator in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--ask", str(port), str(seconds), str(rate)],
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = done.stdout.split()
    return float(first), float(second)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        time.sleep(1.5)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(pid: int) -> float:
    """CPU time of a proxy and its workers so far."""
    return sum(usage.cpu_seconds for one in tree(pid) if (usage := process_usage(one)))


def proxies(backends: list[int], folder: Path) -> Iterator[tuple[str, list[str], int]]:
    """(name, command, port) of each proxy that is here."""
    port = free_port()
    named = [part for one in backends for part in ("--backend", f"127.0.0.1:{one}")]
    ours = [sys.executable, "-m", "trimtab.faces.cli.main", "balance", "run", "--port", str(port), *named]
    yield "**trimtab balance run**", ours, port
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
        yield "HAProxy, one thread, leastconn", ["haproxy", "-f", str(folder / "haproxy.cfg")], port
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
        yield "nginx, one worker, least_conn", ["nginx", "-c", str(folder / "nginx.conf")], port


def main() -> None:
    """Print the table and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--ask", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        uvloop.run(_serve(given.serve))
    if given.ask:
        port, seconds, rate = given.ask
        print(*uvloop.run(_ask(int(port), float(seconds), float(rate))))
        return
    rows = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        backends = [free_port() for _ in range(BACKENDS)]
        for one in backends:
            stack.enter_context(running([sys.executable, __file__, "--serve", str(one)], one))
        rows.append(("a backend, no proxy", *asked(backends[0], given.seconds), float("nan"), float("nan")))
        most = 0.0
        for name, command, port in proxies(backends, folder):
            with running(command, port) as pid:
                asked(port, 1.0)
                before, runs = cpu_seconds(pid), [asked(port, given.seconds) for _ in range(3)]
                work = (cpu_seconds(pid) - before) / sum(one for one, _ in runs) / given.seconds * 1e6
                rate, tail = max(runs)
                most = most or rate
                half = min(asked(port, given.seconds, most / 2)[1] for _ in range(3))
                rows.append((name, rate, tail, half, work))
    about = host()
    best = max(rate for _, rate, *_ in rows[2:]) if len(rows) > 2 else float("nan")
    lines = [
        f"{about['cpu']}, {about['cores']} cores, load {about['load']}; {CONNECTIONS} connections, POST of "
        f"{len(BODY)} bytes. Method: run, the best of 3. `python benchmarks/inference/proxy.py`",
        "",
        "| proxy | requests/s | of the faster peer | p99 at full load, ms | p99 at half our most, ms "
        "| CPU µs a request |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {name} | {rate:,.0f} | {rate / best:.0%} | {tail:.2f} | {half:.2f} | {work:.0f} |"
            for name, rate, tail, half, work in rows
        ),
    ]
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
