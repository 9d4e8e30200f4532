"""What scaling to zero may choose: a program that says when an idle replica is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trimtab.adapters.programs import fault
from trimtab.cluster.idling import policies
from trimtab.cluster.idling.simulator import WARM
from trimtab.core.space import Source


def _fault(source: str) -> str:
    return fault(source, WARM)


@dataclass(frozen=True)
class IdlingPlan:
    """The text of a policy program (`simulator.WARM`)."""

    program: Annotated[str, Source(fault=_fault, head=WARM.head, about=WARM.about)] = policies.FIVE_MINUTES


PEERS: dict[str, IdlingPlan] = {
    "keep-alive, 1 minute": IdlingPlan(policies.keep_alive(60)),
    "keep-alive, 10 minutes": IdlingPlan(policies.keep_alive(600)),
    "histogram": IdlingPlan(policies.HISTOGRAM),
}
LIBRARY: dict[str, IdlingPlan] = {name: IdlingPlan(text) for name, text in policies.LIBRARY.items()}
