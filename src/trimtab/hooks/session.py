"""What is seen of the trainings in this process: steps, metrics, parameters. Told on as events, not too many."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trimtab.adapters.cgroups import Groups
from trimtab.hooks.fits import EpochTuner, FitTuner, trainings
from trimtab.hooks.priority import Priority, Weight, hurry
from trimtab.hooks.sizes import Batches
from trimtab.hooks.threads import Control, Knob, Tuner, threads

Say = Callable[[dict[str, Any]], None]

PAUSE = 0.25  # seconds between two words about progress
POINTS = 500  # of a curve; then every second one goes, and half as many come
TEXT = 300  # characters of a parameter
NO_LOOP = 0, 0


class Session:
    """Takes what the hooks see. `say` gets the events; with `acts`, threads are tried while it runs.

    priority: what the job may go to where others hold it up.
    """

    def __init__(self, say: Say, *, acts: bool = False, priority: Priority | Weight | None = None) -> None:
        self.say = say
        self._tuner = Tuner(say, threads(cores())) if acts else None
        self._priority = priority if acts else None
        self._hurry = Tuner(say, hurry(self._priority)) if self._priority is not None else None
        self.fits = FitTuner(say, trainings(cores())) if acts else None
        self.epochs = EpochTuner(say, cores()) if acts else None
        self._loops: dict[tuple[int, int], tuple[Batches, Tuner]] = {}  # over `hooks.batches`, by own and most
        self._running = NO_LOOP
        self._lock = threading.Lock()
        self._said, self._done, self._total = 0.0, 0, 0
        self._bar = (0.0, 0.0)
        self._strides: dict[str, tuple[int, int]] = {}  # points seen, and every how many is kept
        self._told: dict[str, Any] = {}
        self._leaders: dict[str, object] = {}
        self._unsaid: dict[str, dict[str, Any]] = {}

    def step(self, control: Control | None = None, *, total: int = 0) -> None:
        """A step of a training is done, of so many in all if that is known."""
        self._done += 1
        self._total = total or self._total
        self._tune(control)
        now = time.monotonic()
        if now - self._said >= PAUSE:
            self._said = now
            self.say({"event": "progress", "at": now, "done": self._done, "total": self._total})
            self._say_rest()

    def _tune(self, control: Control | None) -> None:
        """Threads and priority, one at a time, and neither while a loop's batches are compared."""
        wanted = ((self._tuner, control), (self._hurry, self._priority))
        tried = [(tuner, one) for tuner, one in wanted if tuner is not None and one is not None]
        testing = self._loops[self._running][1] if self._running in self._loops else None
        if testing is None or not testing.is_testing:
            testing = next((tuner for tuner, _ in tried if tuner.is_testing), None)
        for tuner, one in tried:
            is_between = tuner is self._hurry and self._compares_turns()
            if testing not in (None, tuner) or is_between:
                tuner.skip()
                continue
            tuner.step(one)
            testing = tuner if tuner.is_testing else None

    def _compares_turns(self) -> bool:
        return any(one is not None and one.is_testing for one in (self.fits, self.epochs))

    def loop(self, own: int, most: int) -> tuple[Batches, Tuner]:
        """What changes the batch size of loops that begin with this one; loops of other sizes have their own."""
        if (own, most) not in self._loops:
            control = Batches(own, most)
            self._loops[own, most] = control, Tuner(self.say, Knob(control.name, control.choices, control.worth))
        return self._loops[own, most]

    @contextmanager
    def batch(self, own: int, most: int) -> Iterator[int]:
        """Around a batch of a loop over `hooks.batches`: its size. A batch that is broken off does not count."""
        if self._tuner is None:
            yield own
            return
        (control, tuner), outer = self.loop(own, most), self._running
        self._running = own, most
        try:
            yield control.get()
        finally:
            self._running = outer
        if self._tuner.is_testing or (self._hurry is not None and self._hurry.is_testing):
            tuner.skip()
        else:
            tuner.step(control)

    def stepped(self, optimizer: Any) -> None:
        """An optimizer has made a step: its gradients tell what larger batches are worth in the loop that runs."""
        if self._running == NO_LOOP:
            return
        for key, (control, _) in list(self._loops.items()):
            # The running loop has another's, in the next fold or of two; or this one's was another loop's until now.
            if control.optimizer is not None and (control.optimizer is optimizer) != (key == self._running):
                control.release()
                del self._loops[key]
        self.loop(*self._running)[0].stepped(optimizer)

    def close(self) -> None:
        """The process ends: say the last of what was held back."""
        if self._done:
            self.say({"event": "progress", "at": time.monotonic(), "done": self._done, "total": self._total})
        self._say_rest()

    def _say_rest(self) -> None:
        for name in list(self._unsaid):
            self.say(self._unsaid.pop(name))

    def training(self, total: int) -> None:
        """One more training begins, of so many steps: a search makes many."""
        self._total = self._done + total

    def bar(self, done: float, total: float | None) -> None:
        """A progress bar of the script's own stands here: it knows the whole, which steps may not."""
        now = time.monotonic()
        if total and now - self._said >= PAUSE:
            self._said = now
            self.say({"event": "bar", "at": now, "done": done, "total": total})

    def log(self, name: str, value: float, step: int | None = None) -> None:
        """A metric has this value now."""
        number = float(value)
        with self._lock:
            seen, stride = self._strides.get(name, (0, 1))
            if seen and seen % (POINTS * stride) == 0:
                stride *= 2
            self._strides[name] = seen + 1, stride
        event = {"event": "metric", "name": name, "value": number, "step": seen if step is None else step,
                 "is_kept": seen % stride == 0}  # fmt: skip
        if event["is_kept"]:
            self._unsaid.pop(name, None)
            self.say(event)
        else:  # the last of many is said at the end, or with the next word about progress
            self._unsaid[name] = event

    def parameters(self, of: str, values: Mapping[str, Any]) -> None:
        """What a training was given; said again only when it has changed."""
        found = {f"{of}.{name}" if of else name: _plain(value) for name, value in values.items() if value is not None}
        with self._lock:
            news = {name: value for name, value in found.items() if self._told.get(name, self) != value}
            self._told |= news
        if news:
            self.say({"event": "parameters", "values": news})

    def is_leader(self, of: str, one: object) -> bool:
        """Whether this is the first of its kind that was seen, such as the outermost estimator."""
        return self._leaders.setdefault(of, one) == one

    def table(self, rows: int, columns: int) -> None:
        """A model is fitted to so many rows and columns; the largest counts."""
        if rows * columns > self._told.get("rows", 0) * self._told.get("columns", 0):
            self._told |= {"rows": rows, "columns": columns}
            self.say({"event": "parameters", "values": {"rows": rows, "columns": columns}})


def appending(path: str) -> Say:
    """Says events as lines at the end of a file, each written at once."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    owner = os.getpid()

    def say(event: dict[str, Any]) -> None:
        if os.getpid() == owner:  # a forked loader worker is not the training
            os.write(file, json.dumps(event, default=str).encode() + b"\n")

    return say


def cores() -> int:
    """How many cores this process may use, by affinity and quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Groups(os.getpid()).read().cores
    return allowed if quota is None else max(1, min(allowed, round(quota)))


def _plain(value: Any) -> str | int | float | bool:
    if isinstance(value, bool | int | float | str):
        return value if not isinstance(value, str) else value[:TEXT]
    return repr(value)[:TEXT]
