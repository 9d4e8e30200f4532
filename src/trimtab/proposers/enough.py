"""Knows when to stop: the plans that are still to come would gain less than can be told from noise."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import TypeVar

from trimtab.core.model import Brief, Comparison, Proposal, Verdict
from trimtab.core.ports import Noted, Proposer

P = TypeVar("P")

LEAST = 40  # plans, before which nothing is foretold: what is known is tried first, and its order says nothing of steps
WORTH = 0.25  # of a standard error of the best gain: less than this is not searched for


class Enough:
    """Passes on what `inner` proposes until more plans promise next to nothing, or `most` were judged.

    `free`: the names of proposers whose plans cost next to nothing, such as blends of what was tried: however many
    there are, they say nothing of how far the search came.
    """

    def __init__(self, inner: Proposer, *, most: int | None = None, free: Collection[str] = ()) -> None:
        self.name, self._inner, self._most, self._free = f"enough({inner.name})", inner, most, frozenset(free)
        self._said: list[str] = []

    @property
    def notes(self) -> Sequence[str]:
        """Why it stopped, and what the inner proposer says."""
        return [*self._said, *(self._inner.notes if isinstance(self._inner, Noted) else ())]

    def propose(self, brief: Brief[P]) -> Sequence[Proposal[P]]:
        """The inner proposer's plans, or none any more."""
        searched = sum(one.proposal.by not in self._free for one in brief.history)
        if self._most is not None and searched >= self._most:
            return ()
        reason = enough(brief, self._free)
        if reason:
            self._said.append(reason)
            return ()
        proposals = list(self._inner.propose(brief))
        if self._most is None or all(one.by in self._free for one in proposals):
            return proposals
        room = self._most - searched
        paid = itertools.accumulate(one.by not in self._free for one in proposals)
        return [one for one, count in zip(proposals, paid, strict=True) if one.by in self._free or count <= room]


def enough(brief: Brief[P], free: Collection[str] = ()) -> str:
    """Why further search is not worth it, or an empty string.

    The best of n plans grows ever more slowly with n: as many plans again add no more than the later half of them did.
    """
    searched = list(itertools.accumulate(one.proposal.by not in free for one in brief.history))
    half = (searched[-1] if searched else 0) // 2
    if half < LEAST / 2:
        return ""
    full = [_full(one.verdict) for one in brief.history]
    most = max((one.samples for one in full if one is not None), default=0)
    gains = [(place, one.gain) for place, one in zip(searched, full, strict=True) if one and one.samples == most]
    early = [gain.mid for place, gain in gains if place <= half]
    if not early or most < 2:
        return ""
    best = max((gain for _, gain in gains), key=lambda one: one.mid)
    added, noise = best.mid - max(early), best.standard_error
    if added > WORTH * noise:
        return ""
    count = searched[-1] - half
    return f"the last {count} plans added {added:.2g}, as many more promise less: within the noise of {noise:.2g}"


def _full(verdict: Verdict) -> Comparison | None:
    """A safe plan's comparison on all rows."""
    if isinstance(verdict, Comparison) and verdict.fraction == 1.0 and verdict.ruling != "unsafe":
        return verdict
    return None
