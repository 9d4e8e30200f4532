"""Runs tasks in child processes on this machine, with limits. A task that dies or outgrows them loses itself only.

Workers are started fresh (never forked from a process with OpenMP threads) and live on, so that imports and caches
serve many tasks. Limits are kept by looking at the worker's whole process tree, twenty times a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType

from trimtab.adapters.runners.process import Family, WorkerProcess
from trimtab.adapters.sandbox import Confinement
from trimtab.core.model import Failure, Spend
from trimtab.core.ports import Result, Task

ATTEMPTS = 3  # a task that never began, because its worker was dead, goes to a new one


class LocalRunner:
    """`workers` tasks at a time, `threads` for each worker's numeric libraries. Close it, or use it in a `with`.

    With a confinement its workers have no network, no new programs, and files to read only: for unreviewed code.
    """

    def __init__(self, workers: int = 1, *, threads: int = 1, confinement: Confinement | None = None) -> None:
        self._threads, self._confinement = threads, confinement
        self._family: Family | None = None  # of the first worker, and all that follow
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._lock = threading.Lock()
        # A worker dies with the thread that started it: these live until the runner is closed.
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="trimtab-runner")
        self._is_closed = False

    def map(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """One result for each task, in the order of the tasks. Raises OutsideError when no worker can be started."""
        futures: list[Future[Result]] = [self._pool.submit(self._run, task) for task in tasks]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """End all workers, also those in the middle of a task."""
        with self._lock:
            self._is_closed = True
            busy = list(self._busy)
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in busy:
            worker.kill()
        while self._idle:
            self._idle.pop().close()
        self._pool.shutdown(wait=True)
        if self._family is not None:
            self._family.close()

    def __enter__(self) -> LocalRunner:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _run(self, task: Task) -> Result:
        before = time.thread_time()
        result = self._first_result(task)
        # Starting, watching and metering a worker is part of what the task costs.
        own = Spend(cpu_seconds=time.thread_time() - before)
        return replace(result, cost=result.cost + own)

    def _first_result(self, task: Task) -> Result:
        for _ in range(ATTEMPTS):
            worker = self._take()
            try:
                result = worker.run(task)
            finally:
                self._give_back(worker)
            if result is not None:
                return result
        return Result(task.key, Failure(f"{ATTEMPTS} workers died before the task began"), Spend())

    def _take(self) -> WorkerProcess:
        with self._lock:
            worker = self._idle.pop() if self._idle else None
            family = self._family = self._family or Family()
        if worker is not None and not worker.is_alive():
            worker.close()
            worker = None
        worker = worker or WorkerProcess(self._threads, self._confinement, family.mark)
        with self._lock:
            self._busy.add(worker)
            is_closed = self._is_closed
        if is_closed:
            worker.kill()
        return worker

    def _give_back(self, worker: WorkerProcess) -> None:
        with self._lock:
            self._busy.discard(worker)
            is_kept = worker.is_alive() and not self._is_closed
            if is_kept:
                self._idle.append(worker)
        if not is_kept:
            worker.close()
