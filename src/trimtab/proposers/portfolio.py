"""Several proposers as one: known plans first, then classical search, with a language model's share capped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from trimtab.core.errors import InputError
from trimtab.core.model import Brief, Comparison, Proposal
from trimtab.core.ports import Noted, Proposer
from trimtab.core.space import settle

P = TypeVar("P")

LANGUAGE_SHARE = 0.3  # of the trials, at most: in the inner loop of a fixed space, search wins
STALE_ANSWERS = 100  # with known plans only, after which a member counts as out of ideas
PATIENCE = 6  # plans of a language model without a gain, in a row, after which it is not asked again


class Portfolio:
    """Asks `first` in order until each is out of ideas, then `search`; `language` is asked between, within its share.

    `derived` makes plans out of those that were tried: it is asked before every new one.

    A member that raises is dropped and the others go on; `notes` says so.
    """

    def __init__(
        self,
        *first: Proposer,
        search: Proposer | None = None,
        language: Proposer | None = None,
        derived: Proposer | None = None,
    ) -> None:
        self._first, self._search, self._language, self._derived = list(first), search, language, derived
        members = [*first, *(one for one in (derived, language, search) if one is not None)]
        self.name = "portfolio(" + ", ".join(one.name for one in members) + ")"
        self._members, self._said = members, list[str]()

    @property
    def notes(self) -> Sequence[str]:
        """What became of members, and what they say themselves."""
        theirs = [note for one in self._members if isinstance(one, Noted) for note in one.notes]
        return [*self._said, *theirs]

    def propose(self, brief: Brief[P]) -> Sequence[Proposal[P]]:
        """The next plans; empty when no member has any."""
        while self._first:
            if proposals := self._new(self._first[0], brief):
                return proposals
            self._first.pop(0)
        if self._derived is not None and (proposals := _unknown(self._ask(self._derived, brief), brief)):
            return proposals
        return self._from_language(brief) or (self._ask(self._search, brief) if self._search is not None else ())

    def _from_language(self, brief: Brief[P]) -> Sequence[Proposal[P]]:
        if self._language is None or (room := self._room(self._language.name, brief)) < 1:
            return ()
        proposals = _unknown(self._ask(self._language, brief), brief)[:room]
        if not proposals:
            self._language = None
        return proposals

    def _new(self, member: Proposer, brief: Brief[P]) -> Sequence[Proposal[P]]:
        """What a member has that was not tried. Known plans alone would end the study: the loop sees nothing new."""
        for _ in range(STALE_ANSWERS):
            proposals = self._ask(member, brief)
            unknown = _unknown(proposals, brief)
            if unknown or not proposals:
                return unknown
        return ()

    def _ask(self, member: Proposer, brief: Brief[P]) -> Sequence[Proposal[P]]:
        try:
            return list(member.propose(brief))
        except InputError:
            raise
        except Exception as error:  # one member's fault must not cost the others their turn
            self._said.append(f"{member.name} was dropped: {type(error).__name__}: {error}")
            if member is self._search:
                self._search = None
            return ()

    def _room(self, name: str, brief: Brief[P]) -> int:
        """How many plans the language model may propose now."""
        mine = [trial for trial in brief.history if trial.proposal.by.startswith(name)]
        best = max((_gain(trial.verdict) for trial in brief.history if trial not in mine), default=0.0)
        if len(mine) >= PATIENCE and all(_gain(trial.verdict) <= max(best, 0.0) for trial in mine[-PATIENCE:]):
            self._said.append(f"{name} was not asked again: {PATIENCE} plans in a row without a gain over the others")
            self._language = None
            return 0
        return math.floor(LANGUAGE_SHARE * max(4, len(brief.history) + 1)) - len(mine)


def _unknown(proposals: Sequence[Proposal[P]], brief: Brief[P]) -> list[Proposal[P]]:
    known = [brief.current, *(trial.proposal.plan for trial in brief.history)]
    new = []
    for proposal in proposals:
        plan = settle(proposal.plan)
        if plan not in known:
            known.append(plan)
            new.append(proposal)
    return new


def _gain(verdict: object) -> float:
    is_safe = isinstance(verdict, Comparison) and verdict.ruling != "unsafe"
    return verdict.gain.mid if is_safe and isinstance(verdict, Comparison) else float("-inf")
