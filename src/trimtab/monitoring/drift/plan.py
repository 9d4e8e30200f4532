"""What a drift detector may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trimtab.core.space import Choice, Float, Int, When


@dataclass(frozen=True)
class DriftPlan:
    """A statistic of each column, and the threshold above which it has moved.

    textbook: the statistic's usual threshold (KS and shares: 5 % for each column; PSI: 0.2). calibrated: what clean
    windows of the user's own data reach with chance `alpha`, for the largest of all columns. `least` keeps what is
    too small to matter quiet.
    """

    statistic: Annotated[str, Choice("distance", "psi", "chi2")] = "distance"
    threshold: Annotated[str, Choice("textbook", "calibrated")] = "textbook"
    alpha: Annotated[float, Float(0.0005, 0.05, log=True), When("threshold", "calibrated")] = 0.005
    least: Annotated[float, Float(0.0, 0.1), When("threshold", "calibrated")] = 0.0
    bins: Annotated[int, Int(8, 64, log=True)] = 32


TEXTBOOK = DriftPlan()
PSI = DriftPlan("psi")
CALIBRATED = DriftPlan("distance", "calibrated")
