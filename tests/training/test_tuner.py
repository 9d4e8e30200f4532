"""trimtab.Tuner: scikit-learn's own checks, and what it does with tables as users have them."""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, make_friedman1
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, make_scorer, ndcg_score
from sklearn.model_selection import GroupKFold, ShuffleSplit, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import trimtab
from trimtab.adapters.sources.dataset import Dataset
from trimtab.core.errors import InputError
from trimtab.core.model import Brief, Comparison, Evidence, Interval, Objective, Proposal, Spend, Trial
from trimtab.core.space import settle
from trimtab.proposers.enough import Enough
from trimtab.proposers.rules import Rules
from trimtab.stages.tuner import Tuner
from trimtab.training.selection.fits import MOST_MODELS, Fits
from trimtab.training.selection.fitting import Pool, Request, Rows
from trimtab.training.selection.fitting import train as trained
from trimtab.training.selection.folds import Layout, folds_from, folds_of
from trimtab.training.selection.given import Wishes, given
from trimtab.training.selection.memory import predicted_bytes, require_memory, threads_for
from trimtab.training.selection.plan import DEFAULT, ModelPlan
from trimtab.training.selection.portfolio import BLENDS, LINEAR_LEAVES, LOG, RANKED, WORDED, twins

Array = npt.NDArray[Any]


def quick(**wishes: Any) -> Tuner:
    """A search that its number of trials ends, so that it repeats."""
    return trimtab.Tuner(**{"budget": 60.0, "trials": 2, "threads": 1, **wishes})


def table(rows: int = 400, seed: int = 0) -> tuple[pd.DataFrame, Array]:
    """Numbers with gaps, a category, a truth value, a time and free text, each of which tells of the target."""
    rng = np.random.default_rng(seed)
    number, kind = rng.normal(size=rows), rng.choice(["red", "green", "blue"], rows)
    is_good = rng.random(rows) > 0.5
    words = np.where(is_good, "a fine and pleasant thing number", "an awful and broken thing number")
    y = number + (kind == "red") + is_good + rng.normal(0, 0.2, rows)
    frame = pd.DataFrame({
        "number": np.where(rng.random(rows) < 0.1, np.nan, number),
        "kind": pd.Series(kind).where(rng.random(rows) > 0.1, None),
        "size": pd.Categorical(rng.choice([1, 2, 3], rows)),
        "is_even": rng.random(rows) > 0.5,
        "day": pd.date_range("2024-01-01", periods=rows, freq="h"),
        "review": [f"{one} {place}" for place, one in enumerate(words)],
    })  # fmt: skip
    return frame, y


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_scikit_learn_accepts_it_as_an_estimator(task: str) -> None:
    results = check_estimator(trimtab.Tuner(task=task, trials=1, threads=1), on_skip=None)
    assert len(results) > 40


def test_it_reads_frames_with_words_gaps_times_and_text() -> None:
    frame, y = table()
    tuner = quick(task="regression").fit(frame[:300], y[:300])
    assert tuner.score(frame[300:], y[300:]) > 0.7
    as_arrow = pa.Table.from_pandas(frame[300:], preserve_index=False)
    assert np.allclose(tuner.predict(as_arrow), tuner.predict(frame[300:]))
    unseen = frame[300:].assign(kind="violet")
    assert np.isfinite(tuner.predict(unseen)).all()


def test_free_text_alone_can_be_learned_from() -> None:
    frame, _ = table()
    y = frame["review"].str.startswith("a fine").to_numpy()
    tuner = quick().fit(frame[["review"]][:300], y[:300])
    assert tuner.score(frame[["review"]][300:], y[300:]) > 0.95


def test_text_in_which_one_word_only_occurs_twice_can_be_learned_from() -> None:
    y = np.arange(120) % 2 == 0
    review = [f"w{place}a w{place}b same{' !' * int(is_good)}" for place, is_good in enumerate(y)]
    frame = pd.DataFrame({"review": review})
    assert quick().fit(frame, y).predict(frame).shape == y.shape


def test_bins_of_numbers_are_categories() -> None:
    number = np.random.default_rng(0).normal(size=300)
    frame = pd.DataFrame({"bin": pd.cut(number, 12), "quarter": pd.qcut(number, 4)})
    frame.loc[:4, "bin"] = None
    tuner = quick(task="regression").fit(frame, number)
    assert tuner.score(frame[5:], number[5:]) > 0.9
    assert np.allclose(tuner.predict(frame[5:20]), tuner.predict(frame)[5:20])


