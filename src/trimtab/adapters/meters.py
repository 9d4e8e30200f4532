"""Reads what processes spend, straight from /proc: CPU, peak memory, IO and the delay in the run queue of a whole tree.

Without the run-queue delay, a job that waits for a core looks idle, and the wrong cure is prescribed.
"""

from __future__ import annotations

import os
import platform
import resource
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trimtab.adapters.gpus import models
from trimtab.core.errors import OutsideError
from trimtab.core.model import Json, Spend

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_BYTES = 4096  # more than any file read here holds, but io and status, which fit too


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process has used since it was started. CPU and IO include the children that it has waited for.

    `run_delays` is the wait in the run queue by thread, in seconds: it ends with its thread and no parent inherits it.
    """

    pid: int
    cpu_seconds: float
    rss_bytes: int
    read_bytes: int
    written_bytes: int
    run_delays: Mapping[int, float]


def process_usage(pid: int) -> Usage | None:
    """One process's use, or None when it is gone. CPU seconds come in ticks of 10 ms."""
    stat = _read(f"/proc/{pid}/stat")
    if not stat:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    cpu = sum(map(int, fields[11:15])) / _TICKS  # user, system, and both of waited-for children
    counts = _io(pid)
    return Usage(pid, cpu, int(fields[21]) * _PAGE, *counts, _run_delays(pid))


def highest_resident(pid: int) -> int:
    """The most memory that a process ever had, in bytes; 0 when it is gone."""
    for line in _lines(f"/proc/{pid}/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def waited_peak(usage: resource.struct_rusage) -> int:
    """A waited-for child's peak in bytes. A child starts as a copy of us: up to our own size the kernel's peak is ours,
    and 0 is returned."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage.ru_maxrss * 1024 if usage.ru_maxrss > own else 0


def tree(root: int) -> tuple[int, ...]:
    """A process and all its living descendants."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += _children(pid)
    return tuple(found)


def host() -> Mapping[str, Json]:
    """What the numbers were measured on: a speed-up need not transfer to another machine."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    memory = next((int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    gpus = models()
    return {
        **({"gpus": ", ".join(gpus)} if gpus else {}),
        "cpu": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def cpu_pressure() -> float | None:
    """Share of the last ten seconds in which some task waited for a core (PSI); None where the kernel has none."""
    for line in _lines("/proc/pressure/cpu"):
        if line.startswith("some"):
            return float(line.split("avg10=")[1].split()[0]) / 100
    return None


class TreeMeter:
    """Follows a process tree: call `sample` now and then, or let a `Sampler` do it; `spent` is the use since the start.

    A child that ends and is waited for is counted by its parent's own figures; what was counted once stays counted,
    also when a child ends that nobody waits for. A descendant that is orphaned is followed for as long as it lives.
    """

    def __init__(self, root: int) -> None:
        if not os.path.exists("/proc/self/stat"):
            raise OutsideError("this system has no /proc", hint="trimtab measures processes on Linux")
        self.root = root
        self.pids: frozenset[int] = frozenset()
        self._started = time.perf_counter()
        self._delays: dict[int, float] = {}
        self._peak = self._resident = 0
        self._most = self._base = (0.0, 0, 0)
        self.sample()
        self._base, self._delays_before = self._most, sum(self._delays.values())

    def sample(self) -> int:
        """Look at the tree once; returns its resident memory in bytes."""
        usages = [usage for pid in self.pids.union(tree(self.root)) if (usage := process_usage(pid)) is not None]
        self.pids = frozenset(one.pid for one in usages)
        self._resident = sum(one.rss_bytes for one in usages)
        self._peak = max(self._peak, self._resident)
        cpu = max(self._most[0], sum(one.cpu_seconds for one in usages))
        read = max(self._most[1], sum(one.read_bytes for one in usages))
        self._most = (cpu, read, max(self._most[2], sum(one.written_bytes for one in usages)))
        for one in usages:
            self._delays.update(one.run_delays)
        return self._resident

    def spent(self) -> Spend:
        """The tree's use from the start to the last sample."""
        cpu, read, written = (now - before for now, before in zip(self._most, self._base, strict=True))
        return Spend(
            cpu_seconds=cpu,
            wall_seconds=time.perf_counter() - self._started,
            peak_rss_bytes=self._peak,
            read_bytes=int(read),
            written_bytes=int(written),
            run_delay_seconds=max(0.0, sum(self._delays.values()) - self._delays_before),
        )


class Sampler:
    """Samples a tree in the background, ten times a second, until it is stopped."""

    def __init__(self, root: int, *, per_second: float = 10.0) -> None:
        self.meter = TreeMeter(root)
        self._pause, self._stop = 1 / per_second, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="trimtab-sampler")
        self._thread.start()

    def stop(self) -> Spend:
        """End the sampling; returns what was spent."""
        self._stop.set()
        self._thread.join()
        self.meter.sample()
        return self.meter.spent()

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            self.meter.sample()


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        found += [int(child) for child in _read(f"/proc/{pid}/task/{thread}/children").split()]
    return found


def _io(pid: int) -> tuple[int, int]:
    counts = dict(line.split(b": ") for line in _read(f"/proc/{pid}/io").splitlines() if b": " in line)
    return int(counts.get(b"read_bytes", 0)), int(counts.get(b"write_bytes", 0))


def _run_delays(pid: int) -> dict[int, float]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return {}
    waits = ((int(thread), _read(f"/proc/{pid}/task/{thread}/schedstat").split()) for thread in threads)
    return {thread: int(wait[1]) / 1e9 for thread, wait in waits if len(wait) == 3}


def _read(path: str) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(file, _BYTES)
    except OSError:
        return b""
    finally:
        os.close(file)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
