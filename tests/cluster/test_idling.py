"""scale to zero: idle and cold are what they say, no rule knows the future, the promise is kept, bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.adapters.programs import compile_program, fault
from trimtab.cluster.idling.calls import gaps_of, read_calls
from trimtab.cluster.idling.plan import LIBRARY, PEERS, IdlingPlan
from trimtab.cluster.idling.policies import keep_alive
from trimtab.cluster.idling.problem import CAPABILITY, Idling, least_hours, library
from trimtab.cluster.idling.simulator import WARM, replay
from trimtab.core.budget import Meter
from trimtab.core.errors import InputError
from trimtab.core.loop import optimize
from trimtab.core.model import Comparison, Sample
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules
from trimtab.stages.idle import idle_file
from trimtab.testing import MemoryLedger


def replayed(gaps: list[float], program: str, load: float = 30.0):
    starts = np.cumsum([0.0, *np.abs(gaps)[:-1]])
    return replay(starts, np.array(gaps), np.zeros(len(gaps), np.int64), load, compile_program(program, WARM))


def test_a_keep_alive_is_idle_until_the_call_or_its_end_and_cold_after_it() -> None:
    made = replayed([100.0, 299.0, 301.0, 5000.0, -1000.0], keep_alive(300))
    assert made[:, 0].tolist() == [100.0, 299.0, 300.0, 300.0, 300.0]  # the last call has not come, and still costs
    assert made[:4, 1].tolist() == [0.0, 0.0, 1.0, 1.0]


def test_what_is_loaded_ahead_of_a_call_costs_its_loading() -> None:
    late = f"{WARM.head}\n    return 1 if idle >= 600 and idle < 1200 else -1\n"
    made = replayed([1000.0, 5.0, 2000.0], late, load=30.0)
    assert made[:, 0].tolist() == [400.0 + 30.0, 0.0, 600.0 + 30.0]
    assert made[:, 1].tolist() == [0.0, 1.0, 1.0]


def test_a_rule_learns_a_rhythm() -> None:
    gaps = [1000.0] * 40
    made = replayed(gaps, PEERS["histogram"].program)
    assert made[-1, 1] == 0.0
    assert made[-1, 0] < 500.0  # unloaded at once, loaded again shortly before
    assert replayed(gaps, keep_alive(600))[-1, 1] == 1.0


@pytest.mark.parametrize("plan", [*PEERS.values(), *LIBRARY.values()])
def test_a_rule_knows_only_gaps_that_have_ended(plan: IdlingPlan) -> None:
    assert fault(plan.program, WARM) == ""
    rng = np.random.default_rng(0)
    gaps = rng.lognormal(5, 2, 300)
    changed = np.concatenate([gaps[:200], gaps[200:] * 9])
    before, after = (replayed(one.tolist(), plan.program) for one in (gaps, changed))
    assert np.array_equal(before[:200], after[:200])


def test_the_rarely_called_learn_from_the_others() -> None:
    rng = np.random.default_rng(1)
    who = rng.integers(0, 200, 2000)
    calls = gaps_of(np.sort(rng.uniform(0, 1e6, 2000)), np.full(2000, 2.0), who, tuple(map(str, range(200))))
    policy = compile_program(LIBRARY["while a call is likely"].program, WARM)
    made = replay(calls.starts, calls.gaps, calls.who, 30.0, policy)
    # A call in 100,000 s each: waiting never pays, and the first hundred idle times have told so.
    assert made[200:, 0].mean() < 30.0


def test_overlapping_calls_are_not_idle_times() -> None:
    calls = gaps_of(np.array([0.0, 5.0, 30.0]), np.array([20.0, 1.0, 1.0]), np.zeros(3, np.int64), ("f",))
    assert calls.gaps.tolist() == [0.0, 10.0, -1.0]
    assert calls.starts.tolist() == [20.0, 20.0, 31.0]


def test_the_loop_finds_fewer_idle_hours_with_no_more_cold_starts(tmp_path: Path) -> None:
    problem = CAPABILITY.sample(tmp_path, 3)
    decision = optimize(
        problem, Portfolio(Rules("library", library)), search=Meter(), check=Meter(), ledger=MemoryLedger()
    )
    assert decision.winner is not None
    verdict = decision.winner.verdict
    assert isinstance(verdict, Comparison)
    assert verdict.metrics["idle_hours"] < 0.8 * verdict.reference["idle_hours"]
    assert verdict.metrics["cold_share"] <= verdict.reference["cold_share"] + problem.slower


def test_foresight_that_loads_nothing_ahead_needs_less_than_any_keep_alive(tmp_path: Path) -> None:
    problem = CAPABILITY.sample(tmp_path, 4)
    rows = problem.rows("holdout")
    for seconds in (60, 300, 1200):
        hours, cold = problem.outcome(IdlingPlan(keep_alive(seconds)), rows)
        assert least_hours(problem, rows, cold) <= hours


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,function\n" + "1,a\n" * 9, "9 calls"),
        ("time,seconds\n" + "1,-2\n" * 300, "negative"),
        ("time,function\n" + "soon,a\n" * 300, "no times"),
        ("time,function\n" + ",a\n" * 300, "missing"),
    ],
)
def test_files_that_make_no_sense_are_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_calls(str(tmp_path / "calls.csv"))


def test_an_unknown_column_of_functions_is_said(tmp_path: Path) -> None:
    source = CAPABILITY.sample(tmp_path, 5).source
    with pytest.raises(InputError, match="no column 'nobody'"):
        Idling(source, "nobody").observe()


def test_the_verb_prints_a_rule_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = CAPABILITY.sample(tmp_path, 6).source
    monkeypatch.chdir(tmp_path)
    result = idle_file(Path(source), budget=1.0)
    assert fault(str(result.facts["program"]), WARM) == ""
    hours: Any = result.facts["idle_hours"]
    assert hours["chosen"] <= hours["current"]
    tables: Any = result.facts["tables"]
    titles = [one["title"] for one in tables]
    assert "The chosen rule when the world differs, unseen half" in titles


def test_a_rule_that_keeps_nothing_can_be_compared(tmp_path: Path) -> None:
    problem = CAPABILITY.sample(tmp_path, 8)
    made = problem.measure(IdlingPlan(f"{WARM.head}\n    return -1\n"), Sample("search", 0))
    assert made.metrics["idle_hours"] > 0
    assert made.metrics["cold_share"] > 0.9
