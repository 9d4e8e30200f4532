"""What the loop asks of plug-ins. `trimtab.testing` checks every promise made here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from trimtab.core.events import Event, Recorded
from trimtab.core.model import (
    Brief,
    Evidence,
    Failure,
    Json,
    Ladder,
    Measurement,
    Objective,
    Proposal,
    Sample,
    Spend,
)

P = TypeVar("P")
T = TypeVar("T")
E = TypeVar("E", bound=Event)


class Problem(Protocol[P]):
    """Knows what may change, how a plan is measured, and what must not get worse.

    A problem that is a frozen dataclass of JSON-able fields at an importable path is *portable*: its measurements can
    run in child processes. The same plan on the same sample must mean the same work.
    """

    @property
    def name(self) -> str: ...
    @property
    def goal(self) -> str: ...
    @property
    def plan_type(self) -> type[P]: ...
    @property
    def objective(self) -> Objective: ...
    @property
    def ladder(self) -> Ladder: ...
    def observe(self) -> Evidence: ...
    def baselines(self) -> Mapping[str, P]:
        """Plans that are always in the race; "current" is always one of them."""
        ...

    def measure(self, plan: P, sample: Sample) -> Measurement: ...


class Proposer(Protocol):
    """Has ideas. It may keep state between calls; an empty answer means it has none left."""

    @property
    def name(self) -> str: ...
    def propose(self, brief: Brief[P]) -> Sequence[Proposal[P]]: ...


@runtime_checkable
class Noted(Protocol):
    """A proposer that has something to say about its own work, such as why it fell silent: the decision keeps it."""

    @property
    def notes(self) -> Sequence[str]: ...


class Target(Protocol[P]):
    """A place that a plan is applied to. Writing back what `read` gave undoes a change. `write` is atomic."""

    @property
    def name(self) -> str: ...
    def read(self) -> P: ...
    def write(self, plan: P) -> None: ...


class Ledger(Protocol):
    """Append-only and ordered. One `append` is atomic and durable when it returns."""

    def append(self, *events: Event) -> None: ...
    def events(self, kind: type[E], *, study: str | None = None) -> Iterator[Recorded[E]]:
        """Events of one kind, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one task may use before it is killed. None: no limit of its own."""

    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    memory_bytes: int | None = None
    idle_seconds: float | None = None  # in which it neither computes nor waits for a core


@dataclass(frozen=True, slots=True)
class Task:
    """A call to make elsewhere: `call` is "package.module:function", `arguments` are its JSON keyword arguments."""

    call: str
    arguments: Mapping[str, Json]
    key: str  # idempotency: the same key is the same work
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Returned:
    """What a task's function gave back, as JSON."""

    value: Json


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a task, and what it cost on the meter of whoever ran it."""

    key: str
    outcome: Returned | Failure
    cost: Spend


class Runner(Protocol):
    """Where measurements run. A task that dies, hangs or outgrows its limits is a Failure of that task only."""

    def map(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """One result for each task, in the order of the tasks."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What a language model is asked. `examples`: earlier (user, assistant) turns; `schema`: of the answer."""

    purpose: str  # a short constant name, for the ledger: "column-meaning"
    system: str
    prompt: str
    schema: Mapping[str, Json]
    examples: tuple[tuple[str, str], ...] = ()
    max_tokens: int = 512


@dataclass(frozen=True, slots=True)
class Silence:
    """The model gave no usable answer, and why. The caller goes on without it."""

    reason: str


class LanguageModel(Protocol):
    """Answers with validated values, or not at all. It never raises for what an endpoint does."""

    @property
    def name(self) -> str: ...
    def ask(self, question: Question, read: Callable[[Json], T]) -> T | Silence:
        """`read` turns JSON into a value or raises ValueError, upon which there is one repair turn."""
        ...


@dataclass(frozen=True, slots=True)
class Capability:
    """One line of an area's PROBLEMS: the verb, the problem, and a small real instance for the contract checks.

    `sample(folder, seed)` may write to `folder`; another seed means another draw of whatever is random in it.
    """

    verb: str
    problem: type
    sample: Callable[[Path, int], Problem[Any]]
