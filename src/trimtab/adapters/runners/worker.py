"""The child's side of the local runner: reads tasks, calls functions, answers. Run as `python -m … READ WRITE`.

It keeps what it has imported and cached between tasks. A task's own output goes to standard error, which the parent
keeps the tail of.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import sys
import traceback
from typing import Any, BinaryIO, Protocol

HEADER = struct.Struct("!Q")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def send(stream: BinaryIO, message: Any) -> None:
    """Write one message: its length, then its JSON. Raises ValueError for NaN."""
    body = json.dumps(message, allow_nan=False).encode()
    stream.write(HEADER.pack(len(body)) + body)
    stream.flush()


class Readable(Protocol):
    """Anything that reads bytes."""

    def read(self, size: int, /) -> bytes: ...


def receive(stream: Readable) -> Any:
    """Read one message; None at the end of the stream."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (length,) = HEADER.unpack(header)
    body = stream.read(length)
    return json.loads(body) if len(body) == length else None


def main() -> None:
    """Serve tasks until the parent closes the pipe."""
    _die_with_parent()
    reads, writes = open(int(sys.argv[1]), "rb"), open(int(sys.argv[2]), "wb")  # noqa: SIM115  they end with the process
    os.dup2(2, 1)  # what users print must not reach anybody's standard output
    send(writes, {"ready": os.getpid()})
    while (task := receive(reads)) is not None:
        answer = _answer(task)
        try:
            send(writes, answer)
        except ValueError as error:
            send(writes, {"failure": f"the result is not JSON: {error}"})


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


def _die_with_parent() -> None:
    try:
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans below stay in this tree, where they can be killed
    except (OSError, AttributeError):
        return  # not Linux: the end of the pipe ends the worker


if __name__ == "__main__":
    main()
