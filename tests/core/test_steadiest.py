"""Among plans that are as good as equal, the steadiest is confirmed."""

from __future__ import annotations

from trimtab.core.model import Comparison, Interval, Proposal, Trial
from trimtab.core.race import _steadiest_first


def trial(name: str, gain: float, models: float) -> Trial[str]:
    verdict = Comparison("better", "", Interval(gain - 10, gain, gain + 10), {"models": models}, {}, "run")
    return Trial(Proposal(name, "test"), verdict)


def test_a_blend_that_ties_with_the_best_goes_first_and_one_that_does_not_stays() -> None:
    best = [trial("single", 20, 1), trial("two", 19, 2), trial("three", 18, 3), trial("four", 15, 4)]
    assert [one.proposal.plan for one in _steadiest_first(best, "models")] == ["three", "single", "two", "four"]
    assert [one.proposal.plan for one in _steadiest_first(best[:1], "models")] == ["single"]
