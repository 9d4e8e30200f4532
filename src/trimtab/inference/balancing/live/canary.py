"""Is a candidate worse? Slots of time, in blocks; in each block the candidate routes one slot, which is drawn by lot.

By requests it could not be told: both arms share the backends, so that a bad candidate slows the incumbent's requests
as well. Within a block the lot makes every place as likely as any other if the candidate is no worse: the rank of its
slot has a known distribution, whatever the traffic does. Bets on it multiply to a test that may be looked at at any
time (a test martingale: Ville's inequality holds its level). Being promoted takes more than not being worse: intervals
of the paired differences must exclude the margins.
"""

from __future__ import annotations

import bisect
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from trimtab.core.statistics import lower_bound
from trimtab.inference.balancing.live.counts import CLIENT_LEFT

LEVEL = 0.05  # chance of rolling back a candidate that is no worse; both measures together
BET = 0.7  # weights of the ranks: i ** -BET
ERROR_MARGIN = 0.005  # of all requests
LEAST_REQUESTS = round(3 / ERROR_MARGIN)  # of the candidate: without one error, the rule of three excludes the margin
LOOKS = 3  # at the margins; the interval is corrected for them
SETTLING = 0.2  # of a slot: not counted, the queues are the other arm's
BROKEN_ERRORS, BROKEN_SHARE = 20, 0.5  # of a slot: no test is needed


@dataclass(frozen=True)
class Pace:
    """How slowly a candidate is let in: seconds in shadow; the share, seconds and blocks of the canary.

    margin: the share of all requests by which more may be slower than the incumbent's 99th percentile.
    """

    shadow_seconds: float = 60.0
    share: float = 0.1
    canary_seconds: float = 300.0
    blocks: int = 20
    margin: float = 0.01


@dataclass
class Slot:
    """A stretch of time and what became of the requests that began in it."""

    is_candidate: bool
    begins: float = 0.0
    ends: float = float("inf")
    arrived: int = 0
    seconds: list[float] = field(default_factory=list)
    errors: int = 0

    @property
    def requests(self) -> int:
        """All of them, answered or not."""
        return max(self.arrived, len(self.seconds))

    def slow(self, threshold: float) -> float:
        """The share that took longer, failed or never ended."""
        good = bisect.bisect_right(sorted(self.seconds), threshold)
        return 1.0 - good / self.requests

    @property
    def failed(self) -> float:
        """The share that was answered by an error."""
        return self.errors / self.requests


class Canary:
    """The evidence for and against a candidate. `threshold`: seconds, the incumbent's 99th percentile."""

    def __init__(self, threshold: float, pace: Pace, seed: int) -> None:
        self.threshold, self.blocks, self._margin = threshold, pace.blocks, pace.margin
        self.slots_a_block = max(2, round(1 / pace.share))
        self._random = random.Random(seed)
        self._slots: list[Slot] = []
        self._slow: list[float] = []  # by block: the incumbent's share less the candidate's
        self._failed: list[float] = []
        self._wealth = [1.0, 1.0]
        self._tried = 0  # the candidate's requests
        self._is_broken = False

    def block(self) -> list[bool]:
        """Which slot of the next block is the candidate's."""
        chosen = self._random.randrange(self.slots_a_block)
        return [place == chosen for place in range(self.slots_a_block)]

    def open(self, slot: Slot) -> None:
        """Requests that begin from now on are the slot's."""
        slot.begins = time.monotonic()
        self._slots.append(slot)
        del self._slots[: -4 * self.slots_a_block]

    def heard(self, status: int, seconds: float) -> None:
        """A request was answered: it counts for the slot that it began in. One whose client left never ended."""
        if status == CLIENT_LEFT:
            return
        began = time.monotonic() - seconds
        place = bisect.bisect_right(self._slots, began, key=lambda one: one.begins) - 1
        if place < 0 or began >= self._slots[place].ends:
            return
        slot = self._slots[place]
        slot.errors += status >= 500
        # An error that comes fast is not a fast answer.
        slot.seconds.append(seconds if status < 500 else float("inf"))
        if slot.is_candidate and slot.errors >= BROKEN_ERRORS and slot.errors > BROKEN_SHARE * len(slot.seconds):
            self._is_broken = self._is_broken or self._incumbent_is_well()

    def close(self, slots: Sequence[Slot]) -> None:
        """A block is over, and what was under way has had its time."""
        mine = next(one for one in slots if one.is_candidate)
        others = [one for one in slots if not one.is_candidate and one.requests]
        if not mine.requests or not others:
            return  # no traffic, no evidence
        self._tried += mine.requests
        shares = [(one.slow(self.threshold), one.failed) for one in [mine, *others]]
        for place, kept in enumerate((self._slow, self._failed)):
            values = [one[place] for one in shares]
            self._wealth[place] *= self._bet(values)
            kept.append(sum(values[1:]) / len(others) - values[0])

    @property
    def seen(self) -> int:
        """Blocks with evidence."""
        return len(self._slow)

    @property
    def is_worse(self) -> bool:
        """Whether the candidate is worse, at `LEVEL`, whenever it is asked."""
        return self._is_broken or max(self._wealth) >= len(self._wealth) / LEVEL

    @property
    def is_no_worse(self) -> bool | None:
        """Whether both margins are excluded; None: it is not the time to look; False: it cannot be shown."""
        if self.seen < self.blocks or self.seen % self.blocks:
            return None
        low = [lower_bound(one, tests=LOOKS) for one in (self._slow, self._failed)]
        if low[0] > -self._margin and low[1] > -ERROR_MARGIN and self._tried >= LEAST_REQUESTS:
            return True
        return False if self.seen >= LOOKS * self.blocks else None

    def facts(self) -> dict[str, float]:
        """What the verdict rests on: mean differences, positive where the candidate is worse, and the test."""
        count = max(1, self.seen)
        return {
            "blocks": self.seen,
            "requests": self._tried,
            "threshold_ms": 1000 * self.threshold,
            "slower_share": -sum(self._slow) / count,
            "error_share": -sum(self._failed) / count,
            "evidence": max(self._wealth),
            "needed": len(self._wealth) / LEVEL,
        }

    def _bet(self, values: Sequence[float]) -> float:
        """The gain of a bet that the first value is high among all; 1 in the mean if its place is drawn by lot."""
        count, mine = len(values), values[0]
        above = sum(one > mine for one in values)
        equal = sum(one == mine for one in values)
        if equal == count:
            return 1.0
        rank = above + 1 + self._random.randrange(equal)
        total = sum(place**-BET for place in range(1, count + 1))
        return float(rank**-BET * count / total)

    def _incumbent_is_well(self) -> bool:
        others = [one for one in self._slots if not one.is_candidate and one.seconds]
        answered = sum(len(one.seconds) for one in others)
        return answered > 0 and sum(one.errors for one in others) < 0.05 * answered
