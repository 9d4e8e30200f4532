"""What a retraining policy may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trimtab.core.space import Choice, Float, Int, When

LABELLED = When("kind", "triggered", "ski_rental")


@dataclass(frozen=True)
class RetrainingPlan:
    """When to train again, decided at the start of each window.

    never; every: each `windows` windows; triggered: when the estimated loss has risen by more than `rise` since the
    last training; ski_rental: when the estimated regret since the last training adds up to `factor` trainings' cost
    (Karlin et al. 1988: at factor 1 at most twice the cost of hindsight). The last two buy `labels` a window.
    """

    kind: Annotated[str, Choice("never", "every", "triggered", "ski_rental")] = "never"
    windows: Annotated[int, Int(1, 12), When("kind", "every")] = 1
    rise: Annotated[float, Float(0.001, 0.1, log=True), When("kind", "triggered")] = 0.01
    factor: Annotated[float, Float(0.25, 4.0, log=True), When("kind", "ski_rental")] = 1.0
    labels: Annotated[int, Int(100, 2000, log=True), LABELLED] = 500


NEVER = RetrainingPlan()
ALWAYS = RetrainingPlan("every", windows=1)
TRIGGERED = RetrainingPlan("triggered")
SKI_RENTAL = RetrainingPlan("ski_rental")
