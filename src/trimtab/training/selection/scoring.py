"""Quality of predictions as scikit-learn names it, or as the user's own function: more is always better.

A scorer wants an estimator. It gets one that answers with predictions which were made already, so that one fit is
scored on many parts of its rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trimtab.adapters.models.metrics import score
from trimtab.adapters.sources.dataset import Task
from trimtab.core.errors import InputError

Vector = npt.NDArray[np.float64]
Scorer: TypeAlias = Callable[..., float]  # of (estimator, X, y), as scikit-learn has them
Wanted: TypeAlias = str | Scorer | None

DEFAULTS: Mapping[Task, str] = {
    "binary": "neg_log_loss",
    "multiclass": "neg_log_loss",
    "regression": "neg_root_mean_squared_error",
    "ranking": "ndcg",
}
# Those that can be had from class numbers alone: the same values, without the checks that cost most on small parts.
OWN: Mapping[str, tuple[str, float]] = {
    "neg_log_loss": ("log_loss", -1.0),
    "accuracy": ("accuracy", 1.0),
    "neg_root_mean_squared_error": ("rmse", -1.0),
    "neg_mean_absolute_error": ("mae", -1.0),
    "r2": ("r2", 1.0),
}
NDCG_AT = 10


@dataclass(frozen=True)
class Truth:
    """The rows that are scored, in the order of the data set. `x` and `y` are the user's own, for scorers."""

    task: Task
    codes: Vector  # class numbers, values or relevances
    classes: npt.NDArray[Any]
    x: Callable[[npt.NDArray[np.int64]], Any]
    y: npt.NDArray[Any]
    queries: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Scoring:
    """A metric on some of the rows of a truth."""

    name: str
    truth: Truth
    function: Callable[[Truth, npt.NDArray[np.int64], Vector], float]

    def __call__(self, places: npt.NDArray[np.int64], predicted: Vector) -> float:
        """The score of predictions for the rows at these places; NaN where it is not defined."""
        return float(self.function(self.truth, places, predicted))

    @property
    def loss(self) -> str:
        """The metric that training itself aims at, by its name in this project."""
        return "mae" if self.name in ("neg_mean_absolute_error", "neg_median_absolute_error") else "score"


def scoring_of(wanted: Wanted, truth: Truth) -> Scoring:
    """A metric's name, a scorer, or a function of (true, predicted) as a Scoring. Raises InputError."""
    if wanted is None:
        wanted = DEFAULTS[truth.task]
    if truth.task == "ranking":
        return _ranking(wanted, truth)
    if isinstance(wanted, str):
        if wanted == "roc_auc" and truth.task == "binary":
            return Scoring(wanted, truth, lambda t, at, p: score("auc", t.codes[at], p))
        if wanted in OWN:
            return _own(wanted, truth)
    return Scoring(_name(wanted), truth, _through(scorer_of(wanted)))


def scorer_of(wanted: str | Scorer) -> Scorer:
    """A scorer as scikit-learn has them: by name, as it is, or made of a function of (true, predicted)."""
    if isinstance(wanted, str):
        return _named(wanted)
    if not callable(wanted):
        raise InputError(f"scoring is a {type(wanted).__name__}", hint="a metric's name, or a function")
    return _as_scorer(wanted)


def _name(wanted: str | Scorer) -> str:
    return wanted if isinstance(wanted, str) else getattr(wanted, "__name__", "score")


def _own(name: str, truth: Truth) -> Scoring:
    metric, sign = OWN[name]
    is_for_classes = metric in ("log_loss", "accuracy")
    if is_for_classes != (truth.task in ("binary", "multiclass")):
        raise InputError(f"the metric {name!r} does not fit a {truth.task} target", hint="name another scoring")
    return Scoring(name, truth, lambda t, at, p: sign * score(metric, t.codes[at], p))


def _ranking(wanted: str | Scorer, truth: Truth) -> Scoring:
    if wanted == "ndcg":
        return Scoring("ndcg", truth, _mean_ndcg)
    if isinstance(wanted, str):
        raise InputError(f"the metric {wanted!r} is not known for rankings", hint="'ndcg', or a function")
    return Scoring(_name(wanted), truth, _through(scorer_of(wanted)))


