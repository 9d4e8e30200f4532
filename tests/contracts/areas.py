"""What the areas declare: every capability, by its import path."""

from __future__ import annotations

import importlib

from trimtab.core.portable import imported
from trimtab.core.ports import Capability

AREAS = ("data", "training", "inference", "cluster", "deployment", "monitoring")
PROBLEMS: tuple[str, ...] = tuple(
    path for area in AREAS for path in importlib.import_module(f"trimtab.{area}").PROBLEMS
)


def capability(path: str) -> Capability:
    """The capability at an import path."""
    found = imported(path)
    assert isinstance(found, Capability)
    return found
