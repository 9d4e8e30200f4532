"""retrain: the replay of policies, hindsight, and a decision on rows whose rule turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trimtab.adapters.runners.local import LocalRunner
from trimtab.core.budget import Meter
from trimtab.core.errors import InputError
from trimtab.core.loop import optimize
from trimtab.core.model import Spend
from trimtab.core.ports import Limits
from trimtab.monitoring.retraining.losses import production_windows, train_ahead
from trimtab.monitoring.retraining.plan import ALWAYS, NEVER, SKI_RENTAL, TRIGGERED, RetrainingPlan
from trimtab.monitoring.retraining.problem import CAPABILITY, Retraining, ideas
from trimtab.monitoring.retraining.replay import Costs, Outcome, hindsight, replay
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules
from trimtab.testing import MemoryLedger

COSTS = Costs(training=1.0, label=0.0, loss_window=10.0)
WINDOWS = range(0, 12)


def ageing(rate: float) -> Callable[[int, int], float]:
    return lambda model, window: 0.1 + rate * (window - model)


def outcome(plan: RetrainingPlan, loss: Callable[[int, int], float]) -> Outcome:
    return replay(plan, WINDOWS, loss, lambda model, window, labels: loss(model, window), COSTS)


def test_never_and_every_do_as_they_say() -> None:
    assert outcome(NEVER, ageing(0.1)).trained_before == ()
    assert outcome(ALWAYS, ageing(0.1)).trained_before == tuple(range(1, 12))
    assert outcome(RetrainingPlan("every", windows=4), ageing(0.1)).trained_before == (4, 8)


def test_a_trigger_waits_for_the_loss_to_rise() -> None:
    assert outcome(TRIGGERED, ageing(0.0)).trained_before == ()
    assert outcome(TRIGGERED, ageing(0.02)).trained_before


@pytest.mark.parametrize("rate", [0.0, 0.005, 0.02, 0.1, 0.5])
def test_hindsight_is_never_dearer_than_any_policy(rate: float) -> None:
    best = hindsight(WINDOWS, ageing(rate), COSTS)
    for plan in (NEVER, ALWAYS, TRIGGERED, SKI_RENTAL, RetrainingPlan("every", windows=3)):
        assert best.dollars <= outcome(plan, ageing(rate)).dollars + 1e-9


def test_hindsight_is_exact() -> None:
    rng = np.random.default_rng(0)
    table = rng.random((6, 6))
    windows = range(0, 6)
    best = hindsight(windows, lambda model, window: float(table[model, window]), COSTS)
    costs = []
    for choice in range(2**5):
        model, total = 0, 0.0
        for window in windows:
            if window and choice >> (window - 1) & 1:
                model, total = window, total + COSTS.training
            total += table[model, window] * COSTS.loss_window
        costs.append(total)
    assert best.dollars == pytest.approx(min(costs))


def test_ski_rental_costs_at_most_twice_hindsight_on_regret() -> None:
    for rate in (0.01, 0.03, 0.1):
        extra = outcome(SKI_RENTAL, ageing(rate)).dollars - 12 * 0.1 * COSTS.loss_window
        best = hindsight(WINDOWS, ageing(rate), COSTS).dollars - 12 * 0.1 * COSTS.loss_window
        assert extra <= 2.5 * best + COSTS.training


def test_a_turning_rule_is_followed(tmp_path: Path) -> None:
    problem = CAPABILITY.sample(tmp_path, 0)
    assert isinstance(problem, Retraining)
    decision = optimize(
        problem,
        Portfolio(Rules("ideas", ideas)),
        search=Meter(cpu_seconds=10),
        check=Meter(),
        ledger=MemoryLedger(),
    )
    assert decision.winner is not None
    assert decision.winner.proposal.plan.kind != "never"
    made = problem.outcome(decision.winner.proposal.plan, problem.half("holdout"), None)
    assert made.dollars >= problem.best(problem.half("holdout")).dollars - 1e-9


def test_too_little_production_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    problem = CAPABILITY.sample(tmp_path, 1)
    assert isinstance(problem, Retraining)
    few = replace(problem, production=replace(problem.production, window_days=60))
    with pytest.raises(InputError, match="windows"):
        few.half("search")


def test_models_are_trained_ahead_in_children_once_and_what_cannot_be_trained_is_said(tmp_path: Path) -> None:
    production = CAPABILITY.sample(tmp_path, 0).production
    count = len(production_windows(production))
    with LocalRunner(2) as runner:
        assert train_ahead(production, runner, Limits()).cpu_seconds > 0
        assert len(list(Path(production.cache).rglob(f"{production.key}-*.npz"))) == count
        assert train_ahead(production, runner, Limits()) == Spend()
        broken = replace(production, trainer="json:loads")
        with pytest.raises(InputError, match="cannot be trained before window 0"):
            train_ahead(broken, runner, Limits())
