"""Meters: how much may be spent, and what was. Pure accounting; who reads the clocks lies in `adapters.meters`."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

from trimtab.core.model import Spend

UNLIMITED = Spend(math.inf, math.inf, math.inf, 2**62, 2**62)


class Meter:
    """Counts spends against a limit. Only CPU, wall, dollars, tokens and the number of measurements are limited."""

    def __init__(
        self,
        *,
        cpu_seconds: float = math.inf,
        wall_seconds: float = math.inf,
        dollars: float = math.inf,
        tokens: int = UNLIMITED.tokens,
        measurements: int = UNLIMITED.measurements,
    ) -> None:
        self.limit = Spend(cpu_seconds, wall_seconds, dollars, tokens, measurements)
        self.spent = Spend()

    def charge(self, cost: Spend) -> None:
        """Add a cost. Charging past the limit is allowed: the truth is written down, then `is_spent` holds."""
        self.spent = self.spent + cost

    @property
    def left(self) -> Spend:
        """What remains of each limited quantity, never negative."""
        limit, spent = self.limit, self.spent
        return Spend(
            max(0.0, limit.cpu_seconds - spent.cpu_seconds),
            max(0.0, limit.wall_seconds - spent.wall_seconds),
            max(0.0, limit.dollars - spent.dollars),
            max(0, limit.tokens - spent.tokens),
            max(0, limit.measurements - spent.measurements),
        )

    @property
    def is_spent(self) -> bool:
        """Whether nothing more may be measured. Dollars and tokens stop only those who spend them."""
        left = self.left
        return not (left.cpu_seconds > 0 and left.wall_seconds > 0 and left.measurements > 0)


class Stopwatch:
    """Reads what this process (and the children that it has waited for) spent since it was started."""

    def __init__(self) -> None:
        self._cpu, self._wall = _cpu_seconds(), time.perf_counter()

    def read(self) -> Spend:
        """CPU and wall seconds since the start, and the peak memory of the process so far."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return Spend(_cpu_seconds() - self._cpu, time.perf_counter() - self._wall, peak_rss_bytes=peak)


@contextmanager
def charged(meter: Meter) -> Iterator[None]:
    """Charge what the block spends in this process to a meter, also when it raises."""
    watch = Stopwatch()
    try:
        yield
    finally:
        meter.charge(watch.read())


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
