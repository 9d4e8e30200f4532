"""The router that runs and the simulator, on the same requests: is the 99th percentile the same?

python benchmarks/inference/live.py [--seconds 60]

`balance run` before worker processes that serve one request at a time; requests come by chance, at two loads, and need
lognormal times (σ = 1). Each worker measures for how long each request held it. The simulator then gets the requests
as they came with those times (`same`), and others of the same law, drawn from the measured times (`drawn`): the mean of
8 seeds each, ± their standard deviation, which a live run of this length has as well. What the way through client and
router takes is measured with one request at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import uvloop
from asking import Asked, asked
from proxy import free_port, running

from trimtab.adapters.meters import host
from trimtab.deployment.packaging import server
from trimtab.inference.balancing.measure import Fleet, routed, tail
from trimtab.inference.balancing.plan import RoutingPlan
from trimtab.inference.balancing.policies import LEAST_REQUESTS, RANDOM
from trimtab.inference.balancing.requests import NONE, drawn
from trimtab.inference.balancing.simulator import Load

WORKERS = 3
MEAN_SECONDS = 0.01
LOADS = (0.6, 0.85)
POLICIES = {"least requests": LEAST_REQUESTS, "random": RANDOM}
SECONDS, SEEDS = 60.0, 8
SERVICE = """
import argparse, asyncio, json, time

class Worker(asyncio.Protocol):
    turn, free_at = asyncio.Lock(), 0.0
    def connection_made(self, transport):
        self.transport, self.seen, self.tasks = transport, b"", set()
    def data_received(self, data):
        self.seen += data
        head, found, body = self.seen.partition(b"\\r\\n\\r\\n")
        size = int(head.lower().partition(b"\\r\\ncontent-length:")[2].partition(b"\\r\\n")[0] or 0)
        if found and len(body) >= size:
            self.seen = b""
            self.tasks.add(asyncio.get_running_loop().create_task(self.serve(body)))
    async def serve(self, body):
        came, took = time.perf_counter(), 0.0
        if body:
            async with self.turn:
                await asyncio.sleep(float(body))
                ended = time.perf_counter()
                took, Worker.free_at = ended - max(came, Worker.free_at), ended
        text = json.dumps(took).encode()
        self.transport.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\n\\r\\n%s" % (len(text), text))

async def main(host, port):
    await (await asyncio.get_running_loop().create_server(Worker, host, port)).serve_forever()

asks = argparse.ArgumentParser()
asks.add_argument("--host")
asks.add_argument("--port", type=int)
given = asks.parse_args()
asyncio.run(main(given.host, given.port))
"""


@contextlib.contextmanager
def routed_workers(policy: str) -> Iterator[int]:
    """`balance run` before the workers, by its port."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "serve.py").write_text(SERVICE)
        (folder / "route.py").write_text(policy)
        made = [stack.enter_context(server.running(folder, Path(sys.executable))) for _ in range(WORKERS)]
        port = free_port()
        named = [part for one in made for part in ("--backend", f"{server.HOST}:{one.port}")]
        command = [sys.executable, "-m", "trimtab.faces.cli.main", "balance", "run", "--port", str(port), *named]
        stack.enter_context(running([*command, "--route", str(folder / "route.py")], port))
        yield port


def request(seconds: float) -> bytes:
    """A request that needs so long."""
    body = f"{seconds:.6f}".encode()
    return b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def lived(port: int, load: Load) -> Asked:
    """What became of the requests."""
    return uvloop.run(asked(port, load.times, [request(one) for one in load.work], 512))


def services(made: Asked) -> npt.NDArray[np.float64]:
    """What each request took in service, by its worker."""
    return np.array([json.loads(one) for one in made.bodies])


def way_seconds(port: int) -> float:
    """What the way takes beside the service, in the middle."""
    made = lived(port, Load(np.arange(50) * 0.02, np.full(50, 0.001), np.zeros(50), np.full(50, 0.001), NONE, NONE))
    return float(np.median(made.latency - services(made)))


def simulated(made: Asked, way: float, policy: str) -> tuple[list[float], list[float]]:
    """The 99th percentile in seconds by seed: on the same requests, and on drawn ones."""
    took = np.maximum(services(made), 1e-6)
    fleet = Fleet(WORKERS, 1, 1, rtt_seconds=way)
    plan = RoutingPlan(candidates="all", reports="answers", program=policy)
    same = Load(made.came, took, np.zeros(len(took)), np.full(len(took), took.mean()), NONE, NONE)
    rate = len(took) / float(made.came[-1])
    others = [drawn(rate, np.random.default_rng(seed).choice(took, len(took)), seed) for seed in range(SEEDS)]
    return (
        [tail(routed(plan, same, fleet, seed)) for seed in range(SEEDS)],
        [tail(routed(plan, one, fleet, 0)) for one in others],
    )


def row(name: str, share: float, seconds: float) -> str:
    """One policy at one load."""
    rate = share * WORKERS / MEAN_SECONDS
    needs = np.random.default_rng(7).lognormal(-0.5, 1.0, int(rate * seconds)) * MEAN_SECONDS
    with routed_workers(POLICIES[name]) as port:
        way = way_seconds(port)
        made = lived(port, drawn(rate, needs, seed=3))
    live = float(np.quantile(made.latency[len(made.latency) // 10 :], 0.99))
    same, others = simulated(made, way, POLICIES[name])
    late = float(np.quantile(made.lateness, 0.99))
    cells = [
        f"{np.mean(one) * 1000:.0f} ± {np.std(one, ddof=1) * 1000:.0f} | {live / np.mean(one) - 1:+.1%}"
        for one in (same, others)
    ]
    return (
        f"| {name} | {share:.0%} | {len(made.came):,} | {live * 1000:.0f} | {cells[0]} | {cells[1]} "
        f"| {way * 1000:.2f} | {late * 1000:.2f} |"
    )


def main() -> None:
    """Print the table and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args()
    about = host()
    lines = [
        f"{about['cpu']}, {about['cores']} cores, load {about['load']}; {WORKERS} workers, {MEAN_SECONDS * 1000:g} ms "
        "on average, lognormal, one at a time. Method: run, and simulation. `python benchmarks/inference/live.py`",
        "",
        "| policy | load | requests | p99 live, ms | simulated, same requests, ms | live is "
        "| simulated, drawn, ms | live is | way, ms | client late, p99, ms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(row(name, share, given.seconds) for name in POLICIES for share in LOADS),
    ]
    text = "\n".join(lines)
    print(text)
    if given.seconds == SECONDS:
        Path(__file__).with_suffix(".md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
