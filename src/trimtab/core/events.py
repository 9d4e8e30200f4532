"""What the ledger holds: typed, append-only events. Fields are JSON values: an event outlives the code it tells of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeAlias, TypeVar

from trimtab.core.model import Json, Outcome, Sample, Spend, Verdict


@dataclass(frozen=True, slots=True)
class StudyOpened:
    """A run of the loop begins. The same study key means the same problem, data, proposer and budget."""

    study: str
    problem: str
    goal: str
    proposer: str
    spec: Mapping[str, Json]  # the problem's fields, objective, ladder and budgets
    evidence: Mapping[str, Json]
    host: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Measured:
    """One plan on one sample; `arm`: of the current plan where it has several, a rival plan's key or a turn of some."""

    study: str
    plan: Json
    plan_key: str
    sample: Sample
    outcome: Outcome
    arm: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A trial's verdict: on the search split while racing, on the holdout when confirmed."""

    study: str
    plan: Json
    plan_key: str
    by: str
    because: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Decided:
    """The end of a study. `winner` is a plan or None; the trail behind it is found by `study`."""

    study: str
    decision: str
    problem: str
    current: Json
    winner: Json
    by: str
    verdict: Verdict | None
    baselines: Mapping[str, Verdict]
    spent: Spend
    stopped: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelCalled:
    """One call of a language model, cached or not."""

    study: str
    model: str
    purpose: str
    prompt_sha256: str
    answer_sha256: str
    tokens_in: int
    tokens_out: int
    seconds: float
    dollars: float
    is_cached: bool
    outcome: str  # "ok", or why there was no usable answer


@dataclass(frozen=True, slots=True)
class ChangeIntended:
    """About to write `after` over `before`; without a ChangeDone behind it, the change is redone or rolled back."""

    change: str
    decision: str
    target: str
    kind: str  # "apply" or "revert"
    before: Json
    after: Json


@dataclass(frozen=True, slots=True)
class ChangeDone:
    """A change took (`is_applied`) or was rolled back."""

    change: str
    decision: str
    target: str
    kind: str
    is_applied: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StageEnded:
    """A stage of a pipeline run ended; `inputs_key` covers all that it depends on, so that a second run can skip it."""

    run: str
    stage: str
    inputs_key: str
    decision: str
    result: Mapping[str, Json]
    spent: Spend
    findings: tuple[Mapping[str, Json], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something that befell a target that runs, such as measurements that stopped."""

    target: str
    what: str
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RolloutMoved:
    """A rollout's step, written before it takes effect; the last one of a target says what is in force.

    step: "shadow", "canary", "full" (of the candidate's program), "back" (of the incumbent's), or "asked back".
    """

    target: str
    rollout: str
    step: str
    incumbent: str
    candidate: str
    because: str
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """A text that many events may name by its hash, such as an environment's list of packages or a diff."""

    sha256: str
    text: str


@dataclass(frozen=True, slots=True)
class RunBegan:
    """A training run is under way; without a RunEnded behind it, its process was killed or lives."""

    run: str
    name: str
    by: str  # "track", "watch", …
    began: str  # ISO 8601, UTC
    command: tuple[str, ...]
    host: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A training run as it was seen. Hashes name `Kept` texts; `code` tells commit, script and diff where known.

    metrics: last values, "nan" where there was none; curves: (step, value); data: SHA-256 by file; labels: (from,
    until, what held it back), in seconds; changes: what was tried while it ran.
    """

    run: str
    name: str
    by: str
    status: str  # "done", "failed", "killed"
    began: str
    command: tuple[str, ...]
    parameters: Mapping[str, Json]
    metrics: Mapping[str, Json]
    curves: Mapping[str, tuple[tuple[int, float], ...]]
    environment: str
    code: Mapping[str, Json]
    data: Mapping[str, str]
    host: Mapping[str, Json]
    spent: Spend
    labels: tuple[tuple[float, float, str], ...] = ()
    changes: tuple[Mapping[str, Json], ...] = ()
    notes: tuple[str, ...] = ()


Event: TypeAlias = (
    StudyOpened | Measured | Judged | Decided | ModelCalled | ChangeIntended | ChangeDone | StageEnded
    | Noticed | RolloutMoved | Kept | RunBegan | RunEnded
)  # fmt: skip
EVENT_TYPES: tuple[type[Event], ...] = (
    StudyOpened, Measured, Judged, Decided, ModelCalled, ChangeIntended, ChangeDone, StageEnded, Noticed, RolloutMoved,
    Kept, RunBegan, RunEnded,
)  # fmt: skip

E = TypeVar("E", covariant=True)


def filed_under(event: Event) -> str:
    """The key that `Ledger.events(..., study=key)` finds an event by: a change's decision, a stage's inputs, a run."""
    match event:
        case RunBegan() | RunEnded():
            return event.run
        case Kept():
            return event.sha256
        case ChangeIntended() | ChangeDone():
            return event.decision
        case StageEnded():
            return event.inputs_key
        case Noticed() | RolloutMoved():
            return event.target
    return event.study


@dataclass(frozen=True, slots=True)
class Recorded(Generic[E]):
    """An event as it stands in the ledger: its place, time and hash (which covers all before it)."""

    position: int
    at: datetime
    sha256: str
    event: E
