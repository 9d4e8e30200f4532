"""The stages of `trimtab run`, in order: what each of them depends on."""

from __future__ import annotations

from trimtab.core.errors import InputError
from trimtab.pipeline import Stage
from trimtab.stages import check, convert, drift, package, retrain, scale, shrink, tune

_LIMITS = ("budget.measurement_seconds", "budget.memory_gb")
# What a better model is worth is part of what tune minimises.
_TUNE_READS = ("data", "model", "production.quality_value", "prices.cpu_hour", "traffic", "budget.tune")

STAGES: tuple[Stage, ...] = (
    Stage("check", check.run, ("data", "model.metric", "budget.check", "budget.model_calls", *_LIMITS)),
    Stage("tune", tune.run, (*_TUNE_READS, *_LIMITS), ("check",)),
    Stage("convert", convert.run, ("model", "budget.convert", *_LIMITS), ("check", "tune")),
    Stage("package", package.run, ("serving", "budget.package", *_LIMITS), ("check", "tune", "convert")),
    Stage("drift", drift.run, ("production", *_LIMITS), ("check", "tune")),
    Stage("retrain", retrain.run, ("production", "prices", "budget.retrain", *_LIMITS), ("check", "tune")),
    Stage("scale", scale.run, ("serving", "traffic", "budget.scale", *_LIMITS), ("package",)),
)

_SHRINK_READS = ("data", "model", "production", "prices", "traffic", "budget.shrink", *_LIMITS)


def shrinking_after(known: tuple[Stage, ...]) -> Stage:
    """`shrink`, which `trimtab run` leaves out: after those stages before it that have run, of none it depends."""
    return Stage("shrink", shrink.run, _SHRINK_READS, tuple(stage.name for stage in known))


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
