"""Known plans: rules, portfolios, defaults. Each is proposed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from trimtab.core.model import Brief, Proposal
from trimtab.core.ports import Proposer

P = TypeVar("P")


class Rules:
    """Proposes what `plans` makes of the first brief, `batch` at a time, then nothing more."""

    def __init__(self, name: str, plans: Callable[[Brief[Any]], Sequence[Proposal[Any]]], *, batch: int = 4) -> None:
        self.name, self._plans, self._batch = name, plans, batch
        self._left: list[Proposal[Any]] | None = None

    def propose(self, brief: Brief[P]) -> Sequence[Proposal[P]]:
        """The next plans."""
        if self._left is None:
            self._left = list(self._plans(brief))
        now, self._left = self._left[: self._batch], self._left[self._batch :]
        return now


class Derived:
    """Proposes what `plans` makes of every brief: of the plans that were tried, say. The caller drops what is known."""

    def __init__(self, name: str, plans: Callable[[Brief[Any]], Sequence[Proposal[Any]]]) -> None:
        self.name, self._plans = name, plans

    def propose(self, brief: Brief[P]) -> Sequence[Proposal[P]]:
        """All plans that come of the brief."""
        return self._plans(brief)


class Turns:
    """Several proposers, one after the other; one that has nothing now is passed over."""

    def __init__(self, *members: Proposer) -> None:
        self._members = members
        self.name = "turns(" + ", ".join(one.name for one in members) + ")"

    def propose(self, brief: Brief[P]) -> Sequence[Proposal[P]]:
        """The plans of the member whose turn it is by the length of the history, or of the next that has any."""
        first = len(brief.history)
        for turn in range(len(self._members)):
            proposals = self._members[(first + turn) % len(self._members)].propose(brief)
            if proposals:
                return proposals
        return ()
