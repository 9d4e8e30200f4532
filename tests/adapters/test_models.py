"""Encodings agree with themselves row by row, metrics with scikit-learn, and models with what was saved of them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.metrics import f1_score, log_loss, mean_squared_error, roc_auc_score

from trimtab.adapters.models.artifact import Fitted, about, load_fitted, model_bytes, save
from trimtab.adapters.models.boosting import Training, averaged, fit, mean_prediction
from trimtab.adapters.models.current import fit_current, load_current
from trimtab.adapters.models.encoding import Encoding
from trimtab.adapters.models.learn_encoding import encode, learn
from trimtab.adapters.models.metrics import require_metric, score
from trimtab.adapters.sources.dataset import Dataset, Task
from trimtab.core.errors import InputError

MIXED = pa.table(
    {
        "number": [1.5, None, 3.0, 4.0],
        "word": ["b", "a", None, "b"],
        "flag": [True, False, None, True],
        "when": [datetime(2013, 1, 31, 8, 30), datetime(2012, 12, 31, 23, 59), None, datetime(1969, 7, 20, 20, 17)],
    }
)
FOREST = """
from sklearn.ensemble import RandomForestClassifier
def build_model():
    return RandomForestClassifier(n_estimators=5, random_state=0)
def build_number():
    return 3
def build_badly():
    raise RuntimeError("no licence")
