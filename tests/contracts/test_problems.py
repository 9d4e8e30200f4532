"""Every problem that an area declares keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts.areas import PROBLEMS, capability
from trimtab.testing import check_problem, check_same

RUNS = (100, 5)
# What is timed in real runs costs seconds a run: fewer runs here, all of them in benchmarks/core/aa.py. The winners
# allowed keep the chance that luck alone fails the test below one in a hundred.
FEWER = {"package": (6, 2), "convert": (40, 3), "shrink": (20, 2), "speedup": (6, 2)}


@pytest.mark.parametrize("path", PROBLEMS)
def test_a_problem_keeps_its_contract(path: str, tmp_path: Path) -> None:
    check_problem(capability(path), tmp_path)


@pytest.mark.parametrize("path", PROBLEMS)
def test_a_plan_does_not_win_against_itself(path: str, tmp_path: Path) -> None:
    found = capability(path)
    runs, allowed = FEWER.get(found.verb, RUNS)
    check_same(found.sample, tmp_path, runs, allowed)
