"""A small process beside a runner's parent: when that is killed, it ends all that the workers had started.

Run as a file, with nothing but the standard library: `python sweep.py PARENT MARK`. Processes are known by a mark in
their environment, which children inherit whatever becomes of their parents.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path

PATIENCE_SECONDS = 5.0


def marked(mark: str) -> list[int]:
    """The processes with a mark in their environment."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if mark.encode() in Path(f"/proc/{name}/environ").read_bytes():
                    found.append(int(name))
    return found


def end_marked(mark: str, deadline: float) -> None:
    """Kill them, and what they start meanwhile, until none is left or time is up."""
    while (left := marked(mark)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Wait for the parent's end, however it comes, then sweep."""
    parent, mark = int(sys.argv[1]), sys.argv[2]
    with contextlib.suppress(ProcessLookupError):  # it has ended already
        file = os.pidfd_open(parent)
        if os.getppid() == parent:  # else it has ended, and its number is somebody else's
            select.select([file], [], [])
    end_marked(mark, time.monotonic() + PATIENCE_SECONDS)


if __name__ == "__main__":
    main()
