"""A control group for one job, with limits that the kernel keeps: versions 1 and 2, where this user may make one.

Root may, and whoever was given a part of the tree (systemd's Delegate=, a container with its own).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from trimtab.adapters.cgroups import ROOT, fields_of, places_of

PREFIX = "trimtab-"
TRIES, PAUSE = 10, 0.02  # seconds
USUAL = 100  # the weight of a group that nobody changed
SHARES = 1024  # what version 1 calls that


class OwnGroup:
    """Made for one job, empty; `remove` it when the job has ended. Several folders where controllers have their own."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = folders
        self._before = self._kills()  # where a job that lives on kept the group of its trimtab's number

    def admit(self, pid: int) -> None:
        """Have a process, and all that it starts from now on, in the group. Raises OSError."""
        for folder in set(self._folders.values()):
            (folder / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def limit_memory(self, most: int) -> None:
        """No more bytes than these, swap included where it is counted; who needs more is killed. Raises OSError."""
        folder = self._folders["memory"]
        if (folder / "memory.max").exists():
            (folder / "memory.max").write_text(str(most), encoding="ascii")
            swap, no_swap, together = folder / "memory.swap.max", "0", folder / "memory.oom.group"
            with suppress(OSError):
                together.write_text("1", encoding="ascii")
        else:
            (folder / "memory.limit_in_bytes").write_text(str(most), encoding="ascii")
            swap, no_swap = folder / "memory.memsw.limit_in_bytes", str(most)
        with suppress(OSError):
            swap.write_text(no_swap, encoding="ascii")

    def killed(self) -> int:
        """How many processes needed more memory than the group has, and were killed."""
        return self._kills() - self._before

    def _kills(self) -> int:
        folder = self._folders.get("memory")
        if folder is None:
            return 0
        return max(fields_of(folder / name).get("oom_kill", 0) for name in ("memory.events", "memory.oom_control"))

    @property
    def weight(self) -> Path:
        """The file of its share of the cores, beside its neighbours'."""
        folder = self._folders["cpu"]
        return folder / "cpu.weight" if (folder / "cpu.weight").exists() else folder / "cpu.shares"

    def remove(self) -> None:
        """Gone, unless something of the job lives on in it."""
        for folder in set(self._folders.values()):
            for _ in range(TRIES):
                try:
                    folder.rmdir()
                    break
                except OSError:  # who ends now still counts for a moment
                    time.sleep(PAUSE)


def own_group(*controllers: str, root: Path = ROOT) -> OwnGroup | None:
    """A new group with these of "cpu" and "memory"; None where none may be made. Those of jobs that are gone go."""
    found: dict[str, Path] = {}
    for name, parent in ((name, _parent(name, root)) for name in controllers):
        if parent is None:
            break
        _sweep(parent)
        folder = parent / f"{PREFIX}{os.getpid()}"
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            if _has(folder, name):
                found[name] = folder
            elif folder not in found.values():
                folder.rmdir()
    group = OwnGroup(found)
    if set(found) == set(controllers):
        return group
    group.remove()
    return None


def read_weight(file: Path) -> int:
    """A group's share of the cores, by version 2's scale: 1 to 10,000, usually 100. Raises OSError."""
    value = int(file.read_text(encoding="ascii"))
    return value if file.name == "cpu.weight" else max(1, round(value * USUAL / SHARES))


def write_weight(file: Path, weight: int) -> None:
    """Set it. Raises OSError."""
    value = weight if file.name == "cpu.weight" else max(2, round(weight * SHARES / USUAL))
    file.write_text(str(value), encoding="ascii")


def _parent(controller: str, root: Path) -> Path | None:
    """The group that this process is in, of the hierarchy that has the controller."""
    first = places_of(os.getpid(), controller, root)
    unified = places_of(os.getpid(), "", root)
    parent = next(iter(first), None) or next(iter(unified), None)
    if parent is not None and not first:
        with suppress(OSError):  # it may be passed on already, or not be ours to pass on
            (parent / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")
    return parent


def _has(folder: Path, controller: str) -> bool:
    files = {"cpu": ("cpu.weight", "cpu.shares"), "memory": ("memory.max", "memory.limit_in_bytes")}[controller]
    return any(os.access(folder / one, os.W_OK) for one in files)


def _sweep(parent: Path) -> None:
    """Groups whose trimtab is gone; one that something lives in stays."""
    for folder in _left(parent):
        with suppress(OSError):
            folder.rmdir()


def _left(parent: Path) -> Iterator[Path]:
    for folder in parent.glob(f"{PREFIX}*"):
        number = folder.name.removeprefix(PREFIX)
        if number.isdigit() and not os.path.exists(f"/proc/{number}"):
            yield folder
