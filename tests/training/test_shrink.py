"""shrink, on real tables that come with its dependencies."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import trimtab
from trimtab.adapters.models.artifact import Estimator, Fitted, load_fitted
from trimtab.adapters.models.cutting import cut, rounds_of
from trimtab.adapters.models.dense import fit_linear, fit_network
from trimtab.adapters.models.encoding import Column, Encoding
from trimtab.adapters.models.form import load_form
from trimtab.adapters.sources.dataset import DataSpec
from trimtab.core.budget import Meter
from trimtab.core.errors import InputError
from trimtab.core.loop import optimize
from trimtab.core.model import Comparison, Decision, Refusal, Sample
from trimtab.inference.conversion.forms import write_form
from trimtab.inference.conversion.plan import FormPlan
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Derived, Rules
from trimtab.testing import MemoryLedger
from trimtab.training.architecture.front import front, points
from trimtab.training.architecture.ideas import NAME, first, further
from trimtab.training.architecture.measure import look
from trimtab.training.architecture.plan import CURRENT, ShrinkPlan
from trimtab.training.architecture.problem import Shrink, shrinking
from trimtab.training.architecture.students import grown, student
from trimtab.training.selection.plan import CURRENT as OWN
from trimtab.training.selection.plan import DEFAULT, ModelPlan
from trimtab.training.selection.problem import Worth

FOREST = """
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier
def build_model():
    return RandomForestClassifier(60, random_state=0)
def build_tree():
    return DecisionTreeClassifier(max_depth=3, random_state=0)
