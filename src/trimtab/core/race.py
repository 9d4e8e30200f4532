"""Racing: many plans are looked at cheaply, few fully. A plan climbs while it could still win.

Asynchronous successive halving (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning") with the
paired interval as a second way out; baselines always climb.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from trimtab.core.budget import Meter
from trimtab.core.events import Judged
from trimtab.core.model import (
    Comparison,
    Failure,
    Measurement,
    Objective,
    Outcome,
    Proposal,
    Refusal,
    Rung,
    Sample,
    Trial,
    Verdict,
)
from trimtab.core.space import faults, settle
from trimtab.core.studies import Study
from trimtab.core.verifier import can_win, compare
from trimtab.core.wire import dump

P = TypeVar("P")
SHARING = 3  # plans in a row that are compared with one current arm, where they are interleaved: the holdout decides
TIE = 0.25  # of the half-width of an interval of 95 %: half a standard error


@dataclass(frozen=True, slots=True)
class Standing(Generic[P]):
    """How far a plan came."""

    trial: Trial[P]
    rung: int  # the last rung that it was measured on; -1 when refused


class Race(Generic[P]):
    """The trials of one study on the search split."""

    def __init__(self, study: Study[P], meter: Meter) -> None:
        self._study, self._meter = study, meter
        self._objective, self._ladder = study.problem.objective, study.problem.ladder
        self._scores: list[list[float]] = [[] for _ in self._ladder.rungs]
        self._seen = {study.bench.key(study.current)}
        self.standings: list[Standing[P]] = []

    @property
    def trials(self) -> tuple[Trial[P], ...]:
        return tuple(one.trial for one in self.standings)

    def enter_all(self, proposals: Sequence[Proposal[P]]) -> int:
        """Judge proposals until the meter is spent; returns how many were new."""
        new = 0
        for proposal in proposals:
            if self._meter.is_spent:
                break
            new += self.enter(proposal)
        return new

    def enter(self, proposal: Proposal[P], *, is_baseline: bool = False) -> bool:
        """Judge a plan as far up the ladder as it deserves, and as the meter allows; False when it is known already."""
        proposal = Proposal(settle(proposal.plan), proposal.by, proposal.because)
        key = self._study.bench.key(proposal.plan)
        if key in self._seen:
            return False
        self._seen.add(key)
        wrong = faults(proposal.plan)
        verdict, rung = (Refusal("invalid", "; ".join(wrong)), -1) if wrong else self._climb(proposal, is_baseline)
        self.standings.append(Standing(Trial(proposal, verdict), rung))
        judged_now = Judged(self._study.key, dump(proposal.plan), key, proposal.by, proposal.because, verdict)
        self._study.bench.write(judged_now)
        return True

    def finalists(self) -> list[Trial[P]]:
        """The best safe plans of the highest rung reached, at most the ladder's number, best first.

        Where a guardrail has a fixed bound, each finalist after the first keeps a wider distance from it: what only
        just holds on the search split often breaks on the holdout, and its neighbours with it.
        """
        top = max((one.rung for one in self.standings), default=-1)
        ranked = [
            (verdict.gain.mid, -place, one.trial)
            for place, one in enumerate(self.standings)
            if one.rung == top
            and isinstance(verdict := one.trial.verdict, Comparison)
            and can_win(verdict, self._objective)
            and verdict.gain.mid > self._objective.margin
        ]
        best = [trial for *_, trial in sorted(ranked, key=lambda one: one[:2], reverse=True)]
        if self._ladder.steadiest and best:
            best = self._steadiest_first(best, self._ladder.rungs[top], self._ladder.steadiest)
        found: list[Trial[P]] = []
        for number in range(self._ladder.finalists):
            share = 1 - number / self._ladder.finalists
            left = (one for one in best if one not in found)
            found += [one for one in left if _keeps(one.verdict, self._objective, share)][:1]
        return _with_an_outsider(found, best)

    def _steadiest_first(self, best: list[Trial[P]], rung: Rung, metric: str) -> list[Trial[P]]:
        """The same plans; among those that tie with the first, pair by pair, the steadiest goes to the front."""
        samples = [Sample("search", seed, rung.fraction) for seed in range(rung.seeds)]
        known = [measured(self._study.bench.measure(one.proposal.plan, samples, self._meter)) for one in best]
        behind = [compare(self._objective, known[0], one).gain for one in known]
        ties = [place for place, one in enumerate(behind) if one.mid >= -TIE * (one.high - one.low) / 2]

        def steadiness(place: int) -> tuple[float, int]:
            verdict = best[place].verdict
            return (verdict.metrics.get(metric, 0.0) if isinstance(verdict, Comparison) else 0.0), -place

        first = max(ties, key=steadiness)
        return [best[first], *best[:first], *best[first + 1 :]]

    def _climb(self, proposal: Proposal[P], is_baseline: bool) -> tuple[Verdict, int]:
        verdict: Verdict = Refusal("failed", "there are no rungs")
        reached, always = -1, proposal.by in self._ladder.always
        for level, rung in enumerate(self._ladder.rungs):
            verdict = self._judge(proposal.plan, rung)
            if isinstance(verdict, Refusal):
                return verdict, -1
            reached = level
            if self._meter.is_spent or not (always or self._may_climb(verdict, level) or is_baseline):
                break
        return verdict, reached

    def _judge(self, plan: P, rung: Rung) -> Verdict:
        samples = [Sample("search", seed, rung.fraction) for seed in range(rung.seeds)]
        ours, theirs = self._study.bench.measure_pairs(
            self._study.current,
            plan,
            samples,
            self._meter,
            interleaved=self._ladder.interleaved,
            arm=f"turn {len(self.standings) // SHARING}",
        )
        verdict = judged(self._objective, ours, theirs)
        return replace(verdict, fraction=rung.fraction) if isinstance(verdict, Comparison) else verdict

    def _may_climb(self, verdict: Comparison, level: int) -> bool:
        if not can_win(verdict, self._objective):
            return False  # and is no measure for others: what breaks a guardrail often gains most
        scores = self._scores[level]
        scores.append(verdict.gain.mid)
        places = max(self._ladder.least, math.ceil(len(scores) * self._ladder.keep))
        return sum(score > verdict.gain.mid for score in scores) < places


def _with_an_outsider(found: list[Trial[P]], best: list[Trial[P]]) -> list[Trial[P]]:
    """The last of three or more finalists is another proposer's best, where one has them all.

    Plans that were bred from each other share what they owe to the search split; a known rule owes it nothing.
    """
    proposers = {one.proposal.by for one in found}
    if len(found) < 3 or len(proposers) > 1:
        return found
    outsiders = [one for one in best if one.proposal.by not in proposers]
    return [*found[:-1], outsiders[0]] if outsiders else found


def _keeps(verdict: Verdict, objective: Objective, share: float) -> bool:
    """Whether a plan uses at most this share of every fixed upper bound."""
    rails = [rail for rail in objective.guardrails if not rail.relative and rail.side == "at_most" and rail.bound > 0]
    return isinstance(verdict, Comparison) and all(verdict.metrics[one.metric] <= share * one.bound for one in rails)


def judged(objective: Objective, current: list[Outcome], plan: list[Outcome]) -> Verdict:
    """The verdict on outcomes of the search split, whatever became of them."""
    refusal = refused(current, plan)
    return refusal or compare(objective, measured(current), measured(plan))


def refused(current: list[Outcome], plan: list[Outcome]) -> Refusal | None:
    """A Refusal when either side could not be measured."""
    for side, outcomes in (("", plan), ("the current plan: ", current)):
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                return Refusal("failed", side + outcome.reason)
    return None


def measured(outcomes: list[Outcome]) -> list[Measurement]:
    """The measurements among outcomes."""
    return [one for one in outcomes if isinstance(one, Measurement)]
