"""Reads what processes spend, straight from /proc: CPU, peak memory, IO and the delay in the run queue of a whole tree.

Without the run-queue delay, a job that waits for a core looks idle, and the wrong cure is prescribed.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trimtab.core.errors import OutsideError
from trimtab.core.model import Json, Spend

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_BYTES = 4096  # more than any file read here holds, but io and status, which fit too


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process has used since it was started. `cpu_seconds` includes the children that it has waited for."""

    pid: int
    cpu_seconds: float
    rss_bytes: int
    read_bytes: int
    written_bytes: int
    run_delay_seconds: float


def process_usage(pid: int) -> Usage | None:
    """One process's use, or None when it is gone."""
    stat = _read(f"/proc/{pid}/stat")
    if not stat:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    cpu = sum(int(value) for value in fields[11:15]) / _TICKS  # user, system, and both of waited-for children
    counts = _io(pid)
    return Usage(pid, cpu, int(fields[21]) * _PAGE, *counts, _run_delay(pid))


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
    return {
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


@dataclass
class TreeMeter:
    """Follows a process tree: call `sample` now and then, or let `watched` do it; `spent` is the use since the start.

    A child that ends between two samples and was waited for is counted by its parent's own figures.
    """

    root: int
    _first: dict[int, Usage] = field(default_factory=dict)
    _last: dict[int, Usage] = field(default_factory=dict)
    _peak: int = 0
    _started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        if not Path("/proc/self/stat").exists():
            raise OutsideError("this system has no /proc", hint="trimtab measures processes on Linux")
        first = process_usage(self.root)
        if first is not None:
            self._first[self.root] = first
        self.sample()

    def sample(self) -> int:
        """Look at the tree once; returns its resident memory in bytes."""
        resident = 0
        for pid in tree(self.root):
            usage = process_usage(pid)
            if usage is not None:
                self._last[pid] = usage
                resident += usage.rss_bytes
        self._peak = max(self._peak, resident)
        return resident

    def spent(self) -> Spend:
        """The tree's use from the start to the last sample."""
        living = {pid: one for pid, one in self._last.items() if pid == self.root or Path(f"/proc/{pid}").exists()}
        base = list(self._first.values())
        return Spend(
            cpu_seconds=_total(living.values(), base, "cpu_seconds"),
            wall_seconds=time.perf_counter() - self._started,
            peak_rss_bytes=self._peak,
            read_bytes=int(_total(self._last.values(), base, "read_bytes")),
            written_bytes=int(_total(self._last.values(), base, "written_bytes")),
            run_delay_seconds=_total(self._last.values(), base, "run_delay_seconds"),
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


def _total(usages: Iterable[Usage], base: Iterable[Usage], name: str) -> float:
    spent: float = sum(getattr(one, name) for one in usages) - sum(getattr(one, name) for one in base)
    return max(0.0, spent)


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


def _run_delay(pid: int) -> float:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return 0.0
    waits = (_read(f"/proc/{pid}/task/{thread}/schedstat").split() for thread in threads)
    return sum(int(wait[1]) for wait in waits if len(wait) == 3) / 1e9


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
