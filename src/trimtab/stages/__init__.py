"""The stages of `trimtab run`, in order: each composes one capability from the configuration and what came before."""

from __future__ import annotations

from trimtab.core.errors import InputError
from trimtab.pipeline import Stage
from trimtab.stages import tune

STAGES: tuple[Stage, ...] = (
    Stage("tune", tune.run, ("data", "model", "budget.tune", "budget.measurement_seconds", "budget.memory_gb")),
)


def stages_for(name: str) -> tuple[Stage, ...]:
    """A stage and those before it whose results it needs, in order."""
    named = {stage.name: stage for stage in STAGES}
    if name not in named:
        raise InputError(f"there is no stage {name!r}", hint=f"known are {', '.join(named)}")
    wanted = {name}
    for stage in reversed(STAGES):
        if stage.name in wanted:
            wanted |= set(stage.needs)
    return tuple(stage for stage in STAGES if stage.name in wanted)
