"""Tries another number within a running training, in ABAB blocks, and keeps it only where it is better.

The number is of threads, of examples in a batch (`sizes`), or a niceness (`priority`).

Fewer threads often cost far less CPU at the same speed, where others want the cores, a quota holds the job back, or a
model is small. The user's own setting stays the rival for as long as the job runs: a change that was kept is tried
against it again and again, and goes when it no longer is better.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

WARM_STEPS, WARM_SECONDS = 3, 1.0
CHUNK_SECONDS = 0.02  # steps are timed in chunks of at least so long: clocks cost, too
CHUNKS, BLOCK_SECONDS = 6, 0.4  # in a block, at the least
CHEAPER, NO_SLOWER = 0.97, 1.02  # what a change must bring, and may cost, in both pairs of blocks
CLEAR = 3.0  # standard errors
PLAIN = 0.6  # of both costs in the first pair: believed at once, and tried again later
HOPELESS = 1.3  # slower by so much in the first pair: not tried a second time
REST, LONGEST_REST = 12.0, 600.0  # times as long as a test took; seconds


class Control(Protocol):
    """The number of one training; trainings of one name share what was learnt."""

    name: str

    def get(self) -> int:
        """How many there are."""

    def set(self, count: int) -> None:
        """Have so many from now on."""


def better(wall: float, cpu: float) -> bool:
    """Cheaper and not slower, or faster and not dearer."""
    return (cpu <= CHEAPER and wall <= NO_SLOWER) or (wall <= CHEAPER and cpu <= 1.0)


@dataclass(frozen=True, slots=True)
class Knob:
    """What is tuned: which numbers are worth a try against the user's own, what a step is worth, if not one, and which
    ratios of costs are a gain."""

    what: str
    choices: Callable[[int], list[int]]
    worth: Callable[[], float] = lambda: 1.0
    is_gain: Callable[[float, float], bool] = better


@dataclass(slots=True)
class _Block:
    """Wall and CPU seconds a step, by chunk."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def is_full(self) -> bool:
        return len(self.wall) > CHUNKS and self.seconds >= BLOCK_SECONDS

    def typical(self) -> tuple[float, float]:
        """Medians; the first chunk still ran in the old setting's shadow."""
        return statistics.median(self.wall[1:]), statistics.median(self.cpu[1:])


@dataclass(slots=True)
class _Test:
    """Is `new` better than `old`? In blocks old, new, old, new."""

    old: int
    new: int
    began: float
    blocks: list[_Block] = field(default_factory=lambda: [_Block()])

    def number(self) -> int:
        return self.new if len(self.blocks) % 2 == 0 else self.old

    def is_clear(self) -> bool:
        """Whether what fell, CPU or wall, fell by more than the noise of the chunks explains."""
        olds, news = self.blocks[::2], self.blocks[1::2]
        cpu = [[one for block in side for one in block.cpu[1:]] for side in (news, olds)]
        wall = [[one for block in side for one in block.wall[1:]] for side in (news, olds)]
        return clearly_less(*cpu) or clearly_less(*wall)

    def ratios(self) -> list[tuple[float, float]]:
        """New to old, wall and CPU a step, by pair."""
        typical = [one.typical() for one in self.blocks if one.is_full()]
        pairs = zip(typical[::2], typical[1::2], strict=False)
        return [(new[0] / old[0], new[1] / old[1]) for old, new in pairs]