"""


def table(folder: Path, found: Any, most: int = 10_000) -> Path:
    """A bundled set as a Parquet file."""
    columns = {f"c{i}": found.data[:most, i] for i in range(found.data.shape[1])}
    to = folder / "table.parquet"
    y = found.target[:most]
    pyarrow.parquet.write_table(pa.table({**columns, "y": [f"d{one}" for one in y] if len(set(y)) == 10 else y}), to)
    return to


def shrink_of(file: Path, metric: str, model: ModelPlan = DEFAULT, current: str = "") -> Shrink:
    spec = DataSpec(str(file), "y", search_share=0.6, holdout_share=0.3)
    problem = shrinking(spec, metric, model, cache=None, current=current, folder=file.parent)
    return replace(problem, seconds=0.002)


def searched(problem: Shrink, cpu_seconds: float = 3.0) -> Decision[ShrinkPlan]:
    proposer = Portfolio(Rules(NAME, first), derived=Derived(NAME, further))
    meters = Meter(cpu_seconds=cpu_seconds), Meter()
    return optimize(problem, proposer, search=meters[0], check=meters[1], ledger=MemoryLedger())


def test_a_cheaper_model_is_confirmed_and_the_front_holds_no_beaten_one(tmp_path: Path) -> None:
    problem = replace(shrink_of(table(tmp_path, load_breast_cancer()), "auc"), tolerance=0.05)
    decision = searched(problem)
    assert decision.winner is not None
    verdict = decision.winner.verdict
    assert isinstance(verdict, Comparison)
    assert verdict.split == "holdout"
    assert verdict.metrics["predict_us_per_row"] < verdict.reference["predict_us_per_row"]
    assert verdict.reference["auc"] - verdict.metrics["auc"] <= 0.05
    found = points(decision, "auc")
    best = front(found, "auc")
    assert found[0].plan == CURRENT
    for one in best:
        for other in found:
            beats = [other.quality >= one.quality] + [
                other.metrics[name] <= one.metrics[name]
                for name in ("train_cpu_seconds", "predict_us_per_row", "model_bytes")
            ]
            assert not all(beats) or other.metrics == one.metrics


def test_dollars_decide_where_requests_are_known(tmp_path: Path) -> None:
    problem = replace(shrink_of(table(tmp_path, load_breast_cancer()), "log_loss"), tolerance=0.2)
    dear_quality = replace(problem, worth=Worth(1e7, 0.04, 1.0, 1.0, 0.2))
    measured = dear_quality.measure(ShrinkPlan("boosted", trees=1, leaves=2), Sample("search", 0)).metrics
    today = dear_quality.measure(CURRENT, Sample("search", 0)).metrics
    assert measured["predict_us_per_row"] < today["predict_us_per_row"]
    assert measured["dollars_per_month"] > today["dollars_per_month"]  # what is lost costs more than is saved
    assert problem.objective.metric == "predict_ratio"
    assert dear_quality.objective.metric == "dollars_per_month"


def test_what_is_cut_shares_the_fit_and_predicts_as_the_first_trees_do(tmp_path: Path) -> None:
    problem = shrink_of(table(tmp_path, load_breast_cancer()), "auc")
    half = student(problem.setting, ShrinkPlan("cut", kept=0.5), "search")
    whole = grown(problem.setting, CURRENT, "search")
    booster: Any = whole.fitted.predictor
    x = np.random.default_rng(0).normal(size=(50, 30)) * 10
    assert half.rounds == rounds_of(booster) // 2
    np.testing.assert_allclose(half.fitted.predict(x), booster.predict(x, num_iteration=half.rounds))
    assert half.train_cpu_seconds == pytest.approx(whole.cpu_seconds[-1] / 2)


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(20, random_state=0),
        GradientBoostingClassifier(n_estimators=20, random_state=0),
        make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)),
    ],
)
def test_a_classifier_of_scikit_learn_is_cut_to_what_fewer_trees_would_be(model: Any) -> None:
    found = load_breast_cancer()
    fitted = Estimator(model.fit(found.data, found.target), "binary")
    few = cut(fitted, 7)
    assert (rounds_of(fitted), rounds_of(few)) == (20, 7)
    last = model.steps[-1][0] + "__n_estimators" if hasattr(model, "steps") else "n_estimators"
    fewer = Estimator(model.set_params(**{last: 7}).fit(found.data, found.target), "binary")
    np.testing.assert_allclose(few.predict(found.data), fewer.predict(found.data))


@pytest.mark.parametrize(
    "model", [RandomForestRegressor(15, random_state=0), HistGradientBoostingRegressor(max_iter=15)]
)
def test_a_regressor_of_scikit_learn_is_cut(model: Any) -> None:
    found = load_diabetes()
    fitted = Estimator(model.fit(found.data, found.target), "regression")
    few = cut(fitted, 5)
    assert (rounds_of(fitted), rounds_of(few)) == (15, 5)
    assert not np.array_equal(few.predict(found.data), fitted.predict(found.data))


def test_what_is_no_ensemble_is_refused_with_its_name() -> None:
    found = load_breast_cancer()
    tree = Estimator(DecisionTreeClassifier(max_depth=2).fit(found.data, found.target), "binary")
    with pytest.raises(ValueError, match="DecisionTreeClassifier cannot be cut"):
        cut(tree, 1)


def mixed(rows: int = 400) -> tuple[Any, Any, Encoding]:
    """Two numbers, of which some are missing, and a word column with a rare and an unknown value."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(5, 3, rows), rng.normal(size=rows), rng.integers(0, 4, rows).astype(float)])
    score = x[:, 0] - 5 + 2 * (x[:, 2] == 1)
    x[::17, 1] = x[::23, 2] = np.nan
    return x, score, Encoding((Column("a", "number"), Column("b", "number"), Column("w", "category", tuple("wxyz"))))


def test_a_folded_linear_model_answers_as_scikit_learn_would() -> None:
    from sklearn.linear_model import LogisticRegression

    from trimtab.adapters.models.dense import design_of

    x, score, encoding = mixed()
    y = (score > 0).astype(float)
    folded = fit_linear(x, y, None, encoding, "binary")
    matrix = design_of(x, encoding).matrix(x)
    plain = LogisticRegression(max_iter=100, tol=1e-3).fit(matrix, y)
    np.testing.assert_allclose(folded.predict_proba(x), plain.predict_proba(matrix), atol=1e-9)


