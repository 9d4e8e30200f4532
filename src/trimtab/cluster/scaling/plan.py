"""What `scale` may choose: a kind of policy and its knobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trimtab.adapters.programs import fault
from trimtab.cluster.scaling.programs import FOLLOW
from trimtab.cluster.scaling.simulator import DESIRED
from trimtab.core.space import Choice, Float, Int, Source, When

FORECAST_ONLY = When("kind", "forecast")
FORESEEING = When("kind", "forecast", "program")
REACTIVE = When("kind", "hpa", "keda", "knative")
MOVING = When("kind", "hpa", "keda", "knative", "forecast")
STEADIED = When("kind", "hpa", "keda", "knative", "forecast", "program")


def _fault(source: str) -> str:
    return fault(source, DESIRED)


@dataclass(frozen=True)
class ScalingPlan:
    """A replica policy.

    static: replicas for `headroom` times the highest rate of the history, always. hpa: Kubernetes' target tracking of
    utilisation. keda: the same of requests a replica. knative: concurrency over a stable and a panic window. forecast:
    what the higher of a weekly seasonal quantile and the recent rate needs to keep the promise. program: what the
    text of a policy program says (`simulator.DESIRED`).
    """

    kind: Annotated[str, Choice("static", "hpa", "keda", "knative", "forecast", "program")] = "static"
    headroom: Annotated[float, Float(0.5, 3.0), When("kind", "static")] = 1.2
    target: Annotated[float, Float(0.3, 0.95), REACTIVE] = 0.7
    window_seconds: Annotated[int, Int(15, 600, log=True), MOVING] = 60
    stabilisation_seconds: Annotated[int, Int(15, 1800, log=True), STEADIED] = 300
    panic: Annotated[float, Float(1.1, 4.0), When("kind", "knative")] = 2.0
    quantile: Annotated[float, Choice(0.5, 0.7, 0.8, 0.9, 0.95, 0.99), FORESEEING] = 0.9
    weeks: Annotated[int, Int(1, 6), FORESEEING] = 4
    weight: Annotated[float, Float(0.0, 1.3), FORECAST_ONLY] = 1.0  # of the forecast beside the recent rate
    margin: Annotated[float, Float(0.0, 0.5), FORECAST_ONLY] = 0.1
    trend: Annotated[float, Float(0.0, 3.0), FORECAST_ONLY] = 1.0  # of the last five minutes, carried on
    late_share: Annotated[float, Float(0.0005, 0.05, log=True), FORESEEING] = 0.005  # that replicas are sized for
    program: Annotated[str, Source(fault=_fault, head=DESIRED.head, about=DESIRED.about), When("kind", "program")] = (
        FOLLOW
    )


PEERS: dict[str, ScalingPlan] = {
    "hpa-70": ScalingPlan("hpa"),
    "keda": ScalingPlan("keda", target=0.7, window_seconds=30),
    "knative": ScalingPlan("knative", target=0.7, window_seconds=60, stabilisation_seconds=15),
    "seasonal": ScalingPlan("forecast", quantile=0.95, trend=0.0, margin=0.0, stabilisation_seconds=300),
}
