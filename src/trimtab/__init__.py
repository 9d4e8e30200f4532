"""trimtab: makes machine-learning pipelines cost less, and proves every saving.

The verbs, with the same meaning as on the command line; each takes the folder of a pipeline or a table:

    import trimtab
    result = trimtab.tune("examples/flights")
    made, report = trimtab.run("examples/flights")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from trimtab.faces.python import (
        apply,
        check,
        convert,
        drift,
        history,
        init,
        package,
        retrain,
        revert,
        run,
        scale,
        show,
        tune,
        verify,
    )

__all__ = [
    "apply", "check", "convert", "drift", "history", "init", "package",
    "retrain", "revert", "run", "scale", "show", "tune", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # Lazily: `import trimtab` must stay as light as `trimtab --help`.
    if name in __all__:
        from trimtab.faces import python

        return getattr(python, name)
    raise AttributeError(f"module 'trimtab' has no attribute {name!r}")
