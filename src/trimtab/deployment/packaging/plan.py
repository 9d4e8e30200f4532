"""What may change: how a model is served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trimtab.core.space import Choice


@dataclass(frozen=True)
class ServicePlan:
    """`form`: the user's pickled model ("current") or the converted one ("chosen").

    `batch_window_ms`: how long single rows wait for others to be predicted with them; 0: not at all.
    """

    form: Annotated[str, Choice("current", "chosen")] = "chosen"
    workers: Annotated[int, Choice(1, 2)] = 1
    threads: Annotated[int, Choice(1, 2)] = 1
    batch_window_ms: Annotated[float, Choice(0.0, 1.0, 2.0, 5.0)] = 0.0


CURRENT = ServicePlan("current")
CHOSEN = ServicePlan()
