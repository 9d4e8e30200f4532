"""What may be done to a script: known patches by name, and edits that somebody wrote."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """A passage of the script, as it stands there exactly once, and what takes its place."""

    before: str
    after: str


@dataclass(frozen=True)
class PatchPlan:
    """Patches are made in order, then edits. Nothing at all: the script as it is."""

    patches: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()


CURRENT = PatchPlan()
