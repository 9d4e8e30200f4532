"""tune, on real tables that come with its dependencies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes

from trimtab.adapters.models.artifact import about, load_fitted
from trimtab.adapters.models.metrics import score
from trimtab.adapters.sources.dataset import DataSpec, blocks, load, part
from trimtab.core.budget import Meter
from trimtab.core.errors import InputError
from trimtab.core.loop import optimize
from trimtab.core.model import Brief, Comparison, Refusal, Sample, Spend
from trimtab.core.space import faults, settle
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Derived, Rules
from trimtab.proposers.search import Search
from trimtab.testing import MemoryLedger
from trimtab.training.selection.final import fit_final
from trimtab.training.selection.fitting import chosen, more_rounds
from trimtab.training.selection.measure import look
from trimtab.training.selection.plan import CURRENT, DEFAULT, SEARCHED, ModelPlan
from trimtab.training.selection.portfolio import blends, portfolio
from trimtab.training.selection.problem import CAPABILITY, Selection, selecting

OWN = """
from sklearn.tree import DecisionTreeClassifier
def build_model():
    return DecisionTreeClassifier(max_depth=1)
def build_badly():
    raise MemoryError("too large")
"""

LARGE = """
import numpy
class Lookup:
    def fit(self, frame, y):
        self.table = numpy.zeros(200_000)
        return self
    def predict(self, frame):
        return numpy.zeros(len(frame))
    def predict_proba(self, frame):
        return numpy.full((len(frame), 2), 0.5)
def build_model():
    return Lookup()
