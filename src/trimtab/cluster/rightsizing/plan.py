"""What `rightsize` may choose: a rule that makes a request of a pod's past, and its knobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trimtab.adapters.programs import fault
from trimtab.cluster.rightsizing.looks import REQUEST
from trimtab.cluster.rightsizing.programs import UNREST
from trimtab.core.space import Choice, Float, Source, When

OURS = When("kind", "learnt", "program")


def _fault(source: str) -> str:
    return fault(source, REQUEST)


@dataclass(frozen=True)
class SizingPlan:
    """A rule for one resource.

    current: what is requested today. krr: a percentile of the past (1: the highest use) and a margin. vpa: the quantile
    of a decaying histogram and a margin. learnt: a level and a margin of signs of unrest, learnt from all pods' pasts
    so that `trust` times the stated risk holds on them (`conformal`). program: what the text of a policy program says
    (`looks.REQUEST`), its room above the peak calibrated in the same way, unless `calibrated` is off.
    """

    kind: Annotated[str, Choice("current", "krr", "vpa", "learnt", "program")] = "current"
    percentile: Annotated[float, Choice(0.9, 0.95, 0.98, 0.99, 1.0), When("kind", "krr")] = 1.0
    quantile: Annotated[float, Choice(0.5, 0.9, 0.95), When("kind", "vpa")] = 0.9
    margin: Annotated[float, Float(0.0, 1.0), When("kind", "krr", "vpa")] = 0.15
    trust: Annotated[float, Float(0.3, 2.0, log=True), OURS] = 1.0
    window: Annotated[float, Choice(0.5, 1.0), OURS] = 1.0  # the newest share of the past, all that is looked at
    calibrated: Annotated[bool, Choice(True, False), When("kind", "program")] = True
    program: Annotated[str, Source(fault=_fault, head=REQUEST.head, about=REQUEST.about), When("kind", "program")] = (
        UNREST
    )


KRR = {"cpu": SizingPlan("krr", percentile=0.95, margin=0.0)}
KRR_MEMORY = SizingPlan("krr")


def peers(resource: str) -> dict[str, SizingPlan]:
    """The rules of the usual tools, as they come: KRR's strategy "simple" and VPA's target and upper bound."""
    return {
        "krr": KRR.get(resource, KRR_MEMORY),
        "vpa": SizingPlan("vpa"),
        "vpa-upper": SizingPlan("vpa", quantile=0.95),
    }
