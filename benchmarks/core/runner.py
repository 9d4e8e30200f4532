"""What running a task in a metered worker costs beyond the task, against concurrent.futures.ProcessPoolExecutor.

python benchmarks/core/runner.py [--tasks 500]
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil

from trimtab.adapters.meters import TreeMeter, host
from trimtab.adapters.runners.local import LocalRunner
from trimtab.core.ports import Limits, Task

LIMITS = Limits(cpu_seconds=10.0, wall_seconds=30.0, memory_bytes=2**31)
EMPTY = "builtins:dict"


def nothing(number: int) -> dict[str, int]:
    return {"number": number}


def ours(runner: LocalRunner) -> Callable[[int], object]:
    return lambda number: next(runner.map([Task(EMPTY, {"number": number}, str(number), LIMITS)]))


def peer(pool: ProcessPoolExecutor) -> Callable[[int], object]:
    return lambda number: pool.submit(nothing, number).result()


def measured(call: Callable[[int], object], tasks: int) -> tuple[float, float]:
    """CPU milliseconds (of parent and worker) and the median wall milliseconds of one task, one after the other."""
    call(0)
    meter = TreeMeter(psutil.Process().pid)
    walls = []
    for number in range(tasks):
        start = time.perf_counter()
        call(number)
        walls.append(time.perf_counter() - start)
    meter.sample()
    return meter.spent().cpu_seconds / tasks * 1000, sorted(walls)[tasks // 2] * 1000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tasks", type=int, default=500)
    given = arguments.parse_args()
    at = host()
    with LocalRunner() as runner:
        cpu, wall = measured(ours(runner), given.tasks)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        peer_cpu, peer_wall = measured(peer(pool), given.tasks)
    lines = [
        "| an empty task | CPU-ms | wall ms (median) | limits, meter, survives its death |",
        "|---|---:|---:|---|",
        f"| trimtab LocalRunner | {cpu:.2f} | {wall:.2f} | yes |",
        f"| ProcessPoolExecutor (spawn) | {peer_cpu:.2f} | {peer_wall:.2f} | no |",
        f"| ratio | {cpu / peer_cpu:.1f} × | {wall / peer_wall:.1f} × | |",
        "",
        "One worker, one task after the other, parent and worker counted together. Method: run.",
        f"Machine: {at['cores']} cores, {at['cpu']}, load {at['load']}.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