def test_columns_that_hold_nothing_when_predicting_are_missing_values() -> None:
    frame, y = table(200)
    tuner = quick(task="regression").fit(frame, y)
    for nothing in (None, np.nan, pd.NaT):
        empty = pd.DataFrame({name: [nothing] * 3 for name in frame})
        assert np.isfinite(tuner.predict(empty)).all()
        no_times = frame[:3].assign(day=[nothing] * 3)
        assert np.isfinite(tuner.predict(no_times)).all()


@pytest.mark.parametrize(
    ("y", "groups", "said"),
    [
        (pd.Series(["a", "b", pd.NA] * 40, dtype="string"), None, "y contains NaN"),
        (pd.Series([1, 2, pd.NA] * 40, dtype="Int64"), None, "y contains NaN"),
        (np.arange(120) % 2, np.array(["a", None] * 60, object), "groups has missing values"),
        (np.arange(120) % 2, pd.Series(["a", pd.NA] * 60, dtype="string"), "groups has missing values"),
        (np.arange(120) % 2, np.r_[np.nan, np.arange(119.0)], "groups has missing values"),
        (np.arange(120) % 2, np.array(["a", 1] * 60, object), "groups has values of several types"),
    ],
)
def test_targets_and_groups_that_are_missing_are_named(y: Any, groups: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        quick().fit(np.ones((120, 2)), y, groups=groups)


def test_the_report_names_the_oracle_and_the_multiple_that_the_search_cost() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    report = quick(trials=4).fit(x, y).report_
    assert report.trials == 4
    assert 0 < report.oracle_cpu_seconds < report.spent_cpu_seconds
    assert report.multiple == pytest.approx(report.spent_cpu_seconds / report.oracle_cpu_seconds)
    assert "times the" in str(report)


def test_a_plan_that_did_worse_on_the_holdout_is_not_taken() -> None:
    rng = np.random.default_rng(0)
    for seed in range(3):
        tuner = quick(task="regression", random_state=seed).fit(rng.normal(size=(300, 4)), rng.normal(size=300))
        report = tuner.report_
        assert tuner.plan_ == DEFAULT or (report.gain is not None and report.gain.mid > 0)


@pytest.mark.parametrize(
    "scoring",
    ["average_precision", "roc_auc", make_scorer(average_precision_score, response_method="predict_proba")],
)
def test_any_metric_of_scikit_learn_can_be_aimed_at(scoring: Any) -> None:
    x, y = load_breast_cancer(return_X_y=True)
    tuner = quick(scoring=scoring).fit(x[:400], y[:400])
    assert tuner.score(x[400:], y[400:]) > 0.95


def test_the_users_own_functions_are_metrics_of_predictions_or_of_an_estimator() -> None:
    x, y = load_diabetes(return_X_y=True)

    def closeness(true: Array, predicted: Array) -> float:
        return -float(np.abs(true - predicted).mean())

    def closeness_for_the_young(model: Any, rows: Array, true: Array) -> float:
        young = rows[:, 0] < 0
        return -float(np.abs(true - model.predict(rows))[young].mean())

    for scoring in (closeness, closeness_for_the_young):
        tuner = quick(task="regression", scoring=scoring).fit(x, y)
        assert tuner.report_.metric == scoring.__name__
        assert -80 < tuner.score(x, y) < -10  # of quantities from 25 to 346


@pytest.mark.parametrize(
    ("wishes", "x", "y", "said"),
    [
        ({}, np.ones((120, 2)), np.ones(120, int), "one class only"),
        ({}, np.ones((10_001, 1)), np.arange(10_001).astype(str), "10,001 classes, at most 1,000"),
        ({"scoring": "no_such"}, np.ones((120, 2)), np.arange(120) % 2, "no metric 'no_such'"),
        ({"scoring": "r2"}, np.ones((120, 2)), np.arange(120) % 2, "does not fit a binary target"),
        ({"scoring": lambda true, predicted: float("nan")}, np.ones((120, 2)), np.arange(120) % 2, "NaN"),
        ({"task": "ranking"}, np.ones((120, 2)), np.arange(120) % 2, "needs groups"),
        ({"budget": 0}, np.ones((120, 2)), np.arange(120) % 2, "budget=0"),
        ({"task": "guessing"}, np.ones((120, 2)), np.arange(120) % 2, "task='guessing'"),
        ({"time": "when"}, np.ones((120, 2)), np.arange(120) % 2, "no column 'when'"),
        ({"cv": [(np.arange(60), np.arange(60, 120))]}, np.ones((120, 2)), np.arange(120) % 2, "at least two"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_message(wishes: dict[str, Any], x: Array, y: Array, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        quick(**wishes).fit(x, y)


def test_a_budget_smaller_than_one_fit_gives_the_best_answer_possible_and_says_so() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    tuner = trimtab.Tuner(budget=1e-6).fit(x, y)
    assert "less than one comparison costs" in tuner.report_.stopped
    assert tuner.predict(x).shape == y.shape


def test_few_rows_and_more_columns_than_rows_are_learned_from() -> None:
    rng = np.random.default_rng(0)
    few, wide = rng.normal(size=(40, 3)), rng.normal(size=(120, 200))
    tuner = quick(task="regression").fit(few, few[:, 0])
    assert tuner.score(few, few[:, 0]) > 0.9
    assert "fewer than 100 rows" in tuner.report_.stopped
    tuner = quick(task="classification").fit(wide, wide[:, 0] > 0)
    assert tuner.predict_proba(wide).shape == (120, 2)


def test_a_ranking_puts_what_is_relevant_first_by_query() -> None:
    rng = np.random.default_rng(0)
    queries = np.repeat(np.arange(60), 12)
    x = rng.normal(size=(len(queries), 4))
    relevance = np.clip(np.round(x[:, 0] + x[:, 1] + rng.normal(0, 0.3, len(x)) + 1), 0, 4)
    shuffled = rng.permutation(len(x))
    tuner = quick(task="ranking").fit(x[shuffled], relevance[shuffled], groups=queries[shuffled])
    assert tuner.report_.metric == "ndcg"
    fresh = rng.normal(size=(30, 10, 4))
    truth = np.clip(np.round(fresh[..., 0] + fresh[..., 1] + 1), 0, 4)
    assert ndcg_score(truth, np.stack([tuner.predict(one) for one in fresh])) > 0.9
    by_query = ndcg_score(2**truth - 1, np.stack([tuner.predict(one) for one in fresh]), k=10)
    at_random = rng.permutation(300)
    flat = fresh.reshape(300, 4)[at_random], truth.ravel()[at_random]
    found = tuner.score(*flat, groups=np.repeat(np.arange(30), 10)[at_random])
    assert found == pytest.approx(by_query, abs=0.01)  # predictions that tie are ordered otherwise
    with pytest.raises(ValueError, match="groups=query_ids"):
        tuner.score(*flat)


@pytest.mark.parametrize("task", ["regression", "ranking"])
def test_groups_and_a_time_column_are_not_taken_together(task: str) -> None:
    x, y = np.arange(240.0).reshape(120, 2), np.arange(120) % 7
    with pytest.raises(ValueError, match="groups and time= cannot both"):
        quick(task=task, time=0).fit(x, y, groups=np.arange(120) % 12)


def test_groups_and_time_decide_which_rows_confirm() -> None:
    y = np.random.default_rng(0).normal(size=1000)
    groups = np.repeat(np.arange(50), 20)
    by_group = folds_of(Layout(y, groups))
    for train, valid in by_group.search:
        assert not set(groups[train]) & set(groups[valid])
        assert not set(groups[np.concatenate([train, valid])]) & set(groups[by_group.holdout])
    in_time = folds_of(Layout(y, is_ordered=True))
    assert in_time.holdout.tolist() == list(range(800, 1000))
    assert all(train.max() < valid.min() for train, valid in in_time.search)


@pytest.mark.parametrize("sizes", [[900, *[10] * 20], [10] * 9 + [9000], [2**place for place in range(12)]])
def test_groups_of_very_different_sizes_leave_no_fold_empty(sizes: list[int]) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    layout = Layout(np.zeros(len(groups)), groups)
    for affordable in (1.0, 9.0):
        folds = folds_of(layout, affordable)
        kept = [folds.holdout, *(places for fold in folds.search for places in fold)]
        assert all(len(places) for places in kept)
        for train, valid in folds.search:
            assert not set(groups[train]) & set(groups[valid])
            assert not set(groups[np.concatenate([train, valid])]) & set(groups[folds.holdout])


def test_one_large_group_among_small_ones_can_be_learned_from() -> None:
    x = np.random.default_rng(0).normal(size=(1000, 3))
    groups = np.r_[np.zeros(800, int), np.repeat(np.arange(1, 21), 10)]
    tuner = quick(task="regression").fit(x, x[:, 0], groups=groups)
    assert tuner.report_.trials == 2
    assert tuner.score(x, x[:, 0]) > 0.8


def test_a_fold_of_one_group_can_be_compared_on() -> None:
    x = np.random.default_rng(0).normal(size=(6000, 3))
    tuner = quick(task="regression").fit(x, x[:, 0], groups=np.arange(6000) // 600)
    assert tuner.report_.trials == 2


def test_rare_classes_are_spread_over_all_folds() -> None:
    y = (np.arange(1000) % 100 == 0).astype(float)
    folds = folds_of(Layout(y))
    assert min(y[valid].sum() for _, valid in folds.search) >= 1
    assert y[folds.holdout].sum() == 2


def test_the_users_last_fold_confirms_and_no_other_sees_its_rows() -> None:
    x = np.zeros((120, 1))
    splits = list(GroupKFold(4).split(x, groups=np.arange(120) // 6))
    folds = folds_from([(np.asarray(one), np.asarray(two)) for one, two in splits])
    assert len(folds.search) == 3
    seen = np.concatenate([places for fold in folds.search for places in fold])
    assert not set(seen) & set(folds.holdout)
    rng = np.random.default_rng(0)
    rows = np.column_stack([np.arange(300.0), rng.normal(size=300)])
    report = quick(task="regression", cv=TimeSeriesSplit(3)).fit(rows, rows[:, 1]).report_
    assert report.trials == 2


def test_a_number_of_folds_suits_the_task_and_not_the_type_of_the_target() -> None:
    x = np.random.default_rng(0).normal(size=(300, 3))
    amounts = np.round(x[:, 0] * 1000).astype(int)
    assert quick(task="regression", cv=5).fit(x, amounts).report_.trials == 2
    rare = np.arange(300) >= 280  # sorted: only folds that are spread by class hold it
    assert quick(cv=5).fit(x, rare.astype(float)).report_.trials == 2


def test_a_few_groups_suffice_for_the_users_own_folds() -> None:
    x, groups = np.random.default_rng(0).normal(size=(300, 3)), np.arange(300) // 60
    with pytest.raises(ValueError, match="5 groups, at least 10 are needed"):
        quick(task="regression").fit(x, x[:, 0], groups=groups)
    assert quick(task="regression", cv=GroupKFold(4)).fit(x, x[:, 0], groups=groups).report_.trials == 2


def test_what_would_not_fit_into_memory_is_refused_before_it_is_trained() -> None:
    small = predicted_bytes(10_000, 20, 2, ModelPlan())
    large = predicted_bytes(10_000, 20_000, 2, ModelPlan(leaves=255, max_bin=1023))
    assert large > 50 * 2**30 > 2**30 > small
    assert predicted_bytes(5_000, 2_000, 2, RANKED) > 600e6  # what CatBoost took at its peak
    require_memory(small, 2**30)
    with pytest.raises(MemoryError, match="not trained"):
        require_memory(large, 16 * 2**30)


def test_threads_are_those_that_the_table_and_the_neighbours_leave_room_for() -> None:
    assert threads_for(100_000, 16, 0.0) == 1
    assert threads_for(100_000_000, 16, 0.0) == 16
    assert threads_for(100_000_000, 16, 13.2) == 2
    assert threads_for(100_000_000, 2, 9.0) == 1


def brief(gains: list[float], by: str = "portfolio") -> Brief[ModelPlan]:
    def trial(gain: float) -> Trial[ModelPlan]:
        verdict = Comparison("better", "", Interval(gain - 0.2, gain, gain + 0.2), {}, {}, "run", samples=10)
        return Trial(Proposal(ModelPlan(), by), verdict)

    return brief_of(*map(trial, gains))


def brief_of(*trials: Trial[ModelPlan]) -> Brief[ModelPlan]:
    seen = Evidence({}, "", datetime.now(UTC))
    return Brief("", ModelPlan, DEFAULT, Objective("score", "max"), seen, trials, Spend(cpu_seconds=1.0))


def test_a_search_ends_when_more_plans_promise_less_than_the_noise() -> None:
    ideas = Enough(Rules("ideas", lambda _: [Proposal(ModelPlan(), "ideas")] * 9, batch=9))
    assert len(ideas.propose(brief([0.1] * 4))) == 9  # too few to tell
    rising = Enough(Rules("ideas", lambda _: [Proposal(ModelPlan(), "ideas")]))
    assert rising.propose(brief([0.1 * place for place in range(40)]))
    assert not ideas.propose(brief([0.5] + [0.1] * 39))
    assert "within the noise" in ideas.notes[0]


def test_what_is_left_of_the_budget_trains_the_plan_again_with_other_seeds() -> None:
    made = given(*load_diabetes(return_X_y=True), None, "regression", Wishes())
    fits = Fits(Pool(made.rows), made.folds(1), "rmse", 1)
    drawn, default = settle(ModelPlan(leaves=8)), settle(DEFAULT)
    plan = replace(drawn, others=(default,))
    fits.fit(plan, 0)
    once, often = (fits.final(plan, {}, lambda left=left: left) for left in (0.0, 1e9))
    assert len(once.rounds) == 2
    assert len(often.rounds) == MOST_MODELS
    first, last = (one.fitted.predictor for one in (once, often))
    # The default draws nothing: it is there once, and counts as often as the others.
    assert last.num_trees() == 4 * (first.num_trees() - 100) + 100  # type: ignore[attr-defined]
    assert not np.array_equal(once.fitted.predict(fits.pool.x), often.fitted.predict(fits.pool.x))
    assert len(fits.final(default, {}, lambda: 1e9).rounds) == 1


def test_plans_that_cost_nothing_do_not_end_a_search() -> None:
    ideas = Enough(Rules("ideas", lambda _: [Proposal(ModelPlan(), "ideas")]), free={"blend"})
    free = brief([0.5] + [0.1] * 39, by="blend")
    assert ideas.propose(free)


def test_models_that_err_differently_are_taken_together() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    losses, families = [], []
    for train, test in ShuffleSplit(3, train_size=400, random_state=0).split(x):
        tuner = quick(scoring="neg_log_loss", trials=8).fit(x[train], y[train])
        families.append({one.family for one in tuner.plan_.members})
        default = LGBMClassifier(verbosity=-1, n_jobs=1).fit(x[train], y[train])
        linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[train], y[train])
        losses.append([log_loss(y[test], one.predict_proba(x[test])) for one in (tuner, default, linear)])
    ours, *theirs = np.mean(losses, axis=0)
    assert ours < sum(theirs) / 2
    assert max(families, key=len) > {"linear"}
    again = pickle.loads(pickle.dumps(tuner))
    assert np.array_equal(again.predict_proba(x), tuner.predict_proba(x))


def test_a_target_of_amounts_is_learned_by_its_logarithm_where_that_errs_less() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 6))
    prices = np.exp(x @ [0.8, 0.6, 0.5, 0.4, 0.3, 0.0] + rng.normal(0, 0.3, 1500))
    tuner = quick(trials=10, scoring="neg_mean_absolute_error").fit(x[:1000], prices[:1000])
    assert any(one.target == "log" for one in tuner.plan_.members)
    again = pickle.loads(pickle.dumps(tuner)).predict(x[1000:])
    assert np.array_equal(again, tuner.predict(x[1000:]))
    # Of what may be below zero, there is no logarithm.
    plain = quick(trials=8, scoring="neg_mean_absolute_error").fit(x[:1000], prices[:1000] - 1)
    assert all(one.target == "plain" for one in plain.plan_.members)
    assert np.abs(again - prices[1000:]).mean() < np.abs(plain.predict(x[1000:]) + 1 - prices[1000:]).mean()


def test_lines_that_break_are_learned_by_linear_leaves_and_stay_within_what_was_seen() -> None:
    rng = np.random.default_rng(1)
    x = rng.uniform(-2, 2, size=(2000, 4))
    y = np.where(x[:, 0] > 0, 3, -3) * x[:, 1] + 5 * np.floor(x[:, 2]) + rng.normal(0, 0.1, 2000)
    tuner = quick(trials=8).fit(x, y)
    assert any(one.leaf == "linear" for one in tuner.plan_.members)
    assert np.abs(tuner.predict(100 * x)).max() <= np.abs(y).max() + 1e-9
    again = pickle.loads(pickle.dumps(tuner)).predict(100 * x)
    assert np.array_equal(again, tuner.predict(100 * x))
    plain = quick(trials=8, scoring="neg_mean_absolute_error").fit(x, y)
    assert all(one.leaf == "constant" for one in plain.plan_.members)


def test_a_small_table_of_many_classes_is_searched_on_one_fold_where_more_cannot_be_paid() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 5))
    y = np.digitize(x[:, 0], [-1.9, -1, 0, 1, 1.9])
    tuner = quick(budget=1.0, trials=None).fit(x, y)
    assert tuner.score(x, y) > 0.8


def test_where_a_quantity_bends_a_network_weighs_most() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, size=(1500, 4))
    y = 3 * x[:, 0] + x[:, 1] * x[:, 2] + 2 * x[:, 3]
    seen = y[:1000] + rng.normal(0, 0.1, 1000)
    tuner = quick(trials=8).fit(x[:1000], seen)
    assert sum(bool(one.hidden) for one in tuner.plan_.members) > len(tuner.plan_.members) / 2
    default = LGBMRegressor(verbosity=-1, n_jobs=1).fit(x[:1000], seen)
    ours, theirs = (np.abs(one.predict(x[1000:]) - y[1000:]).mean() for one in (tuner, default))
    assert ours < theirs / 3
    assert np.abs(tuner.predict(100 * x)).max() <= np.abs(seen).max() + 1e-9
    again = quick(trials=8).fit(x[:1000], seen)
    assert np.array_equal(again.predict(x), pickle.loads(pickle.dumps(tuner)).predict(x))


def test_symmetric_trees_are_looked_at_where_catboost_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = make_friedman1(1200, noise=1.0, random_state=0)
    tuner = quick(trials=10).fit(x[:700], y[:700])
    assert any(one.trees == "symmetric" for one in tuner.plan_.members)
    ours = np.square(tuner.predict(x[700:]) - y[700:]).mean()
    monkeypatch.setitem(sys.modules, "catboost", None)  # as if it were not installed
    without = quick(trials=10).fit(x[:700], y[:700])
    assert all(one.trees == "leafwise" for one in without.plan_.members)
    assert ours < 1.05 * np.square(without.predict(x[700:]) - y[700:]).mean()
    with pytest.raises(InputError, match="CatBoost is not installed"):
        trained(Rows.of(rows_of(x, y, "regression")), Request(RANKED, "rmse"))


@pytest.mark.parametrize("plan", [RANKED, WORDED])
@pytest.mark.parametrize("classes", [0, 2, 3])
def test_symmetric_trees_read_words_gaps_and_what_they_never_saw(plan: ModelPlan, classes: int) -> None:
    frame, y = table(1200)
    y = np.digitize(y, np.quantile(y, np.arange(1, classes) / classes)) if classes else y
    rows = rows_of(frame.drop(columns="review"), y, "classification" if classes else "regression")
    made = trained(Rows.of(rows.take(np.arange(1000))), Request(plan, "log_loss" if classes else "rmse"))
    again = pickle.loads(pickle.dumps(made.fitted))
    test = rows.take(np.arange(1000, 1200))
    predicted = again.predict_table(test.table)
    assert np.array_equal(predicted, made.fitted.predict_table(test.table))
    if not classes:
        assert np.corrcoef(predicted, test.y)[0, 1] > 0.8
    else:
        assert log_loss(test.y, predicted) < 0.8 * np.log(classes)
    violet = pa.array(["violet"] * 200)
    unseen = test.table.set_column(test.table.column_names.index("kind"), "kind", violet)
    assert np.isfinite(again.predict_table(unseen)).all()


def test_symmetric_trees_learn_logarithms_and_stay_within_what_was_seen() -> None:
    x, y = make_friedman1(1500, noise=0.5, random_state=0)
    prices = np.exp(y / 4)
    train, test = (rows_of(x[part], prices[part], "regression") for part in (slice(0, 1000), slice(1000, None)))
    plain, logs = (
        trained(Rows.of(train), Request(plan, "rmse")).fitted.predict_table(test.table)
        for plan in (RANKED, LOG.of(RANKED))
    )
    assert np.square(logs - test.y).mean() < 0.9 * np.square(plain - test.y).mean()
    assert max(plain.max(), logs.max()) <= prices[:1000].max() * (1 + 1e-9)
    with pytest.raises(ValueError, match="above zero"):
        trained(Rows.of(rows_of(x, y - 15, "regression")), Request(LOG.of(RANKED), "rmse"))


def test_one_value_out_of_all_proportion_turns_no_line_of_linear_leaves() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(-2, 2, size=(4000, 3))
    x[:, 2] = rng.choice([np.nan, 7.0], 4000)  # no straight line, and no range
    y = np.where(x[:, 0] > 0, 3, -3) * x[:, 1] + rng.normal(0, 0.1, 4000)
    wild = x.copy()
    wild[[10, 2990], 1] = 1e4, -1e4  # one of the rows that teach, one of those that early stopping watches
    request = Request(LINEAR_LEAVES.of(ModelPlan()), "rmse")
    errors = []
    for one in (x, wild):
        model = trained(Rows.of(rows_of(one[:3000], y[:3000], "regression")), request).fitted
        errors.append(np.abs(model.predict(x[3000:]) - y[3000:]).mean())
        # What lies beyond all that counts is read as the last value that does, also where no such row taught.
        far, farther = (np.column_stack([by * np.sign(x[3000:, :2]), x[3000:, 2]]) for by in (20, 1e9))
        assert np.array_equal(model.predict(far), model.predict(farther))
    assert errors[1] < 1.5 * errors[0] < 0.5


def rows_of(x: Any, y: Array, task: str) -> Dataset:
    """Rows as the search has them."""
    return given(x, y, None, task, Wishes()).rows


def test_twins_go_on_while_they_help_and_no_further() -> None:
    one, two, three = ModelPlan(), ModelPlan(leaves=63), ModelPlan(leaves=15)

    def brief(*gains: tuple[ModelPlan, float, str], width: float = 0.0) -> Brief[ModelPlan]:
        trials = []
        for plan, gain, by in gains:
            interval = Interval(gain - width / 2, gain, gain + width / 2)
            trials.append(Trial(Proposal(plan, by), Comparison("better", "", interval, {}, {}, "run", samples=20)))
        return brief_of(*trials)

    found = [(one, 1.0, "portfolio"), (two, 2.0, "portfolio")]
    twin = replace(two, target="log")
    assert [proposal.plan for proposal in twins(brief(*found), [LOG])] == [twin]
    helped = [*found, (twin, 3.0, LOG.by), (replace(twin, others=(two,)), 4.0, BLENDS), (three, 5.0, "search")]
    assert [proposal.plan for proposal in twins(brief(*helped), [LOG])] == [replace(three, target="log")]
    worse = [*found, (twin, 1.5, LOG.by), (three, 5.0, "search")]
    failed = brief(*worse)
    assert twins(failed, [LOG]) == ()
    # Worse by no more than a standard error is not worse: a quarter of an interval's width.
    assert twins(brief(*worse, width=1.9), [LOG]) == ()
    assert [proposal.plan for proposal in twins(brief(*worse, width=2.1), [LOG])] == [replace(three, target="log")]
    assert [proposal.plan for proposal in twins(failed, [LOG, LINEAR_LEAVES])] == [replace(three, leaf="linear")]
    many = brief(*found, (ModelPlan(leaves=170), 3.0, "search"))
    assert [proposal.plan for proposal in twins(many, [LINEAR_LEAVES])] == [ModelPlan(leaves=85, leaf="linear")]
    # Where the best has linear leaves already, there is nothing to try.
    linear = brief(*found, (ModelPlan(leaves=31, leaf="linear"), 3.0, LINEAR_LEAVES.by))
    assert twins(linear, [LINEAR_LEAVES]) == ()


def test_the_last_trial_takes_no_blend_away() -> None:
    both = Rules("both", lambda brief: [Proposal(ModelPlan(), "log"), Proposal(ModelPlan(leaves=63), BLENDS)])
    assert [one.by for one in Enough(both, most=1, free={BLENDS}).propose(brief_of())] == ["log", BLENDS]


def test_no_logarithm_is_taken_of_what_is_not_above_zero() -> None:
    made = given(np.arange(400.0).reshape(200, 2), np.arange(200.0), None, "regression", Wishes())
    with pytest.raises(ValueError, match="above zero"):
        trained(Rows.of(made.rows), Request(ModelPlan(target="log"), "rmse"))
