"""Several proposers as one: known plans first, then classical search, with a language model's share capped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from trimtab.core.errors import InputError
from trimtab.core.model import Brief, Comparison, Proposal
from trimtab.core.ports import Proposer

P = TypeVar("P")

LANGUAGE_SHARE = 0.3  # of the trials, at most: in the inner loop of a fixed space, search wins
PATIENCE = 6  # plans of a language model without a gain, in a row, after which it is not asked again


class Portfolio:
    """Asks `first` in order until each is out of ideas, then `search`; `language` is asked between, within its share.

    A member that raises is dropped and the others go on; `notes` says so.
    """

    def __init__(self, *first: Proposer, search: Proposer | None = None, language: Proposer | None = None) -> None:
        self._first, self._search, self._language = list(first), search, language
        members = [*first, *(one for one in (language, search) if one is not None)]
        self.name = "portfolio(" + ", ".join(one.name for one in members) + ")"
        self.notes: list[str] = []

    def propose(self, brief: Brief[P]) -> Sequence[Proposal[P]]:
        """The next plans; empty when no member has any."""
        while self._first:
            proposals = self._ask(self._first[0], brief)
            if proposals:
                return proposals
            self._first.pop(0)
        if self._language is not None and self._deserves_a_turn(self._language.name, brief):
            proposals = self._ask(self._language, brief)
            if proposals:
                return proposals
            self._language = None
        return self._ask(self._search, brief) if self._search is not None else ()

    def _ask(self, member: Proposer, brief: Brief[P]) -> Sequence[Proposal[P]]:
        try:
            return list(member.propose(brief))
        except InputError:
            raise
        except Exception as error:  # one member's fault must not cost the others their turn
            self.notes.append(f"{member.name} was dropped: {type(error).__name__}: {error}")
            if member is self._search:
                self._search = None
            return ()

    def _deserves_a_turn(self, name: str, brief: Brief[P]) -> bool:
        mine = [trial for trial in brief.history if trial.proposal.by.startswith(name)]
        if len(mine) >= LANGUAGE_SHARE * max(4, len(brief.history)):
            return False
        best = max((_gain(trial.verdict) for trial in brief.history if trial not in mine), default=0.0)
        fruitless = len(mine) >= PATIENCE and all(_gain(trial.verdict) <= best for trial in mine[-PATIENCE:])
        if fruitless:
            self.notes.append(f"{name} was not asked again: {PATIENCE} plans without a gain over the others")
            self._language = None
        return not fruitless


def _gain(verdict: object) -> float:
    is_safe = isinstance(verdict, Comparison) and verdict.ruling != "unsafe"
    return verdict.gain.mid if is_safe and isinstance(verdict, Comparison) else float("-inf")
