"""Writes the chosen model as an artifact: in a child process, since a user's own model is code of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trimtab.adapters.models.artifact import save
from trimtab.core.model import Failure, Json
from trimtab.core.ports import Limits, Runner, Task
from trimtab.core.wire import digest, dump, load
from trimtab.training.architecture.plan import ShrinkPlan
from trimtab.training.architecture.students import Setting, grown, student

WRITE = "trimtab.training.architecture.final:write"


def keep(setting: Setting, plan: ShrinkPlan, to: Path, runner: Runner, limits: Limits) -> str:
    """Write the very model that was confirmed on the holdout to a folder; returns why it could not, or nothing."""
    if (to / "model.json").exists():
        return ""
    arguments: dict[str, Json] = {"setting": dump(setting), "plan": dump(plan), "to": str(to)}
    (result,) = runner.map([Task(WRITE, arguments, digest(arguments), limits)])
    return result.outcome.reason if isinstance(result.outcome, Failure) else ""


def write(*, setting: Json, plan: Json, to: str) -> Json:
    """What the child does."""
    place: Setting = load(Setting, setting)
    # From disk, by the user's code as it was imported last: what is pickled must be of the same classes.
    grown.cache_clear()
    made = student(place, load(ShrinkPlan, plan), "holdout")
    about: dict[str, Any] = {
        "plan": plan,
        "metric": place.metric,
        "table": place.data.fingerprint,
        "target": place.data.target,
        "train_cpu_seconds": made.train_cpu_seconds,
    }
    save(Path(to), made.fitted, about)
    return to
