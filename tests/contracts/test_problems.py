"""Every problem that an area declares keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts.areas import PROBLEMS, capability
from trimtab.testing import check_problem, check_same

RUNS = 100
# Starting a service or timing a forecast costs seconds a run: fewer runs in the suite, all in benchmarks/core/aa.py.
FEWER = {"package": 20, "convert": 20}


@pytest.mark.parametrize("path", PROBLEMS)
def test_a_problem_keeps_its_contract(path: str, tmp_path: Path) -> None:
    check_problem(capability(path), tmp_path)


@pytest.mark.parametrize("path", PROBLEMS)
def test_a_plan_does_not_win_against_itself(path: str, tmp_path: Path) -> None:
    found = capability(path)
    check_same(found.sample, tmp_path, FEWER.get(found.verb, RUNS))
