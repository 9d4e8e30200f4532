"""What `forecast` may choose: a way of forecasting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trimtab.core.space import Choice, Float, Int, When

PROFILED = When("kind", "profile", "boosted")


@dataclass(frozen=True)
class ForecastPlan:
    """A way of forecasting.

    last: the mean of the last hour. day, week: the same time a day or a week before. profile: the mean at that time of
    the last `weeks` weeks (days, before there is a week), moved by a share `level` of how far the last day lay off it.
    boosted: the profile, and what trees fitted to the past make of it.
    """

    kind: Annotated[str, Choice("last", "day", "week", "profile", "boosted")] = "day"
    weeks: Annotated[int, Int(1, 8), PROFILED] = 4
    level: Annotated[float, Float(0.0, 1.0), PROFILED] = 0.5


PEERS = {
    "last hour": ForecastPlan("last"),
    "yesterday": ForecastPlan("day"),
    "last week": ForecastPlan("week"),
    "profile": ForecastPlan("profile"),
}
