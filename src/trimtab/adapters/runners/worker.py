"""The child's side of the local runner: reads tasks, calls functions, answers. Run as `python -m … READ WRITE`.

It keeps what it has imported and cached between tasks; processes that a task has started end with it. A task's own
output goes to standard error, of which the parent keeps the tail.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import struct
import sys
import time
import traceback
from typing import Any, BinaryIO, Protocol

from trimtab.adapters.meters import tree

HEADER = struct.Struct("!Q")
MOST_BYTES = 64 * 2**20  # of one result: beyond, a task should write a file
_ADDRESS_SLACK = 8 * 2**30  # threads and allocators reserve far more addresses than they use
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Readable(Protocol):
    """Anything that reads bytes."""

    def read(self, size: int, /) -> bytes: ...


def send(stream: BinaryIO, message: Any) -> None:
    """Write one message: its length, then its JSON. Raises ValueError for NaN."""
    _write(stream, json.dumps(message, allow_nan=False).encode())


def receive(stream: Readable) -> Any:
    """Read one message; None at the end of the stream."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (length,) = HEADER.unpack(header)
    body = stream.read(length)
    return json.loads(body) if len(body) == length else None


def main() -> None:
    """Serve tasks until the parent closes the pipe. Each answer is followed by the CPU seconds since the one before."""
    _die_with_parent()
    reads, writes = open(int(sys.argv[1]), "rb"), open(int(sys.argv[2]), "wb")  # noqa: SIM115  they end with the process
    os.dup2(2, 1)  # what users print must not reach anybody's standard output
    hello = receive(reads)
    sys.path[:] = hello["path"]
    if hello["confinement"] is not None:
        _confine(hello["confinement"])
    send(writes, {"cpu_seconds": _cpu_seconds()})
    charged = 0.0
    while (task := receive(reads)) is not None:
        _limit_addresses(task["memory_bytes"])
        answer = _encoded(_answer(task))
        _end_children()
        before, charged = charged, _cpu_seconds()
        _write(writes, answer)
        send(writes, {"cpu_seconds": charged - before})


def _confine(what: dict[str, list[str]]) -> None:
    from trimtab.adapters.sandbox import Confinement, confine

    confine(Confinement(**{name: tuple(values) for name, values in what.items()}))


def _write(stream: BinaryIO, body: bytes) -> None:
    stream.write(HEADER.pack(len(body)) + body)
    stream.flush()


def _encoded(answer: dict[str, Any]) -> bytes:
    try:
        body = json.dumps(answer, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return json.dumps({"failure": f"the result is not JSON: {error}"}).encode()
    if len(body) > MOST_BYTES:
        return json.dumps({"failure": f"the result has {len(body):,} bytes, allowed are {MOST_BYTES:,}"}).encode()
    return body


def _answer(task: dict[str, Any]) -> dict[str, Any]:
    from trimtab.core.portable import imported

    try:
        return {"value": imported(task["call"])(**task["arguments"])}
    except (Exception, SystemExit) as error:
        return {"failure": _reason(error)}


def _reason(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    if isinstance(error, MemoryError):
        return "ran out of memory" + place
    hint = getattr(error, "hint", "")
    text = getattr(error, "message", str(error))
    said = f"raised {type(error).__name__}: {text}"[:2000]
    return said + (f" [{hint}]" if hint else "") + place


def _limit_addresses(memory_bytes: int | None) -> None:
    # A backstop only: the parent keeps the limit by looking at resident memory, but a burst may come between two looks.
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = hard
    if memory_bytes is not None:
        with open("/proc/self/statm", encoding="ascii") as statm:
            soft = int(statm.read().split()[0]) * resource.getpagesize() + memory_bytes + _ADDRESS_SLACK
    resource.setrlimit(resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _end_children(patience_seconds: float = 1.0) -> None:
    """Kill and reap whatever the task left running, so that its CPU is charged to it and to no later one."""
    deadline = time.monotonic() + patience_seconds
    with contextlib.suppress(ChildProcessError):  # none left
        while time.monotonic() < deadline:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid:
                continue
            for child in tree(os.getpid())[1:]:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)
            time.sleep(0.001)


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _die_with_parent() -> None:
    try:
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans below stay in this tree, where they can be killed
    except (OSError, AttributeError):
        return  # not Linux: the end of the pipe ends the worker


if __name__ == "__main__":
    main()
