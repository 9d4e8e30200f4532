"""Tries another number from one turn to the next, where it cannot be changed within one.

Turns are trainings of a search or a k-fold, with fewer threads; and epochs, with fewer workers of their loader, or with
more batches that each worker reads ahead.
LightGBM fixes some of its threads when a booster is made: changed later, the others still wait for them, and a changed
parameter draws its random numbers anew. Its limit for the whole process, set before a training, leaves a training that
is `deterministic` as it is to the last bit; in others, threads change the order of its sums. Trainings with one number
of threads and the other take turns, compared by the cost of a round.
torch's loaders fix their workers when an epoch begins; their order of rows is drawn by the first process either way.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from trimtab.hooks.threads import HOPELESS, fewer

CHEAPER, NO_SLOWER = 0.85, 1.0  # rounds of different trainings differ: a gain must be larger
FASTER, NO_DEARER = 0.9, 1.05  # where speed is what is wanted
PLAIN = 0.6  # of both costs in the first pair: believed at once, and tried again later
REST = 10  # trainings between two tests, doubled each time that nothing changes
LEAST_SECONDS = 0.05  # of a training: shorter ones say nothing
MOST_SECONDS = 600.0  # that an epoch with fewer workers may take by what is predicted


def cheaper(wall: float, cpu: float) -> bool:
    """Clearly less CPU, and no slower."""
    return wall <= NO_SLOWER and cpu <= CHEAPER


def faster(wall: float, cpu: float) -> bool:
    """Clearly less time, at about the same CPU."""
    return wall <= FASTER and cpu <= NO_DEARER


@dataclass(frozen=True, slots=True)
class Turns:
    """What is tuned: which numbers are worth a try against the user's own, and which ratios of costs are a gain.

    most_seconds: that a first try may take, by what is predicted where everything waits for what is tuned.
    """

    what: str
    choices: Callable[[int], list[int]]
    is_gain: Callable[[float, float], bool] = cheaper
    most_seconds: float = math.inf


def trainings(cores: int) -> Turns:
    """Trainings, each with fewer threads on so many cores."""
    return Turns("threads of a training", lambda own: fewer(own, cores))


def loaders(cores: int) -> Turns:
    """Epochs, each with fewer workers; with none, the first process reads."""
    return Turns("workers of a loader", lambda own: [*fewer(own, cores), 0], most_seconds=MOST_SECONDS)


READ_AHEAD = Turns("batches read ahead", lambda own: [2 * own, 4 * own], faster)
"""Epochs, each with more batches in memory that a worker has read before they are asked for."""


@dataclass(slots=True)
class _Kind:
    """What is known of turns of one kind that the user gave one number."""

    own: int
    kept: int
    candidates: list[int]
    trial: int | None = None  # the number that is being tried
    is_proven: bool = False  # it was better once
    costs: list[tuple[float, float]] = field(default_factory=list)  # wall and CPU a round: kept, trial, kept, trial
    wait: int = 0
    rest: int = REST


class FitTuner:
    """Ask `begin` what number a turn gets, tell `end` how many rounds it made."""

    def __init__(
        self,
        say: Callable[[dict[str, Any]], None],
        turns: Turns,
        wall: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._say, self._turns, self._wall, self._cpu = say, turns, wall, cpu
        self._kinds: dict[tuple[str, int], _Kind] = {}
        self._now: tuple[_Kind, float, float] | None = None
        self._thread = 0

    @property
    def is_testing(self) -> bool:
        """Whether turns are compared now: nothing else should be changed."""
        return any(one.trial is not None for one in self._kinds.values())

    def kept(self, name: str, own: int) -> int:
        """The number of a turn in which something else is tried."""
        kind = self._kinds.get((name, own))
        return own if kind is None else kind.kept

    def begin(self, name: str, own: int) -> int:
        """A turn begins; returns its number."""
        if self._now is not None:  # another one is under way, in another thread: their costs cannot be told apart
            return own
        kind = self._kinds.setdefault((name, own), _Kind(own, own, self._turns.choices(own)))
        if kind.trial is None and kind.wait <= 0:
            if kind.kept != kind.own and not kind.candidates:
                kind.trial, kind.kept, kind.is_proven = kind.kept, kind.own, True  # against the user's own, again
            elif kind.candidates:
                kind.trial, kind.is_proven = kind.candidates.pop(0), False
        kind.wait -= 1
        count = kind.trial if kind.trial is not None and len(kind.costs) % 2 else kind.kept
        self._now, self._thread = (kind, self._wall(), self._cpu()), threading.get_ident()
        return count

    def end(self, rounds: int) -> None:
        """The turn is done."""
        if self._now is None or self._thread != threading.get_ident():
            return
        (kind, wall, cpu), self._now = self._now, None
        took, used = self._wall() - wall, self._cpu() - cpu
        if kind.trial is None or not rounds or took < LEAST_SECONDS:
            return
        kind.costs.append((took / rounds, used / rounds))
        if len(kind.costs) % 2 == 0:
            self._judge(kind)
        elif self._is_too_long(kind, took):
            kind.candidates = []  # fewer workers would take longer still
            self._rest(kind, is_better=False)

    def drop(self) -> None:
        """The turn was broken off: it says nothing."""
        self._now = None

    def _is_too_long(self, kind: _Kind, took: float) -> bool:
        """Whether an epoch with fewer workers could hold the job up, were reading all it does."""
        if kind.trial is None or kind.is_proven or len(kind.costs) > 1:
            return False
        # Without workers, the first process reads, and trains between its reads.
        slower = kind.kept / kind.trial if kind.trial else kind.kept + 1
        return took * slower > self._turns.most_seconds

    def _judge(self, kind: _Kind) -> None:
        pairs = list(zip(kind.costs[::2], kind.costs[1::2], strict=True))
        ratios = [(new[0] / old[0], new[1] / max(old[1], 1e-9)) for old, new in pairs]
        is_plain = len(ratios) == 1 and max(ratios[0]) <= PLAIN
        is_hopeless = ratios[0][0] > HOPELESS
        if len(ratios) < 2 and not (is_plain or is_hopeless):
            return
        is_better = is_plain or all(self._turns.is_gain(*one) for one in ratios)
        before, after = kind.kept, kind.trial
        assert after is not None
        if is_better:
            kind.kept = after
        elif is_hopeless:
            kind.candidates = []  # what lies further off would be slower still
        self._rest(kind, is_better)
        self._say({
            "event": "change", "what": self._turns.what, "from": before, "to": after, "is_kept": is_better,
            "wall_ratios": [round(one[0], 4) for one in ratios], "cpu_ratios": [round(one[1], 4) for one in ratios],
            "seconds": 0.0,
        })  # fmt: skip

    def _rest(self, kind: _Kind, is_better: bool) -> None:
        """The test is over: the next follows at once, or after a while where no number is left to try."""
        kind.rest = REST if is_better else min(1000, 2 * kind.rest)
        kind.trial, kind.costs, kind.wait = None, [], 0 if kind.candidates else kind.rest
        if not kind.candidates and kind.kept == kind.own:
            kind.candidates = self._turns.choices(kind.own)


class EpochTuner:
    """What is tried from one epoch of a loader to the next: its workers, and how far each reads ahead; one of them."""

    def __init__(
        self,
        say: Callable[[dict[str, Any]], None],
        cores: int,
        wall: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] | None = None,
    ) -> None:
        self._workers, self._ahead = (
            FitTuner(say, turns, wall, cpu or whole_cpu) for turns in (loaders(cores), READ_AHEAD)
        )

    @property
    def is_testing(self) -> bool:
        """Whether epochs are compared now."""
        return self._workers.is_testing or self._ahead.is_testing

    def begin(self, kind: str, workers: int, ahead: int, *, is_starved: bool) -> tuple[int, int]:
        """An epoch begins: how many workers it gets, and how many batches each reads ahead.

        kind: of epochs that may be compared; is_starved: the last one of them waited for its batches.
        """
        if self._ahead.is_testing:
            return self._workers.kept(kind, workers), self._ahead.begin(kind, ahead)
        count = self._workers.begin(kind, workers)
        if self._workers.is_testing or not count or not is_starved:
            return count, self._ahead.kept(kind, ahead)
        return count, self._ahead.begin(kind, ahead)

    def end(self, batches: int) -> None:
        """It has given so many batches."""
        self._workers.end(batches)
        self._ahead.end(batches)

    def drop(self) -> None:
        """It was broken off."""
        self._workers.drop()
        self._ahead.drop()


def whole_cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])
