"""What a process tree has of this machine's GPUs, by NVIDIA's management library (extra: trimtab[gpu])."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

DEVICES = "/dev/nvidia"  # and a number
FIRST_NAMESPACE = "pid:[4026531836]"  # the kernel's PROC_PID_INIT_INO


@dataclass(frozen=True, slots=True)
class GpuUse:
    """How many GPUs a tree holds, the mean share of the last moment in which they were busy, its bytes on them.

    busy: None where the driver does not tell, as of parts of a GPU (MIG).
    """

    held: int
    busy: float | None
    memory: int


class Gpus:
    """NVIDIA's GPUs on this machine, for one process tree; none where the library or the driver is missing."""

    def __init__(self) -> None:
        self._devices: list[Any] = []
        self._held: set[int] = set()  # those that the tree was seen to hold, though the driver does not name it
        try:
            import pynvml

            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
            self._devices = [pynvml.nvmlDeviceGetHandleByIndex(at) for at in range(count)]
            self._library: Any = pynvml
        except Exception:  # no library, no driver, no right to it: then there is nothing to look at
            self._devices = []

    def use(self, pids: Collection[int]) -> GpuUse | None:
        """What these processes have of the GPUs now; None where they use none."""
        held, shares, memory = 0, [], 0
        for at, device in enumerate(self._devices):
            busy = self._busy(device)
            with suppress(self._library.NVMLError):
                used = self._used(at, device, pids, busy or 0.0)
                if used is not None:
                    held, memory = held + 1, memory + used
                    shares += [] if busy is None else [busy]
        return GpuUse(held, sum(shares) / len(shares) if shares else None, memory) if held else None

    def _busy(self, device: Any) -> float | None:
        with suppress(self._library.NVMLError):
            return float(self._library.nvmlDeviceGetUtilizationRates(device).gpu) / 100
        return None

    def _used(self, at: int, device: Any, pids: Collection[int], busy: float) -> int | None:
        """Bytes that the processes have on a GPU; None where they do not hold it."""
        running = {
            one.pid: one.usedGpuMemory or 0 for one in self._library.nvmlDeviceGetComputeRunningProcesses(device)
        }
        mine = [bytes_ for pid, bytes_ in running.items() if pid in pids]
        if mine:
            return sum(mine)
        if not in_container():
            return None
        # There the driver names nobody, or by numbers of the host: what is busy, and open here, is taken for ours. Of
        # several GPUs in one container a program may open all, so that all that are busy count.
        if not _opens(pids, f"{DEVICES}{self._library.nvmlDeviceGetMinorNumber(device)}"):
            self._held.discard(at)
        elif busy > 0:
            self._held.add(at)
        if at not in self._held:
            return None
        return int(self._library.nvmlDeviceGetMemoryInfo(device).used)


class GpuMeter:
    """The GPU time that a process tree holds, and its most bytes on GPUs, as far as looks now and then tell."""

    def __init__(self) -> None:
        self.seconds, self.memory, self._at, self._gpus = 0.0, 0, time.monotonic(), Gpus()

    def look(self, pids: Collection[int]) -> GpuUse | None:
        """What the tree has now: it is taken to have had it since the last look."""
        use, before, self._at = self._gpus.use(pids), self._at, time.monotonic()
        if use is not None:
            self.seconds += use.held * (self._at - before)
            self.memory = max(self.memory, use.memory)
        return use


def models() -> tuple[str, ...]:
    """The names of this machine's GPUs, as the driver's files tell them; no library is needed."""
    found = []
    for one in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with suppress(OSError):
            lines = one.read_text(encoding="utf-8", errors="replace").splitlines()
            found += [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")]
    return tuple(found)


def unseen() -> bool:
    """Whether there is a GPU that cannot be looked at, because the library is missing."""
    from importlib.util import find_spec

    return bool(glob(f"{DEVICES}[0-9]*")) and find_spec("pynvml") is None


def in_container() -> bool:
    """Whether this process has numbers of its own for processes."""
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid") != FIRST_NAMESPACE
    return True


def _opens(pids: Collection[int], path: str) -> bool:
    return any(path == link for pid in pids for link in _links(pid))


def _links(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for one in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                yield os.readlink(one)
