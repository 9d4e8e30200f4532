"""Blends whose members are chosen one at a time, by what the blend then scores (Caruana et al., ICML 2004).

What members predicted for rows that they were not trained on is known from the search: to add one costs a score.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.adapters.models.boosting import from_raw, to_raw
from trimtab.core.budget import Stopwatch
from trimtab.core.model import Brief, Proposal
from trimtab.training.selection.folded import Folded
from trimtab.training.selection.folds import Places
from trimtab.training.selection.plan import ModelPlan
from trimtab.training.selection.portfolio import BLENDS, LEAST_FITS, Terms, candidates

MOST_PICKS = 8  # with repetition: a member's weight
ENOUGH_ROWS = 3_000  # of each fold, to score a pick on
MOST_SHARE = 0.05  # of what the search has cost: picking is no more than that

Raw = npt.NDArray[np.float64]


@dataclass(eq=False)
class Greedy:
    """Proposes the blend that scores best on the folds, of all plans that were looked at as fully as any."""

    problem: Folded
    terms: Terms
    begun: Callable[[], float]  # CPU seconds since the search began
    _spent: float = field(default=0.0, init=False)
    _seen: frozenset[ModelPlan] = field(default=frozenset(), init=False)
    _raw: dict[tuple[ModelPlan, int], list[Raw]] = field(default_factory=dict, init=False)

    def propose(self, brief: Brief[Any]) -> Sequence[Proposal[ModelPlan]]:
        """One blend, where there are new plans to choose from."""
        costs = {plan: cost for _, cost, plan in candidates(brief, are_mixed=self.terms.are_mixed)}
        if len(costs) < LEAST_FITS or costs.keys() <= self._seen or self._spent > MOST_SHARE * self.begun():
            return ()
        watch = Stopwatch()
        self._seen = frozenset(costs)
        members = self._picked(costs)
        self._spent += watch.read().cpu_seconds
        if len(set(members)) < LEAST_FITS:
            return ()
        first, *others = members
        return [Proposal(replace(first, others=tuple(others)), BLENDS, "members chosen one at a time")]

    def _picked(self, costs: Mapping[ModelPlan, float]) -> list[ModelPlan]:
        """Members, best alone first: however they were picked, the same blend is the same plan."""
        fits = self.problem.fits
        folds = [fold for fold in range(len(fits.folds.search)) if all(fits.knows(one, fold) for one in costs)]
        raw = {one: list(itertools.chain(*(self._scores(one, fold) for fold in folds))) for one in costs}
        parts = list(itertools.chain(*(self._parts(fold) for fold in folds)))
        picks: list[ModelPlan] = []
        best: tuple[float, list[ModelPlan]] = (-np.inf, [])
        total = [np.zeros(1) for _ in parts]
        while len(picks) < MOST_PICKS:
            left = self.terms.affordable - sum(costs[one] for one in set(picks))
            values = {
                one: self._value(parts, total, raw[one], len(picks) + 1)
                for one in costs
                if one in picks or costs[one] <= left
            }
            if not values:
                break
            pick = max(values, key=lambda one: values[one])
            picks.append(pick)
            total = [before + more for before, more in zip(total, raw[pick], strict=True)]
            if values[pick] > best[0]:
                best = values[pick], list(picks)
        return sorted(best[1], key=list(costs).index)

    def _value(self, parts: Sequence[Places], total: Sequence[Raw], added: Sequence[Raw], count: int) -> float:
        task = self.problem.fits.rows.task
        found = [
            self.problem.scoring(part, from_raw((before + more) / count, task))
            for part, before, more in zip(parts, total, added, strict=True)
        ]
        return float(np.mean(found))

    def _scores(self, plan: ModelPlan, fold: int) -> list[Raw]:
        """What a plan says of the rows of each part, before it is squashed."""
        if (plan, fold) not in self._raw:
            fits = self.problem.fits
            scored_on = fits.folds.search[fold][1]
            raw = to_raw(fits.fit(plan, fold).predicted, fits.rows.task)
            self._raw[plan, fold] = [raw[scored_on.searchsorted(part)] for part in self._parts(fold)]
        return self._raw[plan, fold]

    def _parts(self, fold: int) -> Sequence[Places]:
        """As many of a fold's parts as have enough rows in all."""
        parts = self.problem.search_parts[fold]
        sizes = itertools.accumulate(len(one) for one in parts)
        return parts[: 1 + sum(size < ENOUGH_ROWS for size in sizes)]
