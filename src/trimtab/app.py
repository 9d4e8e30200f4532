"""The composition root: the verbs, as every face calls them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.adapters.ledger import SqlLedger, open_ledger
from trimtab.adapters.targets.folder import Folder
from trimtab.adapters.targets.plan_file import PlanFile
from trimtab.adapters.targets.source_file import SourceFile
from trimtab.config import Config, Data, Model, load_config
from trimtab.core import portable
from trimtab.core.apply import apply, recover, revert
from trimtab.core.errors import InputError
from trimtab.core.events import Decided, Event, Recorded, StageEnded, StudyOpened
from trimtab.core.model import Decision, Proposal, Trial
from trimtab.pipeline import Progress, Results, StageResult, known, run_stages
from trimtab.stages.order import STAGES, shrinking_after, stages_for
from trimtab.workplace import Seen, Workplace, open_workplace


@dataclass(frozen=True)
class Run:
    """What a run left: the results by stage, and the workplace (closed) that they came from."""

    workplace: Workplace
    results: Results


def silent(stage: str, moment: str, result: StageResult | None) -> None:
    """Progress that nobody looks at."""


def run(place: Path, *, progress: Progress = silent, seen: Seen = lambda event: None, with_model: bool = True) -> Run:
    """Run all stages of the pipeline at a folder or file."""
    config, folder = load_config(place)
    with open_workplace(config, folder, seen=seen, with_model=with_model) as workplace:
        return Run(workplace, run_stages(workplace, STAGES, progress))


def run_stage(
    name: str,
    place: Path,
    *,
    target: str = "",
    progress: Progress = silent,
    seen: Seen = lambda event: None,
    with_model: bool = True,
) -> StageResult:
    """Run one stage, and those before it that have not run: of a configured pipeline, or of a table with a target."""
    config, folder = configured(place, target)
    with open_workplace(config, folder, seen=seen, with_model=with_model) as workplace:
        return run_stages(workplace, stages_for(name), progress)[name]


@dataclass(frozen=True)
class Terms:
    """What `shrink` is told beside the configuration; None: as configured, or as `init` would write it."""

    model: str | None = None  # "file.py:function"
    tolerance: float | None = None
    requests: float | None = None  # a month
    budget: float | None = None  # CPU seconds

    def on(self, config: Config) -> Config:
        """The configuration on these terms. Raises InputError."""
        given: dict[str, dict[str, Any]] = {
            "model": {"current": self.model, "tolerance": self.tolerance},
            "traffic": {"requests_per_month": self.requests, "times": None if self.requests is None else ""},
            "budget": {"shrink": self.budget},
        }
        numbers = (self.tolerance, self.requests, self.budget)
        if any(one is not None and not 0 <= one < math.inf for one in numbers) or self.budget == 0:
            raise InputError("--tolerance, --requests and --budget are numbers from 0 on", hint="--requests 2e8")
        changed = {
            section: getattr(config, section).model_copy(update={k: v for k, v in values.items() if v is not None})
            for section, values in given.items()
        }
        return config.model_copy(update=changed)


AS_CONFIGURED = Terms()


def shrink(
    place: Path,
    *,
    target: str = "",
    terms: Terms = AS_CONFIGURED,
    progress: Progress = silent,
    seen: Seen = lambda event: None,
    with_model: bool = True,
) -> StageResult:
    """Look for smaller models: of what `tune` chose, where it has run for the present inputs, or of today's."""
    config, folder = configured(place, target)
    with open_workplace(terms.on(config), folder, seen=seen, with_model=with_model) as workplace:
        before = known(workplace, stages_for("tune"))
        return run_stages(workplace, (*before, shrinking_after(before)), progress)["shrink"]


def configured(place: Path, target: str) -> tuple[Config, Path]:
    """The configuration at a place, or one made for a bare table."""
    if place.is_dir() or place.suffix == ".toml" or not target:
        return load_config(place)
    from trimtab.initialise import guess

    guessed = {one.key: one.value for one in guess(place, target)}
    data = Data(
        table=str(place.resolve()), target=target, time=guessed["data.time"], later=tuple(guessed["data.later"])
    )
    return Config(name=place.stem, data=data, model=Model(metric=guessed["model.metric"])), Path.cwd()


@contextmanager
def ledger_at(place: Path) -> Iterator[SqlLedger]:
    """The ledger of a pipeline's folder. Raises InputError when nothing has run there."""
    import os

    where: str | Path = os.environ.get("TRIMTAB_LEDGER", "") or place / ".trimtab" / "ledger.db"
    if isinstance(where, Path) and not where.exists():
        raise InputError(f"{place} has no ledger", hint="nothing has run there yet: `trimtab run`")
    ledger = open_ledger(where)
    try:
        yield ledger
    finally:
        ledger.close()


