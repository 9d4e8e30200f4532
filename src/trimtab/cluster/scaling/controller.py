"""Runs a replica policy on live measurements, inside hard limits that no program can leave.

The shield stands outside the program: between `least` and `most`; never fewer than the measured load keeps busy; never
more than twice what there is (and four) at once; down only when nothing more was wanted for a while. When measurements
stop, the last safe number holds for a while, then the most that was needed lately; each time an event says so.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from trimtab.adapters.programs import compile_program
from trimtab.cluster.scaling.measure import needed_rates
from trimtab.cluster.scaling.simulator import DESIRED, RECENT, SIZED, STEP, Service


@dataclass(frozen=True)
class Shield:
    """The limits around a policy. Times in seconds."""

    least: int = 1
    most: int = 100
    stabilisation_seconds: float = 60.0
    stale_seconds: float = 30.0  # without measurements: from then on the last number holds
    hold_seconds: float = 120.0  # and after so long the most that was needed in the last hour


class Controller:
    """Asks a compiled program how many replicas to have. Fed with one measurement each `STEP` seconds.

    Raises ProgramFault for a text that is no program.
    """

    def __init__(self, program: str, service: Service, shield: Shield, *, late_share: float = 0.005) -> None:
        self.service, self.shield = service, shield
        self.events: list[str] = []
        self._starts = DESIRED.starts()
        self._inputs, self._state = np.zeros(DESIRED.width), np.zeros(DESIRED.state)
        capacity = needed_rates(service, late_share)[:SIZED]
        start = self._starts["capacity"]
        self._inputs[start : start + SIZED] = capacity[-1]
        self._inputs[start : start + len(capacity)] = capacity
        self._rates: deque[float] = deque([0.0] * RECENT, maxlen=RECENT)
        self._busy: deque[float] = deque([0.0] * RECENT, maxlen=RECENT)
        self._wanted: deque[tuple[float, int]] = deque()
        self._needed: deque[tuple[float, int]] = deque()
        self._seen_at = -math.inf
        self._last = shield.least
        self._condition = ""
        self.swap(program)

    def swap(self, program: str) -> None:
        """Take another program from the next decision on. Raises ProgramFault; the old one stays then."""
        self._policy = compile_program(program, DESIRED)
        self._state[:] = 0.0

    def observe(self, now: float, rate: float, busy: float) -> None:
        """What was measured over the last `STEP` seconds: requests/s, and requests at the replicas on average."""
        if not (math.isfinite(rate) and math.isfinite(busy)) or rate < 0 or busy < 0:
            return  # no measurement: it counts as missing
        self._rates.appendleft(rate)
        self._busy.appendleft(busy)
        self._seen_at = now

    def desired(self, now: float, ready: int, coming: int, expected: float = -1.0) -> int:
        """How many replicas to have now. `expected`: a forecast rate, -1 for none."""
        total = ready + coming
        age = now - self._seen_at
        if age > self.shield.stale_seconds:
            return self._blind(now, age, total)
        self._say("")
        asked = self._asked(ready, coming, expected)
        needed = math.floor(self._load()) + 1
        self._needed.append((now, max(asked, needed)))
        _forget(self._needed, now - 3600.0)
        bounded = max(asked, needed, self.shield.least)
        bounded = min(bounded, self.shield.most, max(2 * total, total + 4))
        self._wanted.append((now, bounded))
        _forget(self._wanted, now - self.shield.stabilisation_seconds)
        self._last = max(bounded, min(total, max(count for _, count in self._wanted)))
        return self._last

    def twin(self, program: str) -> Controller:
        """Another one that knows what this one has measured, with a program of its own. Raises ProgramFault."""
        made = Controller(program, self.service, self.shield)
        made._inputs[:] = self._inputs
        made._rates.extend(self._rates)
        made._busy.extend(self._busy)
        made._seen_at, made._last = self._seen_at, self._last
        return made

    @property
    def is_blind(self) -> bool:
        """Whether the last decision was made without measurements."""
        return bool(self._condition)

    def _asked(self, ready: int, coming: int, expected: float) -> int:
        for name, series in (("rate", self._rates), ("busy", self._busy)):
            start = self._starts[name]
            self._inputs[start : start + RECENT] = series
        self._inputs[self._starts["expected"]] = expected
        self._inputs[self._starts["ready"]] = ready
        self._inputs[self._starts["coming"]] = coming
        answer = float(self._policy(self._inputs, self._state))
        return ready + coming if answer < 0 else math.ceil(min(answer, 1e9))

    def _load(self) -> float:
        """Replicas that the requests of the last half a minute keep busy."""
        recent = list(self._rates)[: math.ceil(30.0 / STEP)]
        return sum(recent) / len(recent) * self.service.service_seconds

    def _blind(self, now: float, age: float, total: int) -> int:
        if age <= self.shield.stale_seconds + self.shield.hold_seconds:
            self._say("measurements stopped: the last number holds")
            return max(self._last, min(total, self.shield.most))
        self._say("measurements are missing for long: the most of the last hour")
        _forget(self._needed, now - 3600.0 - age)
        most = max((count for _, count in self._needed), default=self._last)
        return min(self.shield.most, max(self.shield.least, most, self._last))

    def _say(self, condition: str) -> None:
        if condition != self._condition:
            self._condition = condition
            self.events.append(condition or "measurements are back")


def _forget(seen: deque[tuple[float, int]], before: float) -> None:
    while seen and seen[0][0] < before:
        seen.popleft()
