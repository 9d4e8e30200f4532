"""What a process may use by its control groups, and how often they held it back: versions 1 and 2, read from files.

https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = "trimtab-"  # and a number: groups that we made for a job
USUAL = 100  # the weight of a group that nobody changed, by version 2's scale
UNLIMITED = 2**60  # version 1 writes a huge number where there is no limit


@dataclass(frozen=True, slots=True)
class Allowance:
    """Limits of a process (None: none), and counts since they were set up.

    cores: of the CPU quota; memory_bytes: the limit, memory_used: of it, page cache included; throttled_seconds: lost
    to the quota; memory_hits: how often the memory limit was met (not one of our own, which page cache meets as well).
    """

    cores: float | None = None
    memory_bytes: int | None = None
    memory_used: int = 0
    throttled_seconds: float = 0.0
    memory_hits: int = 0


class Groups:
    """The control groups of a process, found once."""

    def __init__(self, pid: int, root: Path = ROOT) -> None:
        self._cpu, self._memory, self._unified = (places_of(pid, one, root) for one in ("cpu", "memory", ""))

    def read(self) -> Allowance:
        """The tightest limits on the way up, and the counts of the groups that set them."""
        cores, throttled = self._quota()
        limit, used, hits = self._memory_limit()
        return Allowance(cores, limit, used, throttled, hits)

    def _quota(self) -> tuple[float | None, float]:
        cores, throttled = None, 0.0
        for one in self._cpu:
            quota, period = _number(one / "cpu.cfs_quota_us"), _number(one / "cpu.cfs_period_us")
            if quota is not None and quota > 0 and period:
                cores = min(cores or 1e9, quota / period)
                throttled += fields_of(one / "cpu.stat").get("throttled_time", 0) / 1e9
        for one in self._unified:
            words = _text(one / "cpu.max").split()
            if len(words) == 2 and words[0] != "max":
                cores = min(cores or 1e9, int(words[0]) / int(words[1]))
                throttled += fields_of(one / "cpu.stat").get("throttled_usec", 0) / 1e6
        return cores, throttled

    def _memory_limit(self) -> tuple[int | None, int, int]:
        limit, used, hits = None, 0, 0
        for one in self._memory:
            found = _number(one / "memory.limit_in_bytes")
            if found is not None and found < UNLIMITED and (limit is None or found < limit):
                limit, used = found, _number(one / "memory.usage_in_bytes") or 0
                hits = 0 if one.name.startswith(OWN) else _number(one / "memory.failcnt") or 0
        for one in self._unified:
            found = _number(one / "memory.max")
            if found is not None and (limit is None or found < limit):
                limit, used = found, _number(one / "memory.current") or 0
                hits = 0 if one.name.startswith(OWN) else fields_of(one / "memory.events").get("max", 0)
        return limit, used, hits


def places_of(pid: int, controller: str, root: Path = ROOT) -> list[Path]:
    """A process's group and the ones that it lies in: of a controller's own hierarchy, or ("") of version 2's."""
    found: list[Path] = []
    for line in _text(Path(f"/proc/{pid}/cgroup")).splitlines():
        _, names, place = line.split(":", 2)
        if controller in names.split(","):
            unified = root / "unified"
            found += _upwards(root / controller if controller else unified if unified.is_dir() else root, place)
    return found


def _upwards(base: Path, place: str) -> Iterator[Path]:
    """The group and the ones that it lies in, as far as they can be seen from here."""
    here = base / place.lstrip("/")
    while True:
        if here.is_dir():
            yield here
        if here == base or base not in here.parents:
            return
        here = here.parent


def _text(path: Path) -> str:
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        return os.read(file, 65_536).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(file)


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def fields_of(path: Path) -> dict[str, int]:
    """The lines of a file that hold a name and a number; none where there is no such file."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
