"""Measures plans on samples: here or through a runner, each (plan, sample) once, every outcome into the ledger."""

from __future__ import annotations

import dataclasses
import math
import traceback
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

from trimtab.core import portable
from trimtab.core.budget import Meter, Stopwatch
from trimtab.core.events import Event, Measured
from trimtab.core.model import Failure, Measurement, Outcome, Sample
from trimtab.core.ports import Ledger, Limits, Problem, Runner
from trimtab.core.wire import digest, dump

P = TypeVar("P")

MOST_OWED_SECONDS = 0.2  # of measuring that a crash may cost: cheap measurements are written with their verdict


class Bench(Generic[P]):
    """Where one study measures. What the ledger already holds of the study is not measured again, but is charged."""

    def __init__(
        self,
        problem: Problem[P],
        study: str,
        ledger: Ledger,
        runner: Runner | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._problem, self._study, self._ledger, self._runner = problem, study, ledger, runner
        self._limits = limits or Limits()
        self._keys: dict[P, str] = {}
        self._past: dict[tuple[str, Sample, str], Outcome] = {
            (one.event.plan_key, one.event.sample, one.event.arm): one.event.outcome
            for one in ledger.events(Measured, study=study)
            if isinstance(one.event.outcome, Measurement)  # a failure may have been the machine's: tried again
        }
        self._known: dict[tuple[str, Sample, str], Outcome] = {}
        self._owed: list[Event] = []
        self._owed_seconds = 0.0

    def key(self, plan: P) -> str:
        """The content key of a plan."""
        if plan not in self._keys:
            self._keys[plan] = digest(plan)
        return self._keys[plan]

    def write(self, *further: Event) -> None:
        """Write what is owed to the ledger, and `further` events with it, at once."""
        events, self._owed, self._owed_seconds = [*self._owed, *further], [], 0.0
        self._ledger.append(*events)

    def measure(self, plan: P, samples: Iterable[Sample], meter: Meter, *, arm: str = "") -> list[Outcome]:
        """The outcome on each sample, up to and including the first failure. New costs go to the meter."""
        outcomes: list[Outcome] = []
        for sample in samples:
            outcomes.append(self._once(plan, sample, meter, arm))
            if isinstance(outcomes[-1], Failure):
                break
        return outcomes

    def measure_pairs(
        self, current: P, plan: P, samples: Sequence[Sample], meter: Meter, *, interleaved: bool, arm: str = ""
    ) -> tuple[list[Outcome], list[Outcome]]:
        """Both plans on the same samples. Interleaved: ABBA, the current plan measured once for each `arm`.

        Without a name for it, the current arm belongs to this pair alone.
        """
        if not interleaved:
            return self.measure(current, samples, meter), self.measure(plan, samples, meter)
        arm = arm or self.key(plan)
        ours: list[Outcome] = []
        theirs: list[Outcome] = []
        for turn, sample in enumerate(samples):
            arms = [(current, arm, ours), (plan, "", theirs)]
            for measured, label, outcomes in arms if turn % 2 == 0 else reversed(arms):
                outcomes.append(self._once(measured, sample, meter, label))
            if isinstance(ours[-1], Failure) or isinstance(theirs[-1], Failure):
                break
        return ours, theirs

    def _once(self, plan: P, sample: Sample, meter: Meter, arm: str) -> Outcome:
        place = (self.key(plan), sample, arm)
        if place in self._known:
            return self._known[place]
        outcome = self._past.get(place)
        if outcome is None:
            outcome = checked(self._run(plan, sample), self._problem)
            self._owed.append(Measured(self._study, dump(plan), place[0], sample, outcome, arm))
            self._owed_seconds += outcome.cost.wall_seconds
            if self._owed_seconds > MOST_OWED_SECONDS:
                self.write()
        meter.charge(outcome.cost)
        self._known[place] = outcome
        return outcome

    def _run(self, plan: P, sample: Sample) -> Outcome:
        if self._runner is None:
            return measure_here(self._problem, plan, sample)
        task = portable.task(self._problem, plan, sample, self._limits)
        (result,) = self._runner.map([task])
        return portable.outcome(result)


def measure_here(problem: Problem[P], plan: P, sample: Sample) -> Outcome:
    """Measure in this process; an exception is a Failure that names its place."""
    watch = Stopwatch()
    try:
        outcome = problem.measure(plan, sample)
    except Exception as error:  # whatever a plan does is an outcome
        place = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"raised {type(error).__name__}: {error} ({place.name}, line {place.lineno})"
        return Failure(reason[:2000], dataclasses.replace(watch.read(), measurements=1))
    own = outcome.cost
    cost = dataclasses.replace(watch.read(), dollars=own.dollars, tokens=own.tokens, measurements=1)
    return dataclasses.replace(outcome, cost=cost)


def checked(outcome: Outcome, problem: Problem[Any]) -> Outcome:
    """A measurement whose needed metrics are missing or not finite is a Failure."""
    if isinstance(outcome, Failure):
        return outcome
    objective = problem.objective
    for name in (objective.metric, *(rail.metric for rail in objective.guardrails)):
        if name not in outcome.metrics:
            return Failure(f"the measurement lacks the metric {name!r}", outcome.cost)
        if not math.isfinite(outcome.metrics[name]):
            return Failure(f"the metric {name!r} is {outcome.metrics[name]}", outcome.cost)
    finite = {name: value for name, value in outcome.metrics.items() if math.isfinite(value)}
    return Measurement(finite, outcome.method, outcome.cost, outcome.notes)
