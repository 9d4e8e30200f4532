"""A control group for one job, with a limit or a share that the kernel keeps: versions 1 and 2.

Root may make one; of version 2 also whoever was given a part of the tree in which a group beside the own one can have
the controller, as systemd gives its users. Nothing is switched on for it.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from trimtab.adapters.cgroups import OWN, ROOT, USUAL, fields_of, places_of

TRIES, PAUSE = 10, 0.02  # seconds
SHARES = 1024  # what version 1 calls that
NEAR = 0.98  # of the limit: it was met
FILES = {"cpu": ("cpu.weight", "cpu.shares"), "memory": ("memory.max", "memory.limit_in_bytes")}

_numbers = itertools.count()


class OwnGroup:
    """Made for one job, empty; `remove` it when the job has ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def admit(self, pid: int) -> None:
        """Have a process, and all that it starts from now on, in the group. Raises OSError."""
        enter(self.folder, pid)

    def limit_memory(self, most: int) -> None:
        """No more bytes than these, swap included where it is counted; who needs more is killed. Raises OSError."""
        folder = self.folder
        if (folder / "memory.max").exists():
            (folder / "memory.max").write_text(str(most), encoding="ascii")
            extra = {"memory.swap.max": "0", "memory.oom.group": "1"}
        else:
            (folder / "memory.limit_in_bytes").write_text(str(most), encoding="ascii")
            extra = {"memory.memsw.limit_in_bytes": str(most)}
        for name, value in extra.items():
            with suppress(OSError):
                (folder / name).write_text(value, encoding="ascii")

    def ran_out(self) -> bool:
        """Whether a process was killed because the group's own limit was met: not one further up."""
        events = fields_of(self.folder / "memory.events")
        if events:
            return events.get("oom_kill", 0) > 0 and events.get("oom", 0) > 0
        if not fields_of(self.folder / "memory.oom_control").get("oom_kill", 0):
            return False
        limit, most = (self._number(f"memory.{one}_in_bytes") for one in ("limit", "max_usage"))
        return most >= NEAR * limit

    @property
    def weight(self) -> Path:
        """The file of its share of the cores."""
        return next(file for name in FILES["cpu"] if (file := self.folder / name).exists())

    def end(self) -> None:
        """Kill what is left in it."""
        for pid in _processes(self.folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        """Gone, unless something of the job lives on in it."""
        for _ in range(TRIES):
            _remove(self.folder)
            if not self.folder.exists():
                return
            time.sleep(PAUSE)  # who ends now still counts for a moment

    def _number(self, name: str) -> int:
        return int((self.folder / name).read_text(encoding="ascii"))


def own_group(controller: str, root: Path = ROOT) -> OwnGroup | None:
    """A new group with "cpu" or "memory"; None where none can be made. Those that killed jobs have left go."""
    parent = _parent(controller, root)
    if parent is None:
        return None
    for one in parent.glob(f"{OWN}*"):
        if not os.path.exists(f"/proc/{one.name.removeprefix(OWN).partition('-')[0]}"):
            _remove(one)
    group = OwnGroup(parent / f"{OWN}{os.getpid()}-{next(_numbers)}")
    try:
        group.folder.mkdir()
    except OSError:
        return None
    if _is_usable(group, controller):
        return group
    group.remove()
    return None


def enter(folder: Path, pid: int) -> None:
    """Have a process in a group. Raises OSError."""
    (folder / "cgroup.procs").write_text(str(pid), encoding="ascii")


def write_weight(file: Path, weight: int) -> None:
    """A group's share of the cores, by version 2's scale: 1 to 10,000, usually 100. Raises OSError."""
    value = weight if file.name == "cpu.weight" else max(2, round(weight * SHARES / USUAL))
    file.write_text(str(value), encoding="ascii")


def _parent(controller: str, root: Path) -> Path | None:
    """Where a group with the controller can lie: in our own (version 1), or in the nearest that passes it on (2)."""
    first = places_of(os.getpid(), controller, root)
    if first:
        return first[0]
    for one in places_of(os.getpid(), "", root):
        with suppress(OSError):
            if controller in (one / "cgroup.subtree_control").read_text(encoding="ascii").split():
                return one
    return None


def _is_usable(group: OwnGroup, controller: str) -> bool:
    """Whether it has the controller's file, and takes a process."""
    if not any(os.access(group.folder / one, os.W_OK) for one in FILES[controller]):
        return False
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as tried:
        try:
            group.admit(tried.pid)
        except OSError:
            return False
    return True


def _processes(folder: Path) -> list[int]:
    """Of a group and the ones in it."""
    found: list[int] = []
    for one in (folder, *folder.glob(f"{OWN}*")):
        with suppress(OSError):
            found += map(int, (one / "cgroup.procs").read_text(encoding="ascii").split())
    return found


def _remove(folder: Path) -> None:
    """What a watched `trimtab watch` left in it goes first."""
    for one in folder.glob(f"{OWN}*"):
        _remove(one)
    with suppress(OSError):
        folder.rmdir()
