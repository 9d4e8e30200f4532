"""What `pack` may choose: a program that scores places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trimtab.adapters.programs import fault
from trimtab.cluster.packing import policies
from trimtab.cluster.packing.simulator import FIT
from trimtab.core.space import Source


def _fault(source: str) -> str:
    return fault(source, FIT)


@dataclass(frozen=True)
class PackingPlan:
    """A rule for where a pod goes: the text of a policy program (`simulator.FIT`)."""

    program: Annotated[str, Source(fault=_fault, head=FIT.head, about=FIT.about)] = policies.SPREAD


PEERS: dict[str, PackingPlan] = {
    "first fit": PackingPlan(policies.FIRST),
    "best fit": PackingPlan(policies.BEST),
    "fgd": PackingPlan(policies.FGD),
    "borg-alphaevolve": PackingPlan(policies.BORG),
}
LIBRARY: dict[str, PackingPlan] = {
    "fragmentation, and a price of CPU": PackingPlan(policies.PRICED),
    "fragmentation, a price of CPU, and shares that fit": PackingPlan(policies.FILLED),
    "fragmentation, and CPU in balance with GPUs": PackingPlan(policies.BALANCED),
}
