"""The Python API: one function a verb."""

from __future__ import annotations

from pathlib import Path

from trimtab import app
from trimtab.core.events import Decided, Event, Recorded
from trimtab.faces.report import write_report
from trimtab.initialise import Guess, write_config
from trimtab.pipeline import StageResult

Where = str | Path


def run(place: Where = ".", *, with_model: bool = True) -> tuple[app.Run, Path]:
    """Run every stage of a pipeline; what has not changed is taken from the ledger. Returns it with its report."""
    made = app.run(Path(place), with_model=with_model)
    return made, write_report(made.workplace, made.results, made.workplace.store / "report.html")


def check(place: Where = ".", *, target: str = "", with_model: bool = True) -> StageResult:
    """Profile a table, find what is wrong or leaking, judge repairs."""
    return app.run_stage("check", Path(place), target=target, with_model=with_model)


def tune(place: Where = ".", *, target: str = "", with_model: bool = True) -> StageResult:
    """Choose the model and its hyper-parameters."""
    return app.run_stage("tune", Path(place), target=target, with_model=with_model)


def convert(place: Where = ".", *, with_model: bool = True) -> StageResult:
    """Choose the form in which the model is served."""
    return app.run_stage("convert", Path(place), with_model=with_model)


def package(place: Where = ".", *, with_model: bool = True) -> StageResult:
    """Write a service around the model, and verify it by running it."""
    return app.run_stage("package", Path(place), with_model=with_model)


def drift(place: Where = ".", *, with_model: bool = True) -> StageResult:
    """Replay production: which columns moved, how good the model really is."""
    return app.run_stage("drift", Path(place), with_model=with_model)


def retrain(place: Where = ".", *, with_model: bool = True) -> StageResult:
    """Choose when to train again."""
    return app.run_stage("retrain", Path(place), with_model=with_model)


def scale(place: Where = ".", *, with_model: bool = True) -> StageResult:
    """Choose the replica policy."""
    return app.run_stage("scale", Path(place), with_model=with_model)


def init(table: Where, target: str, folder: Where = ".", *, force: bool = False) -> tuple[Path, tuple[Guess, ...]]:
    """Write a commented trimtab.toml; returns it with what was guessed."""
    return write_config(Path(table), target, Path(folder), force=force)


def history(folder: Where = ".") -> list[Recorded[Decided]]:
    """All decisions, newest first."""
    return app.history(Path(folder))


def show(decision: str, folder: Where = ".") -> list[Recorded[Event]]:
    """Everything behind one decision, oldest first."""
    return app.trail(Path(folder), decision)


def apply(decision: str, folder: Where = ".") -> tuple[str, Path]:
    """Apply a decision's plan, reversibly; returns the change's id and the file."""
    return app.apply_decision(Path(folder), decision)


def revert(decision: str, folder: Where = ".") -> tuple[str, Path]:
    """Put back what stood before a decision was applied."""
    return app.revert_decision(Path(folder), decision)


def verify(folder: Where = ".") -> tuple[int | None, int, str]:
    """The ledger's first broken position (None: whole), its length and the hash of its head."""
    return app.verify(Path(folder))
