"""A replica policy, rolled out: a candidate decides in shadow, then in earnest under the shield; or it goes back.

A share of a replica policy cannot be tried: there is one number. What protects is the shield, which no program can
leave, and the return to the incumbent by itself once more requests are late than was promised.
"""

from __future__ import annotations

from collections import deque

from trimtab.cluster.scaling.controller import Controller
from trimtab.stages.rollout import OPEN, Rollout, onward

WINDOW = 40  # decisions, 15 s apart: ten minutes
LEAST_ANSWERS = 1000  # in the window
LATE_ALLOWED = 0.01


class Replicas:
    """What decides how many replicas there are, and what is on trial. Fed as a controller is."""

    def __init__(self, controller: Controller, rollout: Rollout, shadow_seconds: float) -> None:
        self.controller, self._rollout, self._shadow_seconds = controller, rollout, shadow_seconds
        self._shadow: Controller | None = None
        self._since = 0.0
        self._asked = self._differed = self._surplus = 0
        self._answers, self._late = 0, 0
        self._window: deque[tuple[int, int]] = deque(maxlen=WINDOW)

    def begin(self, text: str) -> None:
        """Put in force what the ledger says, and go on with what was open. Raises ProgramFault."""
        self.controller.swap(text)
        self.controller.swap(self._rollout.in_force(text))
        self.take(text)

    def take(self, text: str) -> None:
        """Try another program, in shadow at first. Raises ProgramFault; nothing changes then."""
        shadow = self.controller.twin(text)
        step = self._rollout.wanted(text)
        if step is None:
            return
        if step.step not in OPEN:
            self._return(step.because)
            return
        if step != self._rollout.last():
            self._rollout.move(step)
        self._shadow, self._since = shadow, 0.0
        self._asked = self._differed = self._surplus = 0

    def heard(self, status: int, seconds: float) -> None:
        """A request was answered."""
        service = self.controller.service
        self._answers += 1
        self._late += status >= 500 or seconds > service.service_seconds + service.allowed_seconds

    def observe(self, now: float, rate: float, busy: float) -> None:
        """One measurement."""
        self.controller.observe(now, rate, busy)
        if self._shadow is not None:
            self._shadow.observe(now, rate, busy)

    def desired(self, now: float, ready: int, coming: int) -> int:
        """How many replicas to have; a candidate in shadow is asked, and not heeded."""
        wanted = self.controller.desired(now, ready, coming)
        if self._shadow is not None:
            other = self._shadow.desired(now, ready, coming)
            self._asked += 1
            self._differed += other != wanted
            self._surplus += other - wanted
        self._window.append((self._answers, self._late))
        self._answers = self._late = 0
        return wanted

    def judge(self, now: float) -> None:
        """Go on, or back, if it is time to."""
        last = self._rollout.last()
        if last is None:
            return
        self._since = self._since or now
        if self._rollout.is_asked_back():
            self._return("by command")
        elif self._shadow is not None and now - self._since >= self._shadow_seconds:
            mean = self._surplus / max(1, self._asked)
            because = f"in {self._differed} of {self._asked} decisions it would have had another number, {mean:+.2f}"
            self._rollout.move(onward(last, "full", because, {"asked": self._asked, "differed": self._differed}))
            self.controller.swap(last.candidate)
            self._shadow = None
            self._window.clear()
        elif last.step == "full" and last.incumbent != last.candidate and self._late_share > LATE_ALLOWED:
            self._return(f"{self._late_share:.2%} of the requests of the last minutes were late")

    @property
    def _late_share(self) -> float:
        answers, late = (sum(one[place] for one in self._window) for place in (0, 1))
        return late / answers if answers >= LEAST_ANSWERS else 0.0

    def _return(self, because: str) -> None:
        last = self._rollout.last()
        assert last is not None
        self._rollout.move(onward(last, "back", because, {"late_share": self._late_share}))
        self.controller.swap(last.incumbent)
        self._shadow = None
        self._window.clear()
