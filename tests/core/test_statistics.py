"""The statistics of verdicts, against scipy and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from trimtab.core.model import Guardrail, Measurement, Objective
from trimtab.core.statistics import lower_bound, on_scale, paired_gains, paired_interval
from trimtab.core.verifier import compare

GAINS = [0.3, -0.1, 0.4, 0.2, 0.25]


def test_the_interval_is_student_t() -> None:
    found = paired_interval(GAINS)
    low, high = stats.t.interval(0.95, len(GAINS) - 1, loc=np.mean(GAINS), scale=stats.sem(GAINS))
    assert (found.low, found.mid, found.high) == pytest.approx((low, np.mean(GAINS), high))


def test_more_plans_widen_the_interval_by_bonferroni() -> None:
    assert paired_interval(GAINS, tests=5).low == pytest.approx(paired_interval(GAINS, confidence=0.99).low)


def test_one_sample_has_no_interval() -> None:
    assert paired_interval([1.0]).low == -math.inf


def test_ratios_are_told_as_shares_saved() -> None:
    objective = Objective("cost", "min", scale="ratio")
    gains = paired_gains(objective, [10.0, 20.0], [5.0, 10.0])
    assert on_scale(objective, paired_interval(gains)).mid == pytest.approx(0.5)


def test_equal_plans_win_in_at_most_five_of_a_hundred() -> None:
    rng = np.random.default_rng(0)
    objective = Objective("cost", "min")

    def runs(count: int) -> list[Measurement]:
        return [Measurement({"cost": value}, "run") for value in rng.normal(10, 1, count)]

    winners = sum(compare(objective, runs(5), runs(5), split="holdout").ruling == "better" for _ in range(2000))
    assert winners / 2000 < 0.05


def test_the_one_sided_bound_covers_its_share() -> None:
    rng = np.random.default_rng(1)
    covered = sum(lower_bound(list(rng.normal(0, 1, 6))) <= 0 for _ in range(4000))
    assert covered / 4000 == pytest.approx(0.95, abs=0.015)


def test_a_relative_guardrail_needs_its_bound_on_the_holdout_and_its_mean_in_the_search() -> None:
    objective = Objective("cost", "min", (Guardrail("auc", 0.01, "at_least", relative=True),))
    current = [Measurement({"cost": 10.0 + i / 10, "auc": 0.7}, "run") for i in range(5)]
    noisy = [Measurement({"cost": 5.0, "auc": 0.7 + shift}, "run") for shift in (-0.03, 0.02, -0.02, 0.03, -0.01)]
    assert compare(objective, current, noisy, split="search").ruling == "better"
    assert compare(objective, current, noisy, split="holdout").ruling == "unsafe"


def test_equal_to_the_bit_is_non_inferior_by_any_bound() -> None:
    objective = Objective("cost", "min", (Guardrail("auc", 0.0, "at_least", relative=True),))
    current = [Measurement({"cost": 10.0 + i, "auc": 0.7}, "run") for i in range(5)]
    same = [Measurement({"cost": 5.0 + i, "auc": 0.7}, "run") for i in range(5)]
    assert compare(objective, current, same, split="holdout").ruling == "better"


@pytest.mark.parametrize("side", ["at_most", "at_least"])
def test_a_guardrail_by_ratios_is_not_broken_by_gains_that_differ(side: str) -> None:
    """Two threads on a busy host: slow, and each time by another factor."""
    today, version = [5.0, 20.0, 12.0, 6.0, 30.0], [4.5, 7.0, 5.0, 5.5, 6.0]
    if side == "at_least":
        today, version = [1 / one for one in today], [1 / one for one in version]

    def ruling(after: list[float], bound: float, scale: str) -> str:
        rail = Guardrail("wall", bound, side, relative=True, scale=scale)  # type: ignore[arg-type]
        made = [
            [Measurement({"cost": cost, "wall": wall}, "run") for wall in walls]
            for cost, walls in ((2.0, today), (1.0, after))
        ]
        return compare(Objective("cost", "min", (rail,)), *made, split="holdout").ruling

    assert ruling(version, 0.05, "ratio") == "better"
    if side == "at_most":
        assert ruling(version, 0.05 * 5, "difference") == "unsafe"  # though no run was slower
    worse = 1.1 if side == "at_most" else 1 / 1.1
    assert ruling([worse * one for one in today], 0.05, "ratio") == "unsafe"
    assert ruling([worse * one for one in today], 0.11, "ratio") == "better"
