"""Known plans: rules, portfolios, defaults. Each is proposed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from trimtab.core.model import Brief, Proposal
from trimtab.core.ports import Noted, Proposer
from trimtab.core.space import settle

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


class Before:
    """Asks `eager` before every plan of `inner`, for what has come to be worth a look; what was judged is left out."""

    def __init__(self, eager: Proposer, inner: Proposer) -> None:
        self._eager, self._inner = eager, inner
        self.name = f"before({eager.name}, {inner.name})"

    @property
    def notes(self) -> Sequence[str]:
        """What both say."""
        return [note for one in (self._eager, self._inner) if isinstance(one, Noted) for note in one.notes]

    def propose(self, brief: Brief[P]) -> Sequence[Proposal[P]]:
        """The eager proposer's plans that were not judged yet, or the inner one's."""
        judged = {settle(trial.proposal.plan) for trial in brief.history}
        new = [one for one in self._eager.propose(brief) if settle(one.plan) not in judged]
        return new or self._inner.propose(brief)


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
