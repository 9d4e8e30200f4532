"""The stages of `trimtab run`, in order: what each of them depends on.

A stage is imported when it runs: scikit-learn, LightGBM and numba take seconds, and `history`, a mistyped path and all
that the ledger answers need none of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from trimtab.core.errors import InputError
from trimtab.pipeline import Results, Stage, StageResult
from trimtab.workplace import Workplace


def _later(name: str) -> Callable[[Workplace, Results], StageResult]:
    """What runs a stage: `run` of the module of its name."""

    def run(workplace: Workplace, results: Results) -> StageResult:
        made: StageResult = importlib.import_module(f"trimtab.stages.{name}").run(workplace, results)
        return made

    return run


_LIMITS = ("budget.measurement_seconds", "budget.memory_gb")
# What a better model is worth is part of what tune minimises.
_TUNE_READS = ("data", "model", "production.quality_value", "prices.cpu_hour", "traffic", "budget.tune")

STAGES: tuple[Stage, ...] = (
    Stage("check", _later("check"), ("data", "model.metric", "budget.check", "budget.model_calls", *_LIMITS)),
    Stage("tune", _later("tune"), (*_TUNE_READS, *_LIMITS), ("check",)),
    Stage("convert", _later("convert"), ("model", "budget.convert", *_LIMITS), ("check", "tune")),
    Stage("package", _later("package"), ("serving", "budget.package", *_LIMITS), ("check", "tune", "convert")),
    Stage("drift", _later("drift"), ("production", *_LIMITS), ("check", "tune")),
    Stage("retrain", _later("retrain"), ("production", "prices", "budget.retrain", *_LIMITS), ("check", "tune")),
    Stage("scale", _later("scale"), ("serving", "traffic", "budget.scale", *_LIMITS), ("package",)),
)

_SHRINK_READS = ("data", "model", "production", "prices", "traffic", "budget.shrink", *_LIMITS)


def shrinking_after(known: tuple[Stage, ...]) -> Stage:
    """`shrink`, which `trimtab run` leaves out: after those stages before it that have run, of none it depends."""
    return Stage("shrink", _later("shrink"), _SHRINK_READS, tuple(stage.name for stage in known))


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
