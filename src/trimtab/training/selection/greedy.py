"""Blends whose members are chosen one at a time, by what the blend then scores (Caruana et al., ICML 2004).

What members predicted for rows that they were not trained on is known from the search: to add one costs a score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.adapters.models.boosting import from_raw, to_raw
from trimtab.core.budget import Stopwatch
from trimtab.core.model import Brief, Proposal
from trimtab.training.selection.fits import Fits
from trimtab.training.selection.folds import Places
from trimtab.training.selection.plan import ModelPlan
from trimtab.training.selection.portfolio import BLENDS, LEAST_FITS, Terms, candidates
from trimtab.training.selection.scoring import Scoring

MOST_PICKS = 8  # with repetition: a member's weight
MOST_ROWS = 3_000  # of each fold, that a pick is scored on
MOST_SHARE = 0.05  # of what the search has cost: picking is no more than that

Raw = npt.NDArray[np.float64]


@dataclass(eq=False)
class Greedy:
    """Proposes the blend that scores best on the folds, of all plans that were looked at on each of them."""

    fits: Fits
    scoring: Scoring
    terms: Terms
    begun: Callable[[], float]  # CPU seconds since the search began

    def __post_init__(self) -> None:
        self._spent = 0.0
        self._raw: dict[ModelPlan, list[Raw]] = {}
        self._known = 0

    def propose(self, brief: Brief[Any]) -> Sequence[Proposal[ModelPlan]]:
        """One blend, where there are new plans to choose from."""
        found = candidates(brief, are_mixed=self.terms.are_mixed)
        if len(found) < max(LEAST_FITS, self._known + 1) or self._spent > MOST_SHARE * self.begun():
            return ()
        self._known = len(found)
        watch = Stopwatch()
        members = self._picked({plan: cost for _, cost, plan in found})
        self._spent += watch.read().cpu_seconds
        if len(set(members)) < LEAST_FITS:
            return ()
        first, *others = members
        return [Proposal(replace(first, others=tuple(others)), BLENDS, "members chosen one at a time")]

    def _picked(self, costs: Mapping[ModelPlan, float]) -> list[ModelPlan]:
        """Members in an order that does not depend on when each was chosen, so that the same blend is the same plan."""
        picks: list[ModelPlan] = []
        best: tuple[float, list[ModelPlan]] = (-np.inf, [])
        total = [np.zeros_like(one) for one in self._scores(next(iter(costs)))]
        while len(picks) < MOST_PICKS:
            left = self.terms.affordable - sum(costs[one] for one in set(picks))
            allowed = [one for one in costs if one in picks or costs[one] <= left]
            if not allowed:
                break
            values = {one: self._value(total, one, len(picks) + 1) for one in allowed}
            pick = max(values, key=lambda one: values[one])
            value = values[pick]
            picks.append(pick)
            total = [sum_ + one for sum_, one in zip(total, self._scores(pick), strict=True)]
            if value > best[0]:
                best = value, list(picks)
        order = list(costs)
        return sorted(best[1], key=order.index)

    def _value(self, total: Sequence[Raw], plan: ModelPlan, count: int) -> float:
        task = self.fits.rows.task
        found = [
            self.scoring(places, from_raw((before + one) / count, task))
            for places, before, one in zip(self._places(), total, self._scores(plan), strict=True)
        ]
        return float(np.mean(found))

    def _scores(self, plan: ModelPlan) -> list[Raw]:
        if plan not in self._raw:
            self._raw[plan] = [
                to_raw(self.fits.fit(plan, fold).predicted[:MOST_ROWS], self.fits.rows.task)
                for fold in range(len(self.fits.folds.search))
            ]
        return self._raw[plan]

    def _places(self) -> list[Places]:
        return [scored_on[:MOST_ROWS] for _, scored_on in self.fits.folds.search]