"""


def mixed() -> Dataset:
    return Dataset(MIXED, np.array([0.0, 1.0, 0.0, 1.0]), "binary", ("no", "yes"), tuple(MIXED.column_names))


def cancer() -> Dataset:
    found = load_breast_cancer()
    table = pa.table({name: found.data[:, place] for place, name in enumerate(found.feature_names)})
    return Dataset(table, found.target.astype(float), "binary", ("0", "1"), tuple(table.column_names))


def boosted(rows: Dataset) -> Fitted:
    encoding = learn(rows)
    return Fitted(
        encoding, rows.task, rows.classes, fit(encode(rows, encoding), rows.y, Training(rows.task, rounds=20))
    )


def test_whole_tables_columns_and_single_rows_are_encoded_alike() -> None:
    encoding = learn(mixed())
    whole = encode(mixed(), encoding)
    columns = encoding.matrix({name: MIXED[name].to_pylist() for name in MIXED.column_names})
    rows = np.vstack([encoding.row(row) for row in MIXED.to_pylist()])
    np.testing.assert_array_equal(whole, columns)
    np.testing.assert_array_equal(whole, rows)


def test_times_become_hour_weekday_day_of_year_and_month() -> None:
    encoding = learn(mixed(), ["when"])
    assert encoding.row({"when": "2013-01-31T08:30:00"}).tolist() == [[8.5, 3.0, 31.0, 1.0]]
    assert np.isnan(encoding.row({})).all()


def test_what_was_never_seen_is_missing_and_survives_json() -> None:
    encoding = Encoding.from_json(learn(mixed()).to_json())
    assert encoding == learn(mixed())
    assert np.isnan(encoding.row({"word": "never"})[0, 1])
    assert encoding.row({"word": "b"})[0, 1] == 0.0  # the most frequent value comes first


def test_scores_equal_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(500) < 0.3).astype(float)
    chances = np.round(np.clip(rng.normal(0.3 + 0.2 * y, 0.2), 0.01, 0.99), 2)  # rounded: there are ties
    assert score("auc", y, chances) == pytest.approx(roc_auc_score(y, chances))
    assert score("log_loss", y, chances) == pytest.approx(log_loss(y, chances))
    assert score("f1", y, chances) == pytest.approx(f1_score(y, chances > 0.5))
    assert score("rmse", y, chances) == pytest.approx(mean_squared_error(y, chances) ** 0.5)


def test_a_metric_that_does_not_fit_the_target_is_refused() -> None:
    with pytest.raises(InputError, match="does not fit a regression target"):
        require_metric("auc", "regression")


def test_boosting_is_deterministic() -> None:
    first, second = boosted(cancer()), boosted(cancer())
    np.testing.assert_array_equal(first.predict_table(cancer().table), second.predict_table(cancer().table))


@pytest.mark.parametrize("rows", [load_wine, load_diabetes])
def test_boosting_learns_several_classes_and_quantities(rows: object) -> None:
    found = rows()  # type: ignore[operator]
    is_classes = len(set(found.target)) == 3
    table = pa.table({f"c{place}": found.data[:, place] for place in range(found.data.shape[1])})
    names = tuple(table.column_names)
    task, classes = ("multiclass", ("0", "1", "2")) if is_classes else ("regression", ())
    dataset = Dataset(table, found.target.astype(float), task, classes, names)
    encoding = learn(dataset)
    booster = fit(encode(dataset, encoding), dataset.y, Training(dataset.task, max(2, len(classes)), rounds=30))
    predicted = Fitted(encoding, dataset.task, classes, booster).predict_table(table)
    if is_classes:
        assert predicted.shape == (len(dataset), 3)
        assert score("accuracy", dataset.y, predicted) > 0.9
    else:
        assert score("r2", dataset.y, predicted) > 0.5


def test_a_model_predicts_the_same_after_it_was_saved(tmp_path: Path) -> None:
    model = boosted(cancer())
    save(tmp_path / "model", model, {"note": "first"})
    save(tmp_path / "model", model, {"note": "second"})
    again = load_fitted(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_table(cancer().table), model.predict_table(cancer().table))
    assert about(tmp_path / "model")["note"] == "second"
    assert model_bytes(tmp_path / "model") > 1000
    assert [one.name for one in tmp_path.iterdir()] == ["model"]  # nothing half-written beside it


def test_a_folder_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "model", boosted(cancer()), {})
    (tmp_path / "model" / "model.txt").unlink()
    with pytest.raises(InputError, match="no whole model"):
        load_fitted(tmp_path / "model")


def test_the_users_own_model_is_fitted_on_raw_columns_and_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FOREST)
    model = fit_current("mine.py:build_model", tmp_path, cancer())
    save(tmp_path / "model", model, {})
    again = load_fitted(tmp_path / "model").predict_table(cancer().table)
    assert score("auc", cancer().y, again) > 0.99


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("mine.py:build_badly", "no licence"),
        ("mine.py:build_number", "without fit and predict"),
        ("mine.py:nothing", "no function 'nothing'"),
        ("absent.py:build_model", "does not exist"),
        ("mine", "no import path"),
    ],
)
def test_a_current_model_that_cannot_be_used_is_told_with_its_reason(tmp_path: Path, source: str, says: str) -> None:
    (tmp_path / "mine.py").write_text(FOREST)
    with pytest.raises(InputError, match=says):
        load_current(source, tmp_path)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_joined_boosters_predict_the_mean_of_their_raw_scores(task: Task) -> None:
    made = {"binary": load_breast_cancer, "multiclass": load_wine, "regression": load_diabetes}[task]()
    x, y = np.asarray(made.data), np.asarray(made.target, float)
    boosters = [
        fit(x, y, Training(task, 3, {"feature_fraction": 0.5, "num_leaves": 5 + seed}, rounds=8 + seed, seed=seed))
        for seed in range(3)
    ]
    joined = averaged(boosters)
    mean = np.mean([one.predict(x, raw_score=True) for one in boosters], axis=0)
    assert np.allclose(joined.predict(x, raw_score=True), mean, rtol=1e-12, atol=1e-12)
    parts = [np.asarray(one.predict(x)) for one in boosters]
    assert np.allclose(mean_prediction(parts, task), joined.predict(x), rtol=1e-9, atol=1e-12)
    weighted = averaged(boosters, [1, 3, 1])
    assert np.allclose(mean_prediction(parts, task, [1, 3, 1]), weighted.predict(x), rtol=1e-9, atol=1e-12)