def history(place: Path) -> list[Recorded[Decided]]:
    """All decisions of a pipeline, newest first."""
    with ledger_at(place) as ledger:
        return sorted(ledger.events(Decided), key=lambda one: -one.position)


def trail(place: Path, decision: str) -> list[Recorded[Event]]:
    """Everything behind one decision, oldest first. Raises InputError when it is not known or not unique."""
    with ledger_at(place) as ledger:
        found = find_decision(ledger, decision)
        return list(ledger.trail(found.study, found.decision))


def find_decision(ledger: SqlLedger, decision: str) -> Decided:
    """A decision by its id or the start of it."""
    known = {one.event.decision: one.event for one in ledger.events(Decided)}
    matches = [one for name, one in known.items() if name == decision] or [
        one for name, one in known.items() if name.startswith(decision)
    ]
    if len(matches) != 1:
        what = "is not in the ledger" if not matches else f"is the start of {len(matches)} decisions"
        raise InputError(f"{decision!r} {what}", hint="`trimtab history` lists the decisions")
    return matches[0]


def apply_decision(place: Path, decision: str) -> tuple[str, Path]:
    """Put a decision in place, reversibly; returns the change's id and what was changed.

    A model, a form or a service is put in place as a folder (trimtab-applied/model and so on, switched as a whole);
    the plan of any other decision as JSON.
    """
    with ledger_at(place) as ledger:
        found = find_decision(ledger, decision)
        target: Any = target_of(place, found, ledger)
        recover(target, ledger)
        plan: Any = found.winner
        if plan is not None and isinstance(target, SourceFile):
            plan = _version(found, ledger)
        if plan is not None and isinstance(target, Folder):
            plan = target.keep(_made(place, found, ledger))
        winner = None if plan is None else Trial(Proposal(plan, found.by), _verdict(found))
        made: Decision[Any] = Decision(
            found.decision, found.study, found.problem, found.current, winner, (), {}, found.spent, found.stopped
        )
        return apply(made, target, ledger), target.path


def revert_decision(place: Path, decision: str) -> tuple[str, Path]:
    """Put back what stood before a decision was applied; returns the change's id and what was changed."""
    with ledger_at(place) as ledger:
        found = find_decision(ledger, decision)
        target: Any = target_of(place, found, ledger)
        recover(target, ledger)
        return revert(found.decision, target, ledger), target.path


def target_of(place: Path, decision: Decided, ledger: SqlLedger) -> PlanFile | Folder | SourceFile:
    """Where a decision is applied: in trimtab-applied, beside the configuration; a script's in the script."""
    problem = decision.problem
    if problem == "speedup":
        return SourceFile(Path(_problem_of(decision, ledger).script.path))
    applied = place / "trimtab-applied"
    applied.mkdir(exist_ok=True)
    folders = {"tune": "model", "shrink": "model", "convert": "form", "package": "service"}
    return Folder(applied / folders[problem]) if problem in folders else PlanFile(applied / f"{problem}.json")


def _made(place: Path, decision: Decided, ledger: SqlLedger) -> Path:
    """The folder that a stage made for its decision. Raises InputError when it is gone."""
    ended = [one.event for one in ledger.events(StageEnded) if one.event.decision == decision.decision]
    facts: Any = ended[-1].result["facts"] if ended else {}
    named = {
        "tune": facts.get("models", {}).get("chosen"),
        "shrink": facts.get("model"),
        "convert": facts.get("form"),
        "package": facts.get("service"),
    }
    made = named.get(decision.problem)
    folder = place / ".trimtab" / str(made)
    if made is None or not folder.is_dir():
        raise InputError(f"what {decision.decision} made is not there", hint="run the stage again")
    return folder


def _problem_of(decision: Decided, ledger: SqlLedger) -> Any:
    """The problem that a decision was made on, from its study."""
    opened = next(ledger.events(StudyOpened, study=decision.study))
    return portable.rebuilt(opened.event.spec["problem"])


def _version(decision: Decided, ledger: SqlLedger) -> str:
    """The script's text as decided. Raises InputError when the script has changed since."""
    from trimtab.stages.speedup import version_of

    problem = _problem_of(decision, ledger)
    path = Path(problem.script.path)
    chosen = version_of(problem, decision.winner)
    if path.is_file() and path.read_text(encoding="utf-8") not in (problem.original, chosen):
        raise InputError(f"{path} has changed since {decision.decision}", hint="run `trimtab speedup` again")
    return chosen


def verify(place: Path) -> tuple[int | None, int, str]:
    """The first broken position of a ledger (None: whole), its length and the hash of its head."""
    with ledger_at(place) as ledger:
        return ledger.first_broken(), *ledger.head()


def _verdict(found: Decided) -> Any:
    return found.verdict
