"""How fast the simulators are, one core, warm, in CPU time; and how long and how much memory `schedule` takes.

python benchmarks/cluster/simulators.py [--jobs N ...]

Each simulator replays synthetic work until it has taken a second. `--jobs` runs the verb on logs of so many jobs, one
after the other; the highest memory is that of the largest process so far: give sizes in rising order.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trimtab.adapters.meters import host
from trimtab.adapters.programs import compile_program
from trimtab.cluster.packing import policies as packing
from trimtab.cluster.packing.problem import CAPABILITY as PACK
from trimtab.cluster.packing.problem import drawn
from trimtab.cluster.packing.simulator import FIT, filled
from trimtab.cluster.scaling.measure import History, replayed
from trimtab.cluster.scaling.plan import PEERS as SCALERS
from trimtab.cluster.scaling.requests import waits
from trimtab.cluster.scaling.simulator import Service
from trimtab.cluster.scheduling import measure as scheduling
from trimtab.cluster.scheduling.cluster import Cluster, Group
from trimtab.cluster.scheduling.plan import CLASSICAL
from trimtab.inference.balancing.measure import Fleet, routed
from trimtab.inference.balancing.plan import PEERS as ROUTERS
from trimtab.inference.balancing.simulator import Load

SECONDS = 1.0  # of CPU time for each figure, at least
GPUS = 400
CLUSTER = f'[[nodes]]\nname = "pool"\ncount = 1\ngpus = {GPUS}\n\n[scheduler]\ncurrent = "easy"\npreemption = true\n'


def main() -> None:
    """Print the tables and write them beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="*", default=[100_000], help="sizes of logs for `trimtab schedule`")
    given = parser.parse_args()
    facts = host()
    lines = [f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}; one core, warm, CPU time.", ""]
    lines += ["| simulator | unit | million a second |", "|---|---|---:|"]
    with tempfile.TemporaryDirectory() as folder:
        for name, unit, work in [*routers(), *schedulers(Path(folder)), *others(Path(folder))]:
            lines.append(f"| {name} | {unit} | {rate(work) / 1e6:.2f} |")
        lines += ["", "| trimtab schedule | wall seconds | CPU seconds | highest memory |", "|---|---:|---:|---:|"]
        lines += [verb(Path(folder), count) for count in given.jobs]
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text + "\n", encoding="utf-8")


def rate(work: Callable[[], float]) -> float:
    """Units a second of CPU time; `work` says how many it did. The first call, which compiles, does not count."""
    work()
    done, start = 0.0, time.process_time()
    while time.process_time() - start < SECONDS:
        done += work()
    return done / (time.process_time() - start)


def routers() -> list[tuple[str, str, Callable[[], float]]]:
    """16 routers, 32 backends at 85 %, exponential work."""
    rng, count, fleet = np.random.default_rng(0), 1_000_000, Fleet(32, 16, 1)
    none = np.zeros(0, np.int64)
    times, work = np.cumsum(rng.exponential(1 / (0.85 * 32), count)), rng.exponential(1.0, count)
    load = Load(times, work, np.zeros(count), work, none, none)
    return [
        (
            f"balance, {name}",
            "routed requests",
            lambda name=name: float(len(routed(ROUTERS[name], load, fleet, 0).backend)),
        )
        for name in ("random", "p2c")
    ]


def schedulers(folder: Path) -> list[tuple[str, str, Callable[[], float]]]:
    """100,000 jobs at 70 % of a pool: arrivals, ends and preemptions count."""
    source = str(job_log(folder, 100_000))
    history = scheduling.History(source, Cluster((Group("pool", 1, GPUS),), current="easy", preemption=True))
    return [
        (f"schedule, {name}", "job events", lambda name=name: float(
            scheduling.replayed(history, CLASSICAL[name], "holdout").events
        ))
        for name in ("fifo", "skip-fifo", "srsf", "las")
    ]  # fmt: skip


def others(folder: Path) -> list[tuple[str, str, Callable[[], float]]]:
    """Replicas in steps of 5 s, single requests through one queue, pods on nodes."""
    history, service = History(50 * (1.3 + np.sin(np.arange(14 * 1440) / 229))), Service(0.05, 0.2)
    rng = np.random.default_rng(0)
    arrivals, works = np.cumsum(rng.exponential(1.0, 1_000_000)), rng.exponential(7.0, 1_000_000)
    fleet = PACK.sample(folder, 0).fleet
    pods, policy = drawn(fleet, "all", 0), compile_program(packing.FGD, FIT)
    return [
        ("scale, hpa-70", "steps of 5 s", lambda: 12.0 * len(
            replayed(SCALERS["hpa-70"], history, slice(0, 14 * 1440), service).replicas
        )),
        ("scale, one queue", "requests", lambda: float(len(waits(arrivals, works, 8)))),
        ("pack, fgd, 12 nodes", "pods", lambda: float(len(
            filled(fleet.sizes, fleet.kinds, pods, fleet.mix(fleet.codes), policy, True)
        ))),
    ]  # fmt: skip


def job_log(folder: Path, count: int) -> Path:
    """Jobs of two kinds of tenants, lognormal durations, at 70 % of the pool."""
    to = folder / f"jobs-{count}.csv"
    if to.exists():
        return to
    rng = np.random.default_rng(0)
    gpus = rng.choice([1, 2, 4, 8], count, p=[0.7, 0.1, 0.1, 0.1])
    tenants = rng.integers(0, 10, count)
    seconds = np.maximum(1.0, rng.lognormal(6.0 + 0.2 * tenants, 1.5)).round()
    span = float((gpus * seconds).sum()) / GPUS / 0.7
    submit = np.sort(rng.uniform(0, span, count)).round()
    lines = [f"{a:.0f},{b:.0f},{c},t{d}" for a, b, c, d in zip(submit, seconds, gpus, tenants, strict=True)]
    to.write_text("submit_s,duration_s,num_gpus,tenant\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return to


def verb(folder: Path, count: int) -> str:
    """A row: the verb on a log of so many jobs."""
    jobs, cluster = job_log(folder, count), folder / "cluster.toml"
    cluster.write_text(CLUSTER, encoding="utf-8")
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [
        str(Path(sys.executable).with_name("trimtab")),
        "schedule",
        str(jobs),
        "--cluster",
        str(cluster),
        "--json",
    ]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"| {count:,} jobs | {time.perf_counter() - start:.0f} | {cpu:.0f} | {after.ru_maxrss / 2**20:.2f} GiB |"


if __name__ == "__main__":
    main()
