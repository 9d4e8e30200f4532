"""trimtab: makes machine-learning pipelines cost less, and proves every saving.

The verbs, with the same meaning as on the command line; each takes a pipeline's folder, a table, or a history's file:

    import trimtab
    result = trimtab.tune("examples/flights")
    made, report = trimtab.run("examples/flights")
    result = trimtab.schedule("jobs.csv", "cluster.toml")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from trimtab.faces.python import (
        apply,
        balance,
        check,
        convert,
        defer,
        drift,
        forecast,
        history,
        init,
        pack,
        package,
        retrain,
        revert,
        rightsize,
        run,
        scale,
        schedule,
        show,
        shrink,
        spot,
        tune,
        verify,
    )
    from trimtab.stages.tuner import Tuner
    from trimtab.training.tracking.track import track

__all__ = [
    "Tuner", "apply", "balance", "check", "convert", "defer", "drift", "forecast", "history", "init", "pack", "package",
    "retrain", "revert", "rightsize", "run", "scale", "schedule", "show", "shrink", "spot", "track", "tune", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # Lazily: `import trimtab` must stay as light as `trimtab --help`.
    if name == "track":
        from trimtab.training.tracking.track import track

        return track
    if name == "Tuner":
        from trimtab.stages.tuner import Tuner

        return Tuner
    if name in __all__:
        from trimtab.faces import python

        return getattr(python, name)
    raise AttributeError(f"module 'trimtab' has no attribute {name!r}")
