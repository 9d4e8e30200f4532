"""Looks at a running process tree, a few a second, straight from /proc; a window of them as signals.

A look costs some 30 µs a thread, so the pause between two is stretched where a tree has very many threads: looking is
to cost less than half a hundredth of a core.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from trimtab.adapters.cgroups import Allowance, Groups
from trimtab.adapters.gpus import GpuMeter, GpuUse
from trimtab.adapters.meters import tree

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
MOST_COST = 0.004  # of a core, for looking
FIRST_PAUSE, LEAST_PAUSE = 0.05, 0.25  # seconds
WINDOW_SECONDS = 10.0
KEPT = 64  # looks
GOLDEN = 0.6180339887498949  # of a turn, each time: never the same twice, and evenly spread


@dataclass(frozen=True, slots=True)
class Look:
    """One look: counts since the start of what is looked at, and states now.

    cpu: seconds by thread, so that what ended stays counted; delays: seconds in the run queue by thread; moments are
    those of time.monotonic().
    """

    at: float
    cpu: float
    delay: float
    threads: int
    runs: int  # threads that run or wait for a core
    blocked: int  # threads that wait for a disk
    main_runs: bool
    main_blocked: bool
    children_run: int
    resident: int
    read: int
    written: int
    faults: int  # pages that had to be read from a disk
    by_thread: Mapping[int, float]  # CPU seconds
    others: float  # CPU seconds that others used on the cores allowed, stolen time included
    allowance: Allowance
    gpu: GpuUse | None = None


@dataclass(frozen=True, slots=True)
class Signals:
    """A window of looks as shares of its time, or a second: what labels are made of.

    cores: how many may be used; running, waiting: threads on a core, and waiting for one; others: cores that others
    used; top: the busiest thread's share of a core; idle: share of looks in which nothing ran, nor waited for a core or
    a disk; blocked: in which nothing ran, and something waited for a disk; main_idle: in which the first process did
    nothing while its children ran.
    """

    seconds: float
    cores: float
    running: float
    waiting: float
    others: float
    top: float
    idle: float
    blocked: float
    main_idle: float
    main_busy: float
    throttled: float
    resident: int
    memory_limit: int | None
    memory_used: float  # share of the limit
    memory_hits: float
    faults: float
    read: float
    written: float
    bursts: float  # share of the seconds with writes in which most was written
    threads: int
    gpu: float | None = None  # share of the time in which its GPUs were busy
    gpu_memory: int = 0


@dataclass(slots=True)
class Watched:
    """A process tree that is looked at."""

    root: int
    looks: deque[Look] = field(default_factory=lambda: deque(maxlen=KEPT))
    pause: float = FIRST_PAUSE
    cost: float = 0.0  # CPU seconds that looking took, and what is made of looks, if it is added
    gpus: GpuMeter = field(default_factory=GpuMeter)
    _threads: dict[int, tuple[float, float]] = field(default_factory=dict)  # CPU and delay, by thread
    _io: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    _pace: float = LEAST_PAUSE
    _paced: float = 0.0  # of the cost: what the pace accounts for
    _turn: float = 0.0
    _groups: Groups | None = None
    _cores: tuple[int, ...] = ()
    _ended: tuple[float, float] = (0.0, 0.0)  # CPU and delay of threads that are gone
    _read: int = 0  # and what processes did that are gone
    _written: int = 0
    _faults: int = 0

    def look(self) -> Look | None:
        """Look once; None when the tree is gone."""
        began = time.thread_time()
        if self._groups is None:
            self._groups = Groups(self.root)
        made = self._looked()
        self.cost += time.thread_time() - began
        spent, self._paced = self.cost - self._paced, self.cost
        self._pace = max(LEAST_PAUSE, min(5.0, 0.8 * self._pace + 0.2 * spent / MOST_COST))
        # Never evenly: looks in step with a loop's own rhythm would see one part of it only.
        self._turn = (self._turn + GOLDEN) % 1.0
        self.pause = self._pace * (0.6 + 0.8 * self._turn)
        if made is not None:
            self.looks.append(made)
        return made

    def signals(self, seconds: float = WINDOW_SECONDS) -> Signals | None:
        """What the last looks say; None before there are enough."""
        if len(self.looks) < 4:
            return None
        last = self.looks[-1]
        window = [one for one in self.looks if one.at >= last.at - seconds]
        if len(window) < 4:
            return None
        return _signals(window, len(self._cores))

    def _looked(self) -> Look | None:
        states: list[tuple[int, bytes]] = []
        resident = 0
        before, self._threads = self._threads, {}
        io, self._io = self._io, {}
        pids = tree(self.root)
        for pid in pids:
            states += [(pid, state) for state in self._states(pid)]
            resident += _resident(pid)
            self._io[pid] = _counts(pid)
        self._bury(before, io)
        main = [state for pid, state in states if pid == self.root]
        if not main or self._groups is None:
            return None
        self._cores = tuple(sorted(os.sched_getaffinity(self.root)))
        by_thread = {thread: one[0] for thread, one in self._threads.items()}
        total = self._ended[0] + sum(by_thread.values())
        return Look(
            at=time.monotonic(),
            cpu=total,
            delay=self._ended[1] + sum(one[1] for one in self._threads.values()),
            threads=len(states),
            runs=sum(state == b"R" for _, state in states),
            blocked=sum(state == b"D" for _, state in states),
            main_runs=b"R" in main,
            main_blocked=b"D" in main,
            children_run=sum(state == b"R" for pid, state in states if pid != self.root),
            resident=resident,
            read=self._read + sum(one[0] for one in self._io.values()),
            written=self._written + sum(one[1] for one in self._io.values()),
            faults=self._faults + sum(one[2] for one in self._io.values()),
            by_thread=by_thread,
            others=_busy(self._cores) - total,
            allowance=self._groups.read(),
            gpu=self.gpus.look(pids),
        )

    def _bury(self, threads: Mapping[int, tuple[float, float]], io: Mapping[int, tuple[int, int, int]]) -> None:
        """What is gone since the last look, or has given its number to another, stays counted."""
        for thread, (cpu, delay) in threads.items():
            now = self._threads.get(thread)
            if now is None or now[0] < cpu:
                self._ended = self._ended[0] + cpu, self._ended[1] + delay
        for pid, (read, written, faults) in io.items():
            still = self._io.get(pid)
            if still is None or still[0] < read or still[2] < faults:
                self._read, self._written, self._faults = (
                    self._read + read,
                    self._written + written,
                    self._faults + faults,
                )

    def _states(self, pid: int) -> list[bytes]:
        """The states of a process's threads; notes what they have used."""
        found = []
        for name in _listed(f"/proc/{pid}/task"):
            stat = _stat(f"/proc/{pid}/task/{name}/stat")
            if stat is None:
                continue
            found.append(stat[0])
            waits = _read(f"/proc/{pid}/task/{name}/schedstat").split()
            now = (int(stat[11]) + int(stat[12])) / TICKS, int(waits[1]) / 1e9 if len(waits) == 3 else 0.0
            self._threads[int(name)] = now
        return found