"""


def cancer(folder: Path, current: str = "") -> Selection:
    found = load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(found.target))
    columns = {f"c{i}": found.data[order, i] for i in range(30)} | {"benign": found.target[order]}
    pyarrow.parquet.write_table(pa.table(columns), folder / "cancer.parquet")
    (folder / "own.py").write_text(OWN)
    data = DataSpec(str(folder / "cancer.parquet"), "benign", search_share=0.6, holdout_share=0.3)
    return selecting(data, "log_loss", cache=folder / "cache", current=current, folder=folder)


def test_keeps_what_it_fitted_so_that_another_run_fits_nothing(tmp_path: Path) -> None:
    problem = cancer(tmp_path)
    first = [problem.measure(DEFAULT, Sample("search", seed)) for seed in range(problem.blocks)]
    kept = list((tmp_path / "cache" / "fits").iterdir())
    assert len(kept) == 1  # one fit for all blocks
    look.cache_clear()
    again = [problem.measure(DEFAULT, Sample("search", seed)) for seed in range(problem.blocks)]
    assert [one.metrics for one in again] == [one.metrics for one in first]  # times, too: they are those of the fit
    kept[0].write_bytes(b"cut short")
    look.cache_clear()
    assert problem.measure(DEFAULT, Sample("search", 0)).metrics["log_loss"] == first[0].metrics["log_loss"]


def test_searching_never_depends_on_the_holdout(tmp_path: Path) -> None:
    problem = cancer(tmp_path)
    table = pyarrow.parquet.read_table(tmp_path / "cancer.parquet")
    whole = load(problem.data)
    untouched = len(part(whole, problem.data, "search"))
    order = np.random.default_rng(0).permutation(table.num_rows)  # rows without a time are shuffled so
    target = table["benign"].to_numpy().copy()
    target[order[untouched:]] = 1 - target[order[untouched:]]
    changed = tmp_path / "changed.parquet"
    pyarrow.parquet.write_table(table.set_column(30, "benign", pa.array(target)), changed)
    other = replace(problem, data=replace(problem.data, table=str(changed)).stamped())
    for plan in (DEFAULT, ModelPlan(), ModelPlan(family="linear")):
        ours, theirs = (one.measure(plan, Sample("search", 0)).metrics["log_loss"] for one in (problem, other))
        assert ours == theirs
    ours, theirs = (one.measure(DEFAULT, Sample("holdout", 0)).metrics["log_loss"] for one in (problem, other))
    assert ours != theirs


def test_finds_a_better_model_than_a_stump_and_confirms_it(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    problem = replace(cancer(tmp_path, "own.py:build_model"), blocks=8)  # three would leave the interval too wide
    decision = optimize(problem, Rules("portfolio", portfolio), search=Meter(), check=Meter(), ledger=ledger)
    assert decision.winner is not None
    verdict = decision.winner.verdict
    assert isinstance(verdict, Comparison)
    assert verdict.split == "holdout"
    assert verdict.gain.low > 0
    assert "lightgbm-default" in decision.baselines


def test_the_size_of_a_model_with_a_large_array_is_measured(tmp_path: Path) -> None:
    problem = cancer(tmp_path, "own.py:build_model")
    (tmp_path / "own.py").write_text(LARGE)
    metrics = problem.measure(CURRENT, Sample("search", 0)).metrics
    assert 1_600_000 < metrics["model_bytes"] < 1_700_000


def test_a_current_model_that_fails_ends_the_race_with_its_reason(tmp_path: Path) -> None:
    problem = cancer(tmp_path, "own.py:build_badly")
    decision = optimize(problem, Rules("portfolio", portfolio), search=Meter(), check=Meter(), ledger=MemoryLedger())
    assert decision.winner is None
    assert "too large" in decision.stopped


def test_the_current_family_without_a_current_model_is_a_refusal(tmp_path: Path) -> None:
    rules = Rules("odd", lambda brief: [replace_by_current(brief)])
    decision = optimize(cancer(tmp_path), rules, search=Meter(), check=Meter(), ledger=MemoryLedger())
    verdict = decision.trials[0].verdict
    assert isinstance(verdict, Refusal)
    assert "no current model" in verdict.reason


def replace_by_current(brief: Brief[ModelPlan]):  # type: ignore[no-untyped-def]
    from trimtab.core.model import Proposal

    return Proposal(CURRENT, "odd")


def test_the_final_model_is_the_one_that_was_confirmed(tmp_path: Path) -> None:
    problem = cancer(tmp_path)
    plan = ModelPlan(leaves=8)
    confirmed = [problem.measure(plan, Sample("holdout", seed)).metrics["log_loss"] for seed in range(problem.blocks)]
    folder = fit_final(problem.setting, plan, tmp_path / "model")
    rows = part(load(problem.data), problem.data, "holdout")
    predicted = load_fitted(folder).predict_table(rows.table)
    scored = [score("log_loss", rows.y[block], predicted[block]) for block in blocks(len(rows), problem.blocks)]
    assert scored == pytest.approx(confirmed)
    assert about(folder)["plan"]["leaves"] == 8


def test_the_final_model_is_made_when_it_was_not_kept_and_can_learn_from_all_rows(tmp_path: Path) -> None:
    problem = replace(cancer(tmp_path), cache="")
    searched = load_fitted(fit_final(problem.setting, DEFAULT, tmp_path / "a"))
    whole = load_fitted(fit_final(problem.setting, DEFAULT, tmp_path / "b", "all"))
    rows = part(load(problem.data), problem.data, "holdout")
    losses = [score("log_loss", rows.y, one.predict_table(rows.table)) for one in (searched, whole)]
    assert losses[1] < losses[0]  # it has seen these rows


def test_a_quantity_is_learned_by_every_family(tmp_path: Path) -> None:
    found = load_diabetes()
    columns = {f"c{i}": found.data[:, i] for i in range(10)} | {"y": found.target}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "diabetes.parquet")
    problem = selecting(DataSpec(str(tmp_path / "diabetes.parquet"), "y"), "rmse", cache=None)
    spread = load(problem.data).y.std()
    for plan in (DEFAULT, ModelPlan(), ModelPlan(family="linear"), ModelPlan(categories="ranks", max_bin=63)):
        values = [problem.measure(plan, Sample("holdout", seed)).metrics["rmse"] for seed in range(problem.blocks)]
        assert np.mean(values) < spread


def test_a_metric_that_does_not_fit_is_refused_at_once(tmp_path: Path) -> None:
    problem = cancer(tmp_path)
    with pytest.raises(InputError, match="does not fit"):
        selecting(problem.data, "rmse", cache=None)


def test_evidence_fits_a_prompt_however_many_columns_there_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {f"a column with rather a long name, number {i}": rng.random(400) for i in range(500)}
    pyarrow.parquet.write_table(pa.table({**columns, "y": rng.random(400) > 0.5}), tmp_path / "wide.parquet")
    seen = selecting(DataSpec(str(tmp_path / "wide.parquet"), "y"), "auc", cache=None).observe()
    assert len(json.dumps(seen.facts)) <= 8192
    assert seen.facts["columns_left_out"] == 440


def test_a_cheap_look_keeps_a_tail_that_is_large_enough_to_stop_by() -> None:
    places, tail = chosen(100_000, 0.1)
    assert tail == 3_000
    assert len(places) == 9_000 + 3_000
    assert (np.diff(places) > 0).all()
    assert chosen(500, 1.0)[1] == 0


def test_every_start_lies_in_the_space(tmp_path: Path) -> None:
    problem = CAPABILITY.sample(tmp_path, 0)
    brief = Brief(
        problem.goal, problem.plan_type, DEFAULT, problem.objective, problem.observe(), (), Spend(cpu_seconds=1.0)
    )
    assert [faults(one.plan) for one in portfolio(brief)] == [[]] * len(portfolio(brief))


def test_classical_search_looks_at_boosting_only_and_learns_from_the_starts(tmp_path: Path) -> None:
    problem = CAPABILITY.sample(tmp_path, 0)
    search = Search(seed=0, startup=4, fixed=SEARCHED)
    proposer = Portfolio(Rules("portfolio", portfolio), search=search)
    decision = optimize(problem, proposer, search=Meter(measurements=60), check=Meter(), ledger=MemoryLedger())
    searched = [one.proposal.plan for one in decision.trials if one.proposal.by == "search"]
    assert len(searched) >= 3
    assert {one.family for one in searched} == {"lightgbm"}
    assert len(set(searched)) == len(searched)


def test_the_best_models_are_blended_and_the_blend_is_shipped_as_one_model(tmp_path: Path) -> None:
    problem = cancer(tmp_path)
    proposer = Portfolio(Rules("portfolio", portfolio), derived=Derived("blend", blends))
    ledger = MemoryLedger()
    decision = optimize(problem, proposer, search=Meter(cpu_seconds=60), check=Meter(cpu_seconds=60), ledger=ledger)
    blended = [one for one in decision.trials if one.proposal.by == "blend"]
    assert blended
    plan = blended[-1].proposal.plan
    assert isinstance(blended[-1].verdict, Comparison)
    folder = fit_final(problem.setting, plan, tmp_path / "model")
    fitted = load_fitted(folder)
    found = look(problem.setting, plan, "search", 1.0).rounds
    searched_on, trained_on = (
        len(part(load(problem.setting.data), problem.setting.data, one)) for one in ("train", "search")
    )
    rounds = more_rounds(found, trained_on / searched_on)
    assert len(rounds) == len(plan.members) > 1
    assert sum(rounds) > sum(found)  # more rows are worth more rounds
    assert fitted.predictor.num_trees() == sum(rounds)  # type: ignore[attr-defined]
    held_out = part(load(problem.setting.data), problem.setting.data, "holdout")
    seen = look(problem.setting, plan, "holdout", 1.0)
    assert np.allclose(fitted.predict_table(held_out.table), seen.predicted)


def test_models_of_several_families_are_blended_by_the_mean_of_their_raw_scores(tmp_path: Path) -> None:
    problem = cancer(tmp_path)
    members = ModelPlan(family="linear"), ModelPlan(), DEFAULT
    plan = replace(members[0], others=members[1:])
    folder = fit_final(problem.setting, plan, tmp_path / "model")
    fitted = load_fitted(folder)
    rows = part(load(problem.setting.data), problem.setting.data, "holdout").table
    alone = [load_fitted(fit_final(problem.setting, one, tmp_path / "one")).predict_table(rows) for one in members]
    odds = np.mean([np.log(one / (1 - one)) for one in alone], axis=0)
    assert fitted.predict_table(rows) == pytest.approx(1 / (1 + np.exp(-odds)))
    seen = [look(problem.setting, settle(one), "search", 1.0) for one in (plan, *members)]
    assert seen[0].train_cpu_seconds == sum(one.train_cpu_seconds for one in seen[1:])


def test_the_users_own_model_cannot_be_blended(tmp_path: Path) -> None:
    problem = cancer(tmp_path)
    with pytest.raises(ValueError, match="cannot be blended"):
        fit_final(problem.setting, ModelPlan(family="current", others=(ModelPlan(),)), tmp_path / "model")
