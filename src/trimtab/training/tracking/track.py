"""`with trimtab.track():` captures the trainings inside, with no other change to the code."""

from __future__ import annotations

import functools
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from trimtab import hooks
from trimtab.adapters.ledger import SqlLedger, ledger_in
from trimtab.core.errors import OutsideError
from trimtab.core.model import Spend
from trimtab.hooks.session import Session
from trimtab.training.allocation.heard import Heard
from trimtab.training.tracking.runs import Origin, Outcome, write_began, write_ended
from trimtab.training.tracking.surroundings import note_opened

SHORT_SECONDS = 1.0  # a run that ends sooner is written once, at its end


class Tracked:
    """A run under way: what trimtab does not see by itself can be said."""

    def __init__(self, run: str, session: Session) -> None:
        self.run = run
        self.notes: list[str] = []
        self.paths: list[str] = []
        self._session = session

    def log(self, step: int | None = None, **metrics: float) -> None:
        """Metrics as they are now."""
        for name, value in metrics.items():
            self._session.log(name, value, step)

    def parameters(self, **values: object) -> None:
        """What the training is given."""
        self._session.parameters("", values)

    def data(self, *paths: str | Path) -> None:
        """Files that the training reads: their hashes are kept. Those that Python opens itself are seen anyway."""
        self.paths += map(str, paths)

    def note(self, text: str) -> None:
        """A remark for the reader."""
        self.notes.append(text)


@contextmanager
def track(name: str = "", *, folder: str | Path = ".", ledger: SqlLedger | None = None) -> Iterator[Tracked]:
    """Capture a training: parameters, metrics and their curves, environment, code, data files, resources.

    The run goes into the ledger of `folder` (or `TRIMTAB_LEDGER`), also when the body raises or the process is killed.
    Raises TargetError or OutsideError when the ledger cannot be written.
    """
    own = _ledger(os.path.abspath(folder), os.environ.get("TRIMTAB_LEDGER", "")) if ledger is None else ledger
    heard = Heard()

    def say(event: dict[str, Any]) -> None:
        heard.take(event)

    session = Session(say)
    origin = Origin(name or Path(sys.argv[0]).stem or "run", "track", tuple(sys.argv), Path.cwd())
    run, before = Tracked(origin.run, session), _used()
    _beginnings.add(own, origin)
    ends, status = (hooks.heard_by(session), note_opened(run.paths)), "failed"
    try:
        yield run
        status = "done"
    except KeyboardInterrupt:
        status = "killed"
        raise
    finally:
        for end in ends:
            end()
        session.close()
        _beginnings.drop(origin)
        spent = _difference(_used(), before)
        outcome = Outcome(
            status, spent, heard.parameters, heard.metrics, heard.curves, run.paths,
            notes=tuple(run.notes),
        )  # fmt: skip
        write_ended(own, origin, outcome)


class _Beginnings:
    """Writes that a run began, once it has lasted a while: by one thread, which ends when there is nothing to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # also held while one is written: its end comes after its beginning
        self._waiting: dict[str, tuple[float, SqlLedger, Origin]] = {}
        self._is_running = False

    def add(self, ledger: SqlLedger, origin: Origin) -> None:
        """This run begins now."""
        with self._lock:
            self._waiting[origin.run] = time.monotonic(), ledger, origin
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="trimtab-track", daemon=True).start()

    def drop(self, origin: Origin) -> None:
        """This run has ended."""
        with self._lock:
            self._waiting.pop(origin.run, None)

    def forget(self) -> None:
        """In a forked child: its parent's runs are not its own, nor does the thread run there."""
        self._lock = threading.Lock()
        self._waiting.clear()
        self._is_running = False

    def _run(self) -> None:
        is_more = True
        while is_more:
            time.sleep(SHORT_SECONDS)
            with self._lock:
                self._is_running = False  # should it end by an error
                self._write_due()
                is_more = self._is_running = bool(self._waiting)

    def _write_due(self) -> None:
        due = [run for run, (began, _, _) in self._waiting.items() if time.monotonic() >= began + SHORT_SECONDS]
        for run in due:
            _, ledger, origin = self._waiting.pop(run)
            with suppress(OutsideError):  # its end will say so
                write_began(ledger, origin)


_beginnings = _Beginnings()
os.register_at_fork(after_in_child=_beginnings.forget)


@functools.cache
def _ledger(folder: str, _: str) -> SqlLedger:
    """Opened once: many small runs write to the same one."""
    return ledger_in(Path(folder))


def _used() -> Spend:
    """Of this process and the children that it has waited for, since they began."""
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spend(
        cpu_seconds=own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime,
        wall_seconds=time.perf_counter(),
        peak_rss_bytes=max(own.ru_maxrss, others.ru_maxrss) * 1024,
        read_bytes=512 * (own.ru_inblock + others.ru_inblock),
        written_bytes=512 * (own.ru_oublock + others.ru_oublock),
    )


def _difference(now: Spend, before: Spend) -> Spend:
    return replace(
        now,
        cpu_seconds=now.cpu_seconds - before.cpu_seconds,
        wall_seconds=now.wall_seconds - before.wall_seconds,
        read_bytes=now.read_bytes - before.read_bytes,
        written_bytes=now.written_bytes - before.written_bytes,
    )