def _mean_ndcg(truth: Truth, places: npt.NDArray[np.int64], predicted: Vector) -> float:
    """The mean over queries; one without anything relevant counts for nothing."""
    assert truth.queries is not None
    queries, relevance = truth.queries[places], truth.codes[places]
    starts = np.flatnonzero(np.diff(queries, prepend=queries[0] - 1))
    found = [
        _ndcg(one, guess)
        for one, guess in zip(np.split(relevance, starts[1:]), np.split(predicted, starts[1:]), strict=True)
        if one.any()
    ]
    return float(np.mean(found)) if found else float("nan")


def _ndcg(relevance: Vector, predicted: Vector) -> float:
    discounts = 1 / np.log2(np.arange(2, min(NDCG_AT, len(relevance)) + 2))
    gains = 2.0**relevance - 1
    best = np.sort(gains)[::-1][: len(discounts)] @ discounts
    order = np.argsort(-predicted, kind="stable")[: len(discounts)]
    return float(gains[order] @ discounts / best)


def _named(name: str) -> Scorer:
    from sklearn.metrics import get_scorer

    try:
        found: Scorer = get_scorer(name)
    except ValueError:
        raise InputError(
            f"there is no metric {name!r}", hint="sklearn.metrics.get_scorer_names() lists them; a function does, too"
        ) from None
    return found


def _as_scorer(function: Callable[..., float]) -> Scorer:
    """A function of (estimator, X, y) as it is; one of (true, predicted) becomes such a one."""
    from sklearn.metrics import make_scorer

    if hasattr(function, "_score_func"):
        return function
    given = inspect.signature(function).parameters.values()
    needed = [
        one
        for one in given
        if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    return function if len(needed) == 3 else make_scorer(function)


def _through(scorer: Scorer) -> Callable[[Truth, npt.NDArray[np.int64], Vector], float]:
    def scored(truth: Truth, places: npt.NDArray[np.int64], predicted: Vector) -> float:
        return float(scorer(_answering(truth, predicted), truth.x(places), truth.y[places]))

    return scored


def _answering(truth: Truth, predicted: Vector) -> Any:
    """A fitted scikit-learn estimator that knows one answer."""
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

    class Classes(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        classes_ = truth.classes

        def predict_proba(self, X: Any) -> Vector:
            return chances(predicted)

        def predict(self, X: Any) -> npt.NDArray[Any]:
            return np.asarray(truth.classes[chances(predicted).argmax(axis=1)])

        def __sklearn_is_fitted__(self) -> bool:
            return True

    class Values(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        def predict(self, X: Any) -> Vector:
            return predicted

        def __sklearn_is_fitted__(self) -> bool:
            return True

    return Values() if truth.task in ("regression", "ranking") else Classes()


def chances(predicted: Vector) -> Vector:
    """Class probabilities (n, k) of what a model predicts."""
    return predicted if predicted.ndim == 2 else np.column_stack([1 - predicted, predicted])


def guesses(truth: Truth, places: npt.NDArray[np.int64], seed: int = 0) -> Vector:
    """Some predictions of the right shape: what a metric must be able to score."""
    rng = np.random.default_rng(seed)
    if truth.task in ("regression", "ranking"):
        return np.asarray(rng.permutation(truth.codes[places]))
    drawn = rng.random((len(places), max(2, len(truth.classes)))) + 0.1
    drawn = drawn / drawn.sum(axis=1, keepdims=True)
    return np.asarray(drawn[:, 1] if truth.task == "binary" else drawn)


def is_defined(scoring: Scoring, parts: Sequence[npt.NDArray[np.int64]]) -> bool:
    """Whether the metric gives a number on each of these parts."""
    try:
        return all(len(at) and np.isfinite(scoring(at, guesses(scoring.truth, at))) for at in parts)
    except ValueError:  # such as a part with one class
        return False
