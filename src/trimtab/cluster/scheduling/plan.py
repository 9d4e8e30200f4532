"""What `schedule` may choose: a priority program, what happens behind a job that does not fit, and preemption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trimtab.adapters.programs import fault
from trimtab.cluster.scheduling import policies
from trimtab.cluster.scheduling.priority import PRIORITY
from trimtab.core.space import Choice, Source


def _fault(source: str) -> str:
    return fault(source, PRIORITY)


@dataclass(frozen=True)
class SchedulingPlan:
    """A scheduling policy.

    order: what happens when the first job does not fit: "strict": all wait; "skip": others that fit may pass; "easy":
    others may pass that do not delay it by their predicted durations. preempts: running jobs give way to those that go
    before them. review_seconds: how often priorities are looked at beside a job's coming or going.
    """

    program: Annotated[str, Source(fault=_fault, head=PRIORITY.head, about=PRIORITY.about)] = policies.FIFO
    order: Annotated[str, Choice("strict", "skip", "easy")] = "strict"
    preempts: Annotated[bool, Choice(False, True)] = False
    review_seconds: Annotated[float, Choice(60.0, 300.0, 900.0)] = 300.0


CLASSICAL: dict[str, SchedulingPlan] = {
    "fifo": SchedulingPlan(),
    "easy": SchedulingPlan(order="easy"),
    "skip-fifo": SchedulingPlan(order="skip"),
    "sjf": SchedulingPlan(policies.SJF, "skip"),
    "qssf": SchedulingPlan(policies.QSSF, "skip"),
    "srsf": SchedulingPlan(policies.SRSF, "skip", preempts=True),
    "tiresias-las": SchedulingPlan(policies.LAS, "skip", preempts=True),
    "las": SchedulingPlan(policies.LEAST, "skip", preempts=True),
}
"""By the names that a cluster file may give as today's."""

LIBRARY: dict[str, SchedulingPlan] = {
    "the Gittins index, in no hurry to preempt": SchedulingPlan(policies.GITTINS, "skip", preempts=True),
    "shortest expected remaining service": SchedulingPlan(policies.EXPECTED, "skip", preempts=True),
    "the Gittins index, with ageing": SchedulingPlan(policies.AGED, "skip", preempts=True),
    "the Gittins index, never preempting": SchedulingPlan(policies.GITTINS, "skip"),
    "shortest expected service, never preempting": SchedulingPlan(policies.EXPECTED, "skip"),
    "long jobs kept from the last GPUs": SchedulingPlan(policies.HELD, "skip", review_seconds=60.0),
}
