"""What metering a process tree costs, ten times a second, against psutil reading the same figures.

python benchmarks/core/meter.py [--processes 1 5 20] [--rounds 200]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from trimtab.adapters.meters import TreeMeter, host

PER_SECOND = 10
SPIN = "import os, time\nos.nice(10)\nwhile True: time.sleep(0.001)"


def with_psutil(root: int) -> Callable[[], object]:
    """CPU, memory and IO of a tree; psutil knows no run-queue delay, so it reads less than we do."""
    process = psutil.Process(root)

    def look() -> object:
        found = []
        for one in [process, *process.children(recursive=True)]:
            with one.oneshot():
                found.append((one.cpu_times(), one.memory_info(), one.io_counters()))
        return found

    return look


def cpu_ms(look: Callable[[], object], rounds: int) -> float:
    """CPU milliseconds of one look, sampled cold as in service: with a pause before each."""
    spent = 0.0
    for _ in range(rounds):
        time.sleep(0.01)
        start = time.process_time()
        look()
        spent += time.process_time() - start
    return spent / rounds * 1000


def family(count: int) -> subprocess.Popen[bytes]:
    """A process with `count - 1` children, all of them awake."""
    start = f"[subprocess.Popen([sys.executable, '-c', {SPIN!r}]) for _ in range({count - 1})]"
    code = f"import subprocess, sys\nchildren = {start}\n"
    return subprocess.Popen([sys.executable, "-c", code + SPIN])


def row(count: int, rounds: int) -> str:
    root = family(count)
    time.sleep(1)
    meter = TreeMeter(root.pid)
    try:
        ours, theirs = cpu_ms(meter.sample, rounds), cpu_ms(with_psutil(root.pid), max(10, rounds // 10))
    finally:
        for pid in sorted(meter.pids, reverse=True):
            psutil.Process(pid).kill()
        root.wait()
    share = ours * PER_SECOND / 1000
    return f"| {len(meter.pids)} | {ours:.3f} | {share:.2%} | {theirs:.3f} | {theirs / ours:.1f} × |"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--processes", type=int, nargs="+", default=[1, 5, 20])
    arguments.add_argument("--rounds", type=int, default=200)
    given = arguments.parse_args()
    at = host()
    lines = [
        "| processes | CPU-ms a look | share of a core at 10 Hz | psutil, CPU-ms | psutil / ours |",
        "|---:|---:|---:|---:|---:|",
        *(row(count, given.rounds) for count in given.processes),
        "",
        "Ours reads CPU, memory, IO and the run-queue delay of each thread; psutil the first three. Method: run.",
        f"Machine: {at['cores']} cores, {at['cpu']}, load {at['load']}.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
