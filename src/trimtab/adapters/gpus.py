"""How busy the GPUs are that a process tree uses, by NVIDIA's management library (extra: trimtab[gpu])."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


class Gpus:
    """NVIDIA's GPUs on this machine; none where the library or the driver is missing."""

    def __init__(self) -> None:
        self._devices: list[Any] = []
        try:
            import pynvml

            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
            self._devices = [pynvml.nvmlDeviceGetHandleByIndex(at) for at in range(count)]
            self._library: Any = pynvml
        except Exception:  # no library, no driver, no right to it: then there is nothing to look at
            self._devices = []

    def busy(self, pids: Collection[int]) -> float | None:
        """The mean share of time in which the GPUs that these processes use were busy; None where they use none."""
        shares = []
        for device in self._devices:
            try:
                used = {one.pid for one in self._library.nvmlDeviceGetComputeRunningProcesses(device)}
                if used & set(pids):
                    shares.append(self._library.nvmlDeviceGetUtilizationRates(device).gpu / 100)
            except self._library.NVMLError:
                continue
        return sum(shares) / len(shares) if shares else None
