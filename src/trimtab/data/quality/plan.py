"""What `check` may do to a table: any subset of the actions that its findings suggest."""

from __future__ import annotations

import functools
from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any, Literal

from trimtab.core.space import Subset


@dataclass(frozen=True)
class Action:
    """One repair. drop: leave a column out. void: treat values outside [low, high] as missing."""

    kind: Literal["drop", "void"]
    column: str
    because: str
    low: float | None = None
    high: float | None = None

    @property
    def name(self) -> str:
        """How a plan names it."""
        return f"{self.kind} {self.column}"


@functools.lru_cache(maxsize=64)
def repair_plan(names: tuple[str, ...]) -> Any:
    """The plan type for a table: one knob, the actions to take; none by default."""
    field = ("actions", Annotated[tuple[str, ...], Subset(*names)], ())
    return make_dataclass("RepairPlan", [field], frozen=True, namespace={"__module__": __name__})