def test_a_folded_model_is_served_by_numpy_alone(tmp_path: Path) -> None:
    x, score, encoding = mixed()
    network = fit_network(x, score, None, encoding, "regression", hidden=8)
    assert np.corrcoef(network.predict(x), score)[0, 1] > 0.9
    fitted = Fitted(encoding, "regression", (), Estimator(network, "regression"))
    form = write_form(fitted, FormPlan(), tmp_path / "form")
    np.testing.assert_array_equal(load_form(form).predict(x), network.predict(x))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import form, pathlib;"
        "form.load_form(pathlib.Path(sys.argv[2])); assert not {'sklearn', 'lightgbm', 'trimtab'} & set(sys.modules)"
    )
    place = Path(sys.modules["trimtab.adapters.models.form"].__file__ or "").parent
    subprocess.run([sys.executable, "-c", code, str(place), str(form)], check=True, timeout=60)


def test_students_that_were_taught_pay_for_their_teacher(tmp_path: Path) -> None:
    problem = shrink_of(table(tmp_path, load_breast_cancer()), "auc")
    today = grown(problem.setting, CURRENT, "search").cpu_seconds[-1]
    taught = student(problem.setting, ShrinkPlan("boosted", trees=4, taught=0.7), "search")
    alone = student(problem.setting, ShrinkPlan("boosted", trees=4), "search")
    assert taught.train_cpu_seconds > today
    assert alone.train_cpu_seconds < taught.train_cpu_seconds


@pytest.mark.parametrize("taught", [0.0, 0.7])
def test_ten_classes_can_be_learned_by_every_kind_of_student(tmp_path: Path, taught: float) -> None:
    problem = shrink_of(table(tmp_path, load_digits(), 700), "accuracy", ModelPlan(leaves=8))
    for plan in (
        ShrinkPlan("boosted", trees=15, leaves=8, taught=taught),
        ShrinkPlan("network", hidden=24, taught=taught),
        ShrinkPlan("linear"),
    ):
        assert problem.measure(plan, Sample("search", 0)).metrics["accuracy"] > 0.6, plan


def test_the_columns_that_tell_most_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = {f"noise{i}": rng.normal(size=600) for i in range(5)}
    told = rng.normal(size=600)
    file = tmp_path / "table.parquet"
    pyarrow.parquet.write_table(pa.table({**noise, "told": told, "y": told * 2 + rng.normal(size=600) / 10}), file)
    problem = shrink_of(file, "r2")
    one = look(problem.setting, ShrinkPlan("boosted", columns=0.17), "search")
    assert one.fitted.encoding.feature_names == ("told",)
    assert problem.measure(ShrinkPlan("boosted", columns=0.17), Sample("search", 0)).metrics["r2"] > 0.8


