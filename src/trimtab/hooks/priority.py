"""Has a training whose threads wait for cores that others use try a higher priority, where its owner allows one.

Linux.
"""

from __future__ import annotations

import os
from contextlib import suppress

from trimtab.core.errors import InputError
from trimtab.hooks.threads import CHEAPER, NO_SLOWER, Knob

LEAST = -20
SCHEDULED = "/proc/self/schedstat"
HELD_UP = 0.1  # of its time, in the run queue: below it, nothing is gained by going first


class Priority:
    """The niceness of this process's threads, and of the processes that it starts from now on."""

    name = "niceness"

    def __init__(self, least: int) -> None:
        self._least = least
        self._seen = _scheduled()

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
        before, self._seen = self._seen, _scheduled()
        ran, waited = (now - then for now, then in zip(self._seen, before, strict=True))
        return [self._least] if waited > HELD_UP * (waited + ran) and self._least < own else []


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


def hurry(priority: Priority) -> Knob:
    """Faster at about the same CPU: that is all that a priority can bring."""
    return Knob(Priority.name, priority.choices, is_gain=lambda wall, cpu: wall <= CHEAPER and cpu <= NO_SLOWER)


def _scheduled() -> tuple[int, int]:
    """Nanoseconds that the first thread ran, and that it waited for a core."""
    with open(SCHEDULED, encoding="ascii") as file:
        ran, waited = file.read().split()[:2]
    return int(ran), int(waited)
