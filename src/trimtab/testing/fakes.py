"""Fakes that keep the real contracts: a ledger and a target in memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Generic, TypeVar

from trimtab.core.events import Event, Recorded, filed_under
from trimtab.core.wire import digest, dump, load

E = TypeVar("E", bound=Event)
P = TypeVar("P")


class MemoryLedger:
    """A ledger that forgets everything with the process. Events go through JSON, as they do in a real one."""

    def __init__(self) -> None:
        self._rows: list[Recorded[Event]] = []

    def append(self, *events: Event) -> None:
        """Append events in order."""
        copies: list[Event] = [load(type(event), dump(event)) for event in events]  # all or none
        for copy in copies:
            before = self._rows[-1].sha256 if self._rows else ""
            sha256 = digest([before, len(self._rows), dump(copy)])
            self._rows.append(Recorded(len(self._rows) + 1, datetime.now(UTC), sha256, copy))

    def events(self, kind: type[E], *, study: str | None = None) -> Iterator[Recorded[E]]:
        """Events of one kind, oldest first."""
        for row in list(self._rows):
            if isinstance(row.event, kind) and study in (None, filed_under(row.event)):
                yield Recorded(row.position, row.at, row.sha256, row.event)


class MemoryTarget(Generic[P]):
    """A target that holds one plan; `refuses` makes it ignore writes, as a broken target does."""

    def __init__(self, plan: P, name: str = "memory", *, refuses: bool = False) -> None:
        self.name, self._plan, self.refuses = name, plan, refuses

    def read(self) -> P:
        """The plan that stands."""
        return self._plan

    def write(self, plan: P) -> None:
        """Put a plan in place."""
        if not self.refuses:
            self._plan = plan