def _signals(window: Sequence[Look], affinity: int) -> Signals:
    first, last = window[0], window[-1]
    wall = max(1e-6, last.at - first.at)
    count = len(window)
    quota = last.allowance.cores
    limit = last.allowance.memory_bytes
    written = [max(0, after.written - before.written) for before, after in pairwise(window)]
    return Signals(
        seconds=wall,
        cores=float(affinity) if quota is None else min(float(affinity), quota),
        running=(last.cpu - first.cpu) / wall,
        waiting=(last.delay - first.delay) / wall,
        others=max(0.0, (last.others - first.others) / wall),
        top=max((now - first.by_thread.get(one, 0.0) for one, now in last.by_thread.items()), default=0.0) / wall,
        idle=sum(one.runs == 0 and one.blocked == 0 for one in window) / count,
        blocked=sum(one.runs == 0 and one.blocked > 0 for one in window) / count,
        main_idle=sum(not one.main_runs and not one.main_blocked and one.children_run > 0 for one in window) / count,
        main_busy=sum(one.main_runs for one in window) / count,
        throttled=(last.allowance.throttled_seconds - first.allowance.throttled_seconds) / wall,
        resident=last.resident,
        memory_limit=limit,
        memory_used=last.allowance.memory_used / limit if limit else 0.0,
        memory_hits=(last.allowance.memory_hits - first.allowance.memory_hits) / wall,
        faults=(last.faults - first.faults) / wall,
        read=(last.read - first.read) / wall,
        written=(last.written - first.written) / wall,
        bursts=_bursts(written),
        threads=last.threads,
        gpu=_mean([one.gpu.busy for one in window if one.gpu is not None and one.gpu.busy is not None]),
        gpu_memory=last.gpu.memory if last.gpu is not None else 0,
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _bursts(written: Sequence[int]) -> float:
    """Share of the looks that hold nine tenths of what was written: small where writes come in bursts."""
    total = sum(written)
    if total <= 0:
        return 1.0
    held = 0
    for place, one in enumerate(sorted(written, reverse=True), 1):
        held += one
        if held >= 0.9 * total:
            return place / len(written)
    return 1.0


def _busy(cores: Sequence[int]) -> float:
    """CPU seconds that these cores were busy or stolen since the machine started."""
    wanted = {f"cpu{one}".encode() for one in cores}
    total = 0.0
    for line in _read("/proc/stat", 65_536).splitlines():
        words = line.split()
        if not words or not words[0].startswith(b"cpu"):
            break
        if words[0] in wanted:
            user, nice, system, _, _, interrupts, soft, stolen = map(int, words[1:9])
            total += (user + nice + system + interrupts + soft + stolen) / TICKS
    return total


def _stat(path: str) -> list[bytes] | None:
    """The fields of a stat file from the state on, or None when it is gone."""
    text = _read(path)
    return text[text.rindex(b")") + 2 :].split() if text else None


def _resident(pid: int) -> int:
    words = _read(f"/proc/{pid}/statm").split()
    return int(words[1]) * PAGE if len(words) > 1 else 0


def _counts(pid: int) -> tuple[int, int, int]:
    """Bytes read from disks and written to them, and major faults, of a process."""
    counts = dict(line.split(b": ") for line in _read(f"/proc/{pid}/io").splitlines() if b": " in line)
    stat = _stat(f"/proc/{pid}/stat")
    faults = int(stat[9]) if stat is not None else 0
    return int(counts.get(b"read_bytes", 0)), int(counts.get(b"write_bytes", 0)), faults


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _read(path: str, size: int = 4096) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(file, size)
    except OSError:
        return b""
    finally:
        os.close(file)
