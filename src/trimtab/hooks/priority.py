"""Has a training whose threads wait for cores that others use try a higher priority, where its owner allows one.

A niceness counts among the processes of one control group; a group's weight beside what else is in its parent.

Linux.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from trimtab.adapters.cgroups import USUAL
from trimtab.core.errors import InputError
from trimtab.hooks.threads import CHEAPER, NO_SLOWER, Knob

LEAST, MOST_WEIGHT = -20, 10_000
SCHEDULED = "/proc/self/schedstat"
HELD_UP = 0.1  # of its time, in the run queue: below it, nothing is gained by going first


class Held:
    """Whether this process was held up by others, since that was asked before."""

    def __init__(self) -> None:
        self._seen = _scheduled()

    def is_held_up(self) -> bool:
        """By the time that its first thread waited for a core."""
        before, self._seen = self._seen, _scheduled()
        ran, waited = (now - then for now, then in zip(self._seen, before, strict=True))
        return waited > HELD_UP * (waited + ran)


class Priority:
    """The niceness of this process's threads, and of the processes that it starts from now on."""

    name = "niceness"

    def __init__(self, least: int) -> None:
        self._least, self._held = least, Held()

    def get(self) -> int:
        """Of the first thread."""
        return os.getpriority(os.PRIO_PROCESS, 0)

    def set(self, count: int) -> None:
        """From now on. Threads that end meanwhile, and what is not allowed, are left as they are."""
        for thread in os.listdir("/proc/self/task"):
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, int(thread), count)

    def choices(self, own: int) -> list[int]:
        """The one that is allowed, where the process waited for cores since this was asked before."""
        return [self._least] if self._held.is_held_up() and self._least < own else []


class Weight:
    """The share of the cores that the job has as a group of its own; at the usual weight it is in none, as before."""

    name = "cpu weight"

    def __init__(self, most: int, file: Path) -> None:
        self._most, self._file, self._held, self._now = most, file, Held(), USUAL

    def get(self) -> int:
        """By version 2's scale."""
        return self._now

    def set(self, count: int) -> None:
        """From now on, for this process and all that it has started; what is no longer allowed is left as it is."""
        # Imported here: every watched process imports this module, and few have a weight.
        from trimtab.adapters.meters import tree
        from trimtab.adapters.own_group import enter, write_weight

        group = self._file.parent
        self._now = count
        for pid in tree(os.getpid()):
            with suppress(OSError):
                if count > USUAL:
                    write_weight(self._file, count)
                enter(group if count > USUAL else group.parent, pid)

    def choices(self, own: int) -> list[int]:
        """The one that is allowed, where the process was held up."""
        return [self._most] if self._held.is_held_up() and self._most > own else []


def priority_of(text: str) -> Priority | Weight | None:
    """Of "nice:-5" or "weight:400:/the/group's/file", as `trimtab watch` hands it to its job."""
    kind, _, rest = text.partition(":")
    if kind == "nice":
        return Priority(int(rest))
    if kind == "weight":
        most, _, file = rest.partition(":")
        return Weight(int(most), Path(file))
    return None


def require_niceness(least: int) -> None:
    """Raises InputError where this user's processes may not go to this niceness, or it is none."""
    if not os.path.exists(SCHEDULED):
        raise InputError("this system does not tell how long a process waits for a core", hint="leave out --nice")
    own = os.getpriority(os.PRIO_PROCESS, 0)
    if not LEAST <= least < own:
        raise InputError(f"niceness {least}: it is {own} now", hint=f"give one from {LEAST} to {own - 1}")
    try:
        os.setpriority(os.PRIO_PROCESS, 0, least)
    except OSError:
        raise InputError(f"this user may not set a niceness of {least}", hint="be root, or raise `ulimit -e`") from None
    os.setpriority(os.PRIO_PROCESS, 0, own)


def require_weight(most: int) -> None:
    """Raises InputError for what is no weight above the usual one."""
    if not os.path.exists(SCHEDULED):
        raise InputError("this system does not tell how long a process waits for a core", hint="leave out --weight")
    if not USUAL < most <= MOST_WEIGHT:
        raise InputError(f"weight {most}: the usual one is {USUAL}", hint=f"give one up to {MOST_WEIGHT:,}")


def hurry(priority: Priority | Weight) -> Knob:
    """Faster at about the same CPU: that is all that a priority can bring."""
    return Knob(priority.name, priority.choices, is_gain=lambda wall, cpu: wall <= CHEAPER and cpu <= NO_SLOWER)


def _scheduled() -> tuple[int, int]:
    """Nanoseconds that the first thread ran, and that it waited for a core."""
    with open(SCHEDULED, encoding="ascii") as file:
        ran, waited = file.read().split()[:2]
    return int(ran), int(waited)
