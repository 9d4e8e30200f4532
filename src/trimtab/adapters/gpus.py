"""What a process tree has of this machine's GPUs, by NVIDIA's management library (extra: trimtab[gpu])."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEVICES = "/dev/nvidia"  # and a number


@dataclass(frozen=True, slots=True)
class GpuUse:
    """How many GPUs a tree holds, the mean share of the last moment in which they were busy, its bytes on them."""

    held: int
    busy: float
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
        shares, memory = [], 0
        for at, device in enumerate(self._devices):
            with suppress(self._library.NVMLError):
                busy = self._library.nvmlDeviceGetUtilizationRates(device).gpu / 100
                used = self._used(at, device, pids, busy)
                if used is not None:
                    shares.append(busy)
                    memory += used
        return GpuUse(len(shares), sum(shares) / len(shares), memory) if shares else None

    def _used(self, at: int, device: Any, pids: Collection[int], busy: float) -> int | None:
        """Bytes that the processes have on a GPU; None where they do not hold it."""
        running = {
            one.pid: one.usedGpuMemory or 0 for one in self._library.nvmlDeviceGetComputeRunningProcesses(device)
        }
        mine = [bytes_ for pid, bytes_ in running.items() if pid in pids]
        if mine:
            return sum(mine)
        if any(os.path.exists(f"/proc/{pid}") for pid in running):
            return None
        # In a container the driver names nobody, or by numbers of the host: what is busy, and open here, is ours.
        if busy > 0 and _opens(pids, f"{DEVICES}{self._library.nvmlDeviceGetMinorNumber(device)}"):
            self._held.add(at)
        if at not in self._held:
            return None
        return int(self._library.nvmlDeviceGetMemoryInfo(device).used)


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

    return os.path.exists(f"{DEVICES}0") and find_spec("pynvml") is None


def _opens(pids: Collection[int], path: str) -> bool:
    return any(path == link for pid in pids for link in _links(pid))


def _links(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for one in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                yield os.readlink(one)
