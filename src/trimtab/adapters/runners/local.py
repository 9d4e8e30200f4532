"""Runs tasks in child processes on this machine, with limits. A task that dies or outgrows them loses itself only.

Workers are started fresh (never forked from a process with OpenMP threads) and live on, so that imports and caches
serve many tasks. Limits are kept by looking at the worker's whole process tree, twenty times a second.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO

from trimtab.adapters.meters import TreeMeter, tree
from trimtab.adapters.runners.worker import receive, send
from trimtab.core.errors import OutsideError
from trimtab.core.model import Failure, Spend
from trimtab.core.ports import Limits, Result, Returned, Task

LOOK_SECONDS = 0.05  # how often limits are looked at
START_SECONDS = 60.0
TAIL_BYTES = 1000  # of a dead worker's standard error, for its Failure
LOG_BYTES = 1_000_000


class LocalRunner:
    """`workers` tasks at a time, `threads` for each worker's numeric libraries. Close it, or use it in a `with`."""

    def __init__(self, workers: int = 1, *, threads: int = 1) -> None:
        self._threads = threads
        self._idle: list[Worker] = []
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="trimtab-runner")

    def map(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """One result for each task, in the order of the tasks."""
        futures: list[Future[Result]] = [self._pool.submit(self._run, task) for task in tasks]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """End all workers."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> LocalRunner:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _run(self, task: Task) -> Result:
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is None or not worker.is_alive():
            worker = Worker(self._threads)
        result = worker.run(task)
        if worker.is_alive():
            with self._lock:
                self._idle.append(worker)
        return result


class Worker:
    """One child process. Raises OutsideError when it cannot be started."""

    def __init__(self, threads: int) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed with the worker
        to_child, self._write_end = os.pipe()
        self._read_end, from_child = os.pipe()
        command = [sys.executable, "-m", "trimtab.adapters.runners.worker", str(to_child), str(from_child)]
        # A fresh process group: whatever the task starts can be killed with it.
        self._process = subprocess.Popen(
            command,
            pass_fds=(to_child, from_child),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            env=_environment(threads),
        )
        os.close(to_child)
        os.close(from_child)
        self._to: BinaryIO = os.fdopen(self._write_end, "wb")
        self._from: BinaryIO = os.fdopen(self._read_end, "rb", buffering=0)
        if not self._wait_for_answer(START_SECONDS) or receive(_Whole(self._from)) is None:
            tail = self._tail()
            self.close()
            raise OutsideError(f"a worker did not start: {tail}", hint="is trimtab installed in this environment?")

    def is_alive(self) -> bool:
        """Whether it can take another task."""
        return self._process.poll() is None and not self._to.closed

    def run(self, task: Task) -> Result:
        """Do one task, and kill it when it breaks a limit."""
        _reset_peak(self._process.pid)
        self._trim_log()
        meter = TreeMeter(self._process.pid)
        try:
            send(self._to, {"call": task.call, "arguments": dict(task.arguments)})
        except OSError:
            return Result(task.key, Failure(self._death()), meter.spent())
        breach = self._watch(meter, task.limits)
        if breach:
            spent = meter.spent()
            self.close()
            return Result(task.key, Failure(breach), spent)
        answer = receive(_Whole(self._from))
        meter.sample()
        spent = meter.spent()
        if answer is None:
            return Result(task.key, Failure(self._death()), spent)
        self._kill_descendants()
        spent = replace(spent, peak_rss_bytes=max(spent.peak_rss_bytes, _peak(self._process.pid)))
        if "failure" in answer:
            return Result(task.key, Failure(answer["failure"]), spent)
        return Result(task.key, Returned(answer["value"]), spent)

    def close(self) -> None:
        """Kill the whole tree."""
        self._kill_descendants()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for stream in (self._to, self._from, self._log):
            with contextlib.suppress(OSError):
                stream.close()

    def _watch(self, meter: TreeMeter, limits: Limits) -> str:
        """Wait for the answer; returns which limit was broken, or an empty string."""
        started = time.perf_counter()
        pause = 0.002
        while not self._wait_for_answer(pause):
            pause = min(LOOK_SECONDS, pause * 2)
            resident = meter.sample()
            breach = _breach(limits, meter.spent(), resident, time.perf_counter() - started)
            if breach:
                return breach
        return ""

    def _wait_for_answer(self, seconds: float) -> bool:
        readable, _, _ = select.select([self._from], [], [], seconds)
        return bool(readable)

    def _death(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.poll()
        tail = self._tail()
        self.close()
        how = "closed its pipe" if code is None else f"exited with code {code}"
        if code is not None and code < 0:
            how = f"was killed by signal {-code} ({signal.Signals(-code).name})"
        return f"the process {how}" + (f": {tail}" if tail else "")

    def _tail(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            size = os.fstat(self._log.fileno()).st_size
            return (
                os.pread(self._log.fileno(), TAIL_BYTES, max(0, size - TAIL_BYTES)).decode("utf-8", "replace").strip()
            )
        return ""

    def _trim_log(self) -> None:
        if os.fstat(self._log.fileno()).st_size > LOG_BYTES:
            os.ftruncate(self._log.fileno(), 0)

    def _kill_descendants(self) -> None:
        for pid in tree(self._process.pid)[1:]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


class _Whole:
    """Reads exactly as many bytes as asked for, or to the end."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw

    def read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            piece = self._raw.read(min(size - len(parts), 1 << 20))
            if not piece:
                break
            parts += piece
        return bytes(parts)


def _breach(limits: Limits, spent: Spend, resident: int, wall: float) -> str:
    if limits.cpu_seconds is not None and spent.cpu_seconds > limits.cpu_seconds:
        return f"used more than {limits.cpu_seconds:g} CPU-s and was stopped"
    if limits.memory_bytes is not None and resident > limits.memory_bytes:
        return f"needed more than {limits.memory_bytes / 2**20:,.0f} MiB of memory and was stopped"
    if limits.wall_seconds is not None and wall > limits.wall_seconds:
        return f"gave no answer within {limits.wall_seconds:g} s and was stopped"
    return ""


def _environment(threads: int) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads)), "PYTHONUNBUFFERED": "1"}


def _reset_peak(pid: int) -> None:
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak(pid: int) -> int:
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    return 0
