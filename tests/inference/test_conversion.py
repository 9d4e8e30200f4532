"""Forms of a model: what they answer, which are refused, and what the loop makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trimtab.adapters.models.artifact import Estimator, Fitted, load_fitted, save
from trimtab.adapters.models.form import load_form
from trimtab.adapters.models.learn_encoding import encode, learn
from trimtab.adapters.models.raw_rows import raw_rows
from trimtab.adapters.sources.dataset import load, part
from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.core.model import Comparison, Refusal, Sample
from trimtab.inference.conversion.measure import current_latency
from trimtab.inference.conversion.plan import COMPILED, CURRENT, FEWER, INTERPRETER, ONNX, FormPlan
from trimtab.inference.conversion.problem import CAPABILITY, Conversion, convert, ideas, model_fingerprint
from trimtab.proposers.rules import Rules
from trimtab.testing import MemoryLedger


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    return CAPABILITY.sample(tmp_path_factory.mktemp("convert"), 0)  # type: ignore[return-value]


@pytest.mark.parametrize("plan", [INTERPRETER, COMPILED])
def test_pylignums_forms_answer_bit_for_bit_as_lightgbm_also_for_missing_values(
    problem: Conversion, plan: FormPlan
) -> None:
    measured = problem.measure(plan, Sample("holdout", 0))
    assert measured.metrics["max_difference"] == 0.0


def test_a_form_that_is_slightly_off_is_refused_where_exactness_was_asked(problem: Conversion) -> None:
    exact = replace(problem, most_difference=0.0)
    decision = optimize(exact, Rules("none", lambda brief: []), search=Meter(), check=Meter(), ledger=MemoryLedger())
    verdict = decision.baselines["onnx"]
    assert isinstance(verdict, Comparison)
    assert verdict.ruling == "unsafe"
    assert "max_difference" in verdict.reason


def test_fewer_trees_are_never_exact(problem: Conversion) -> None:
    assert problem.measure(FEWER, Sample("search", 1)).metrics["max_difference"] > 0.001


def test_the_loop_chooses_an_exact_form_that_answers_sooner(problem: Conversion) -> None:
    decision = optimize(problem, Rules("ideas", ideas), search=Meter(), check=Meter(), ledger=MemoryLedger())
    assert decision.winner is not None
    assert decision.winner.proposal.plan.form in ("interpreter", "compiled")
    assert decision.winner.verdict.metrics["max_difference"] == 0.0  # type: ignore[union-attr]


def test_a_form_is_made_once(problem: Conversion) -> None:
    first = problem.write(INTERPRETER)
    stamp = (first / "model.bin").stat().st_mtime_ns
    assert convert(Path(problem.model), INTERPRETER, Path(problem.cache)) == first
    assert (first / "model.bin").stat().st_mtime_ns == stamp
    assert not [one for one in first.parent.iterdir() if one.name.startswith(".")]


def test_another_model_means_another_fingerprint(problem: Conversion, tmp_path: Path) -> None:
    fitted = load_fitted(Path(problem.model))
    save(tmp_path / "other", fitted, {"note": "changed"})
    assert model_fingerprint(tmp_path / "other") != problem.fingerprint


def _linear(problem: Conversion, folder: Path) -> Path:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = part(load(problem.data), problem.data, "train")
    encoding = learn(rows)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(encode(rows, encoding), rows.y.astype(int))
    save(folder, Fitted(encoding, "binary", rows.classes, Estimator(model, "binary")), {})
    return folder


def test_a_scikit_learn_model_is_served_by_its_own_predict_or_by_onnx(problem: Conversion, tmp_path: Path) -> None:
    model = _linear(problem, tmp_path / "linear")
    own = load_form(convert(model, CURRENT, tmp_path))
    onnx = load_form(convert(model, ONNX, tmp_path))
    rows = part(load(problem.data), problem.data, "holdout")
    x = encode(rows, load_fitted(model).encoding)
    assert own.kind == "pickle"
    assert np.array_equal(own.predict(x), load_fitted(model).predict(x))
    assert np.abs(onnx.predict(x) - own.predict(x)).max() < 1e-4


def test_a_form_that_a_model_cannot_take_is_a_failed_trial(problem: Conversion, tmp_path: Path) -> None:
    model = _linear(problem, tmp_path / "linear")
    other = replace(problem, model=str(model), fingerprint=model_fingerprint(model))
    decision = optimize(other, Rules("ideas", ideas), search=Meter(), check=Meter(), ledger=MemoryLedger())
    refusals = [one.verdict for one in decision.trials if isinstance(one.verdict, Refusal)]
    assert any("LightGBM" in one.reason for one in refusals)


def test_a_raw_row_gives_the_same_answer_as_its_table(problem: Conversion) -> None:
    fitted = load_fitted(Path(problem.model))
    rows = part(load(problem.data), problem.data, "holdout").rows(0, 20)
    form = load_form(problem.write(INTERPRETER))
    answers = [form.predict(fitted.encoding.row(one))[0] for one in raw_rows(rows.table, fitted.encoding)]
    assert answers == fitted.predict_table(rows.table).tolist()


def test_the_latency_of_a_saved_model_is_told(problem: Conversion) -> None:
    rows = part(load(problem.data), problem.data, "holdout")
    assert current_latency(Path(problem.model), rows, seconds=0.05) > 0