class Tuner:
    """Call `step` after every step of the training, from the thread that trains."""

    def __init__(
        self,
        say: Callable[[dict[str, Any]], None],
        knob: Knob,
        wall: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._say, self._knob, self._wall, self._cpu = say, knob, wall, cpu
        self._control: Control | None = None
        self._test: _Test | None = None
        self._steps = self._own = self._kept = 0
        self._ready = self._rest = 0.0
        self._mark = 0.0, 0.0, 0
        self._candidates: list[int] = []

    def step(self, control: Control) -> None:
        """Count a step of the training that this control belongs to; perhaps change its threads."""
        now = self._wall()
        if control is not self._control:
            self._start(control, now)
            return
        self._steps += 1
        if now < self._ready or self._steps < WARM_STEPS:
            self._mark = now, self._cpu(), self._steps
            return
        since, cpu, steps = self._mark
        if now - since < CHUNK_SECONDS:
            return
        spent, count = self._cpu() - cpu, self._steps - steps
        self._mark = now, cpu + spent, self._steps
        if self._test is None:
            self._open(now)
        else:
            self._note(self._test, (now - since, spent), count, now)

    @property
    def is_testing(self) -> bool:
        """Whether blocks are compared now: nothing else should be changed."""
        return self._test is not None

    def skip(self) -> None:
        """A step in which something else is tried."""
        self._mark = self._wall(), self._cpu(), self._steps

    def _start(self, control: Control, now: float) -> None:
        own = control.get()
        is_alike = self._control is not None and (self._control.name, self._own) == (control.name, own)
        self._control, self._steps = control, 0
        self._mark = now, self._cpu(), 0
        if is_alike:
            if self._test is not None:  # blocks of two trainings don't compare
                self._candidates = self._knob.choices(self._kept)
            self._set(self._kept)
        else:
            self._own = self._kept = own
            self._ready, self._rest = now + WARM_SECONDS, 0.0
            self._candidates = self._knob.choices(own)
        self._test = None

    def _open(self, now: float) -> None:
        if self._candidates:
            self._test = _Test(self._kept, self._candidates.pop(0), now)
        elif self._kept != self._own:  # is it still better than what the user had?
            self._test = _Test(self._own, self._kept, now)
        else:
            self._candidates = self._knob.choices(self._own)
            self._ready = now + 5.0 if not self._candidates else now
            return
        self._set(self._test.old)

    def _note(self, test: _Test, chunk: tuple[float, float], steps: int, now: float) -> None:
        block, (wall, cpu) = test.blocks[-1], chunk
        done = steps * self._knob.worth()
        block.wall.append(wall / done)
        block.cpu.append(cpu / done)
        block.seconds += wall
        if not block.is_full():
            return
        ratios = test.ratios()
        is_plain = bool(ratios) and max(ratios[0]) <= PLAIN
        if len(test.blocks) < 4 and not (ratios and (ratios[0][0] > HOPELESS or is_plain)):
            test.blocks.append(_Block())
            self._set(test.number())
            return
        self._judge(test, ratios, now)

    def _judge(self, test: _Test, ratios: list[tuple[float, float]], now: float) -> None:
        is_plain = len(ratios) == 1 and max(ratios[0]) <= PLAIN
        is_gain = (len(ratios) == 2 or is_plain) and all(self._knob.is_gain(*one) for one in ratios)
        is_better = is_gain and test.is_clear()
        before, self._kept = self._kept, test.new if is_better else test.old
        self._set(self._kept)
        if self._kept != before and not is_better:  # the change that stood has gone
            self._candidates = []
        elif not is_better and self._candidates and min(one[1] for one in ratios) > 1.0:
            self._candidates = []  # even fewer would cost more still
        if not self._candidates:
            rested = REST * (now - test.began)
            self._rest = rested if self._kept != before else max(rested, 2 * self._rest)
            self._ready = now + min(LONGEST_REST, self._rest)
        self._test = None
        self._say(
            {
                "event": "change",
                "what": self._knob.what,
                "from": test.old,
                "to": test.new,
                "is_kept": is_better,
                "wall_ratios": [round(one[0], 4) for one in ratios],
                "cpu_ratios": [round(one[1], 4) for one in ratios],
                "seconds": round(now - test.began, 3),
            }
        )

    def _set(self, count: int) -> None:
        if self._control is not None:
            self._control.set(count)


def threads(cores: int) -> Knob:
    """Fewer threads, on so many cores."""
    return Knob("threads", lambda own: fewer(own, cores))


def clearly_less(new: list[float], old: list[float]) -> bool:
    """By medians of logarithms, with their standard errors from the median absolute deviation."""
    middles, errors = [], []
    for values in (new, old):
        logs = [math.log(max(one, 1e-12)) for one in values]
        middle = statistics.median(logs)
        middles.append(middle)
        # 1.4826 makes a standard deviation of it, 1.2533 a median's error of a mean's.
        errors.append(1.4826 * 1.2533 * statistics.median(abs(one - middle) for one in logs) / math.sqrt(len(logs)))
    return middles[1] - middles[0] > CLEAR * math.hypot(*errors)


def fewer(own: int, cores: int) -> list[int]:
    """Numbers of threads that are worth a try, most first."""
    found = {min(own, cores), own // 2, own // 4, 1}
    return sorted((one for one in found if 1 <= one < own), reverse=True)
