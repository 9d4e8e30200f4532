"""The parent's side of one worker process: starts it, gives it tasks, keeps its limits, ends it and all below it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any, BinaryIO

from trimtab.adapters.meters import TreeMeter, highest_resident, tree
from trimtab.adapters.runners import sweep
from trimtab.adapters.runners.worker import receive, send
from trimtab.adapters.sandbox import Confinement
from trimtab.core.errors import OutsideError
from trimtab.core.model import Failure, Spend
from trimtab.core.ports import Limits, Result, Returned, Task

LOOK_SECONDS = 0.05  # how often limits are looked at
START_SECONDS = 60.0
TAIL_BYTES = 1000  # of a dead worker's output, for its Failure
LOG_BYTES = 1_000_000  # of output that are kept at most
MARK = "TRIMTAB_WORKER"  # in the environment of a worker and of all that it starts


class Family:
    """The mark that all workers of a runner share, and a process that ends what bears it when this one is killed."""

    def __init__(self) -> None:
        self.mark = nested_mark()
        command = [sys.executable, "-I", "-S", sweep.__file__, str(os.getpid()), self.mark]
        null = subprocess.DEVNULL
        # Without an environment: it must not bear the mark of a runner that this process works for.
        self._sweeper = _opened(command, stdin=null, stdout=null, stderr=null, env={})

    def close(self) -> None:
        """Give up the watch: the workers have been closed."""
        self._sweeper.kill()
        self._sweeper.wait()


class WorkerProcess:
    """One child process, started afresh. Raises OutsideError when it cannot be started."""

    def __init__(self, threads: int, confinement: Confinement | None, family: str) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed with the worker
        fcntl.fcntl(self._log, fcntl.F_SETFL, os.O_APPEND)  # so that it can be emptied while the child writes
        self._mark = f"{family}-{secrets.token_hex(8)}"
        reads, to = os.pipe()
        back, writes = os.pipe()
        self._to: BinaryIO = os.fdopen(to, "wb")
        self._process = _started([str(reads), str(writes)], self._log, _environment(threads, self._mark))
        os.close(reads)
        os.close(writes)
        self._from = _Answers(back, self._process)
        with contextlib.suppress(OSError):
            send(self._to, {"path": sys.path, "confinement": None if confinement is None else asdict(confinement)})
        hello = receive(self._from) if self._from.wait(START_SECONDS) else None
        if hello is None:
            reason = self._death()
            raise OutsideError(f"a worker did not start: {reason}", hint="is trimtab installed in this environment?")
        self._unpaid = float(hello["cpu_seconds"])  # starting costs, too: the first task pays

    def is_alive(self) -> bool:
        """Whether it can take another task."""
        return not self._to.closed and self._process.poll() is None

    def run(self, task: Task) -> Result | None:
        """Do one task, and kill the worker when a limit is broken. None: it was dead already, the task never began."""
        _reset_peak(self._process.pid)
        self._log.truncate(0)
        meter = TreeMeter(self._process.pid)
        memory = task.limits.memory_bytes
        try:
            send(self._to, {"call": task.call, "arguments": dict(task.arguments), "memory_bytes": memory})
        except OSError:
            self.close()
            return None
        breach = self._watch(meter, task.limits)
        answer = None if breach else receive(self._from)
        bill = receive(self._from) if answer is not None else None
        meter.sample()
        if answer is None or bill is None:
            spent = meter.spent()
            paid = replace(spent, cpu_seconds=spent.cpu_seconds + self._unpaid)
            return Result(task.key, Failure(breach or self._death()), self._closed(paid))
        self._unpaid = 0.0
        return Result(task.key, _outcome(answer), self._cost(meter.spent(), bill["cpu_seconds"]))

    def kill(self) -> None:
        """End the process and all below it. Safe from any thread."""
        end_tree(self._process, self._mark)

    def close(self) -> None:
        """End it and give back what it held."""
        self.kill()
        for stream in (self._to, self._from, self._log):
            with contextlib.suppress(OSError):
                stream.close()

    def _closed(self, spent: Spend) -> Spend:
        self.close()
        return spent

    def _cost(self, sampled: Spend, cpu_seconds: float) -> Spend:
        # The worker's own clock is finer than the ticks that can be seen from here.
        peak = max(sampled.peak_rss_bytes, highest_resident(self._process.pid))
        return replace(sampled, cpu_seconds=cpu_seconds, peak_rss_bytes=peak)

    def _watch(self, meter: TreeMeter, limits: Limits) -> str:
        """Wait for an answer or the end; returns which limit was broken, or an empty string."""
        started = time.perf_counter()
        pause = 0.002
        while not self._from.wait(pause):
            pause = min(LOOK_SECONDS, pause * 2)
            resident = meter.sample()
            breach = _breach(limits, meter.spent(), resident, time.perf_counter() - started)
            if breach:
                return breach
            if os.fstat(self._log.fileno()).st_size > LOG_BYTES:
                self._log.truncate(0)
            if self._process.poll() is not None:
                return ""
        return ""

    def _death(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code, tail = self._process.poll(), self._tail()
        self.close()
        how = "closed its pipe" if code is None else f"exited with code {code}"
        if code is not None and code < 0:
            how = f"was killed by signal {-code} ({signal.Signals(-code).name})"
        return f"the process {how}" + (f": {tail}" if tail else "")

    def _tail(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            size = os.fstat(self._log.fileno()).st_size
            tail = os.pread(self._log.fileno(), TAIL_BYTES, max(0, size - TAIL_BYTES))
            return tail.decode("utf-8", "replace").strip()
        return ""


class _Answers:
    """The child's messages. Reading ends with the child, even where one of its children still holds the pipe."""

    def __init__(self, file: int, process: subprocess.Popen[bytes]) -> None:
        self._file, self._process = file, process

    def wait(self, seconds: float) -> bool:
        """Whether there is something to read, or the end."""
        ready, _, _ = select.select([self._file], [], [], seconds)
        return bool(ready)

    def read(self, size: int) -> bytes:
        """Exactly that many bytes, or fewer at the end."""
        parts = bytearray()
        while len(parts) < size:
            is_over = self._process.poll() is not None
            if not self.wait(LOOK_SECONDS):
                if is_over:
                    break
                continue
            piece = os.read(self._file, min(size - len(parts), 1 << 20))
            if not piece:
                break
            parts += piece
        return bytes(parts)

    def close(self) -> None:
        """Close the pipe."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def nested_mark() -> str:
    """A new mark for the environment of children, within the one that this process bears: who ends it, ends them."""
    return f"{MARK}={os.environ.get(MARK, '')}-{secrets.token_hex(8)}"


def _started(pipes: list[str], log: IO[bytes], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return _opened(
        [sys.executable, "-P", "-m", "trimtab.adapters.runners.worker", *pipes],
        pass_fds=[int(pipe) for pipe in pipes],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
    )


def _opened(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    try:
        # A group of its own: Ctrl-C in a terminal is the parent's to answer.
        return subprocess.Popen(command, start_new_session=True, **options)
    except OSError as error:
        raise OutsideError(f"a worker could not be started: {error}", hint="are processes or memory short?") from error


def end_tree(process: subprocess.Popen[bytes], mark: str, patience_seconds: float = 2.0) -> None:
    """Kill a worker and all that it started, also what has left its session or lost its parent."""
    deadline = time.monotonic() + patience_seconds
    if process.poll() is None:
        # Stopped, it starts nothing new, and as their reaper it keeps orphans in the tree.
        _signal(process.pid, signal.SIGSTOP)
        while (below := [pid for pid in tree(process.pid)[1:] if _is_running(pid)]) and time.monotonic() < deadline:
            for pid in below:
                _signal(pid, signal.SIGKILL)
        process.kill()
    process.wait()
    sweep.end_marked(mark, deadline)


def _outcome(answer: dict[str, Any]) -> Returned | Failure:
    return Failure(answer["failure"]) if "failure" in answer else Returned(answer["value"])


def _breach(limits: Limits, spent: Spend, resident: int, wall: float) -> str:
    if limits.cpu_seconds is not None and spent.cpu_seconds > limits.cpu_seconds:
        return f"used more than {limits.cpu_seconds:g} CPU-s and was stopped"
    if limits.memory_bytes is not None and resident > limits.memory_bytes:
        return f"needed more than {limits.memory_bytes / 2**20:,.0f} MiB of memory and was stopped"
    if limits.wall_seconds is not None and wall > limits.wall_seconds:
        return f"gave no answer within {limits.wall_seconds:g} s and was stopped"
    return ""


def _environment(threads: int, mark: str) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    name, _, token = mark.partition("=")
    # Passive: threads that wait must not spin, which on a busy host costs more than they gain.
    ours = {**dict.fromkeys(names, str(threads)), "OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1", name: token}
    return {**os.environ, **ours}


def _is_running(pid: int) -> bool:
    with contextlib.suppress(OSError, ValueError):
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return stat[stat.rindex(b")") + 2 :][:1] not in (b"Z", b"X")
    return False


def _signal(pid: int, which: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, which)


def _reset_peak(pid: int) -> None:
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")
