"""What `defer` may choose: a policy program, and for windows the forecast that it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trimtab.adapters.programs import fault
from trimtab.cluster.deferring.forecasts import KINDS
from trimtab.cluster.deferring.policies import AT_ONCE, ON_DEMAND
from trimtab.cluster.deferring.spot import MARKET
from trimtab.cluster.deferring.windows import DEFER
from trimtab.core.space import Choice, Source


def _window_fault(source: str) -> str:
    return fault(source, DEFER)


def _spot_fault(source: str) -> str:
    return fault(source, MARKET)


@dataclass(frozen=True)
class WindowPlan:
    """When work runs that may wait: a program (`windows.DEFER`) and the kind of forecast that it is shown."""

    forecast: Annotated[str, Choice(*KINDS)] = "week"
    program: Annotated[str, Source(fault=_window_fault, head=DEFER.head, about=DEFER.about)] = AT_ONCE


@dataclass(frozen=True)
class SpotPlan:
    """What a job with a deadline runs on: a program (`spot.MARKET`)."""

    program: Annotated[str, Source(fault=_spot_fault, head=MARKET.head, about=MARKET.about)] = ON_DEMAND