def test_a_forest_is_cut_and_a_tree_is_not(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(FOREST)
    file = table(tmp_path, load_breast_cancer())
    forest = shrink_of(file, "auc", OWN, "own.py:build_model")
    measured = forest.measure(ShrinkPlan("cut", kept=0.1), Sample("search", 0)).metrics
    assert measured["rounds"] == 6
    assert measured["predict_ratio"] < 0.9
    decision = searched(replace(shrink_of(file, "auc", OWN, "own.py:build_tree"), tolerance=0.1), 2.0)
    refusals = {one.proposal.plan.kind: one.verdict for one in decision.trials if isinstance(one.verdict, Refusal)}
    assert "cannot be cut" in refusals["cut"].reason
    assert sum(one.proposal.plan.kind == "cut" for one in decision.trials) == 1  # it is not tried again


def test_the_holdout_trains_the_chosen_model_alone_on_more_rows(tmp_path: Path) -> None:
    problem = shrink_of(table(tmp_path, load_breast_cancer()), "auc")
    plan = ShrinkPlan("boosted", trees=5, leaves=4)
    searched_for = grown(problem.setting, replace(plan, trees=128), "search")
    confirmed = grown(problem.setting, plan, "holdout")
    assert len(searched_for.cpu_seconds) == 128
    assert student(problem.setting, plan, "holdout").rounds == len(confirmed.cpu_seconds) == 5


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One pipeline folder, shrunk once."""
    folder = tmp_path_factory.mktemp("pipeline")
    table(folder, load_breast_cancer())
    (folder / "own.py").write_text(FOREST)
    (folder / "trimtab.toml").write_text(
        'name = "cancer"\n[data]\ntable = "table.parquet"\ntarget = "y"\nsearch_share = 0.6\nholdout_share = 0.3\n'
        '[model]\ncurrent = "own.py:build_model"\nmetric = "auc"\ntolerance = 0.2\n'
        # 171 rows say little of quality: predictions, which cost most, decide.
        "[traffic]\nrequests_per_month = 2e8\n[production]\nquality_value = 1\n[budget]\nshrink = 6\n"
    )
    done = command("shrink", str(folder), "--no-model", "--json", "--certificate", str(folder / "front.html"))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return folder, found


def command(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("trimtab")
    return subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=300, cwd=cwd)


def test_the_command_shrinks_a_forest_and_the_decision_is_applied_and_reverted(
    ran: tuple[Path, dict[str, Any]],
) -> None:
    folder, found = ran
    decision = found["decision"]
    assert decision["gain"]["metric"] == "dollars_per_month"
    assert decision["gain"]["low"] > 0
    assert decision["holdout"]["predict_ms_single"] < decision["holdout_current"]["predict_ms_single"] / 10
    trimtab.apply(decision["id"], folder)
    link = folder / "trimtab-applied" / "model"
    assert load_fitted(link).predict_table(pyarrow.parquet.read_table(folder / "table.parquet")).shape == (569,)
    trimtab.revert(decision["id"], folder)
    assert not link.exists()


def test_the_page_plots_the_front_against_each_cost(ran: tuple[Path, dict[str, Any]]) -> None:
    folder, found = ran
    page = (folder / "front.html").read_text()
    assert page.count("<svg") == 3
    assert all(text in page for text in ("today", "chosen", "µs a row", "training, CPU-s", "size, bytes"))
    assert len(found["facts"]["front"]) >= 3
    assert {"plan", "model", "metrics"} <= set(found["facts"]["front"][0])


def test_a_second_run_takes_everything_from_the_ledger(ran: tuple[Path, dict[str, Any]]) -> None:
    folder, found = ran
    again = trimtab.shrink(folder, with_model=False)
    assert again.decision is not None
    assert again.decision["id"] == found["decision"]["id"]


@pytest.mark.parametrize(
    ("file", "given", "said"),
    [
        ("table", {"target": "yy"}, "no column 'yy'"),
        ("nothing", {"target": "y"}, "does not exist"),
        ("tiny", {"target": "y"}, "40 usable rows"),
        ("one", {"target": "y"}, "one class"),
        ("table", {"target": "y", "tolerance": -1.0}, "numbers from 0"),
        ("table", {"target": "y", "requests": float("nan")}, "numbers from 0"),
        ("table", {"target": "y", "budget": 0.0}, "numbers from 0"),
        ("table", {"target": "y", "model": "own.txt"}, "no import path"),
        ("table", {"target": "y", "model": "other.py:build"}, "does not exist"),
    ],
)
def test_bad_input_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, given: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    table(tmp_path, load_breast_cancer())
    pyarrow.parquet.write_table(pa.table({"a": range(40), "y": [0, 1] * 20}), "tiny.parquet")
    pyarrow.parquet.write_table(pa.table({"a": range(400), "y": ["no"] * 400}), "one.parquet")
    with pytest.raises(InputError) as raised:
        trimtab.shrink(tmp_path / f"{file}.parquet", with_model=False, **given)
    assert said in str(raised.value)


def test_a_model_that_is_not_there_ends_the_command_with_one_message(tmp_path: Path) -> None:
    file = table(tmp_path, load_breast_cancer())
    (tmp_path / "own.py").write_text(FOREST)
    done = command("shrink", file.name, "--target", "y", "--model", "own.py:nothing", "--no-model", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "no function 'nothing'" in done.stderr
    assert "Traceback" not in done.stderr
