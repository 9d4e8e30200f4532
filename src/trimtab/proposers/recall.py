"""Past winners: what won before on the same kind of problem is tried first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from trimtab.core.events import Decided
from trimtab.core.model import Brief, Proposal
from trimtab.core.ports import Ledger
from trimtab.core.space import parse

P = TypeVar("P")


class Recall:
    """Proposes, once, the last `most` different winners of a problem that still fit the plan type."""

    def __init__(self, ledger: Ledger, problem: str, *, most: int = 3) -> None:
        self.name = "recall"
        self._ledger, self._problem, self._most, self._is_done = ledger, problem, most, False

    def propose(self, brief: Brief[P]) -> Sequence[Proposal[P]]:
        """Past winners, newest first."""
        if self._is_done:
            return ()
        self._is_done = True
        found: dict[P, Proposal[P]] = {}
        for recorded in reversed(list(self._ledger.events(Decided))):
            past = recorded.event
            if past.problem != self._problem or past.winner is None or len(found) >= self._most:
                continue
            try:
                plan = parse(brief.plan_type, past.winner)
            except ValueError:
                continue  # the space has changed since
            found.setdefault(plan, Proposal(plan, self.name, f"won in {past.decision}"))
        return list(found.values())
