"""Every problem that an area declares keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts.areas import PROBLEMS, capability
from trimtab.testing import check_problem, check_same

# Most measure the same twice, from the same seed: equal plans gain nothing then, and no winner is allowed. So 25 runs
# find a share of one winner in ten as surely as five allowed of a hundred would.
RUNS = (25, 0)
# What is timed differs from run to run, by chance: a few winners are allowed. It costs seconds a run, too; all runs of
# it are in benchmarks/core/aa.py. The winners allowed keep the chance that luck alone fails the test at about one in a
# hundred, at one winner in forty runs: a one-sided bound at 95 %.
FEWER = {"package": (4, 1), "convert": (20, 2), "shrink": (20, 2), "speedup": (6, 2)}


@pytest.mark.parametrize("path", PROBLEMS)
def test_a_problem_keeps_its_contract(path: str, tmp_path: Path) -> None:
    check_problem(capability(path), tmp_path)


@pytest.mark.parametrize("path", PROBLEMS)
def test_a_plan_does_not_win_against_itself(path: str, tmp_path: Path) -> None:
    found = capability(path)
    runs, allowed = FEWER.get(found.verb, RUNS)
    check_same(found.sample, tmp_path, runs, allowed)
