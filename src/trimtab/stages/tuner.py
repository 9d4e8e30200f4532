"""`trimtab.Tuner`: the race of `tune` as a scikit-learn estimator, on rows in memory and without a configuration."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils import ClassifierTags, RegressorTags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from trimtab.core.budget import Stopwatch
from trimtab.core.errors import InputError
from trimtab.stages.tuning import Effort, tune_rows
from trimtab.training.selection.frames import like, to_table
from trimtab.training.selection.given import KINDS, Kind, Wishes, given, truth_of_ranking
from trimtab.training.selection.scoring import Wanted, chances, scorer_of, scoring_of

if TYPE_CHECKING:
    from sklearn.utils import Tags


class Tuner(BaseEstimator):  # type: ignore[misc]
    """Chooses and trains a model for a table, within a budget of CPU seconds.

    task: "classification", "regression", "ranking", or "auto", which goes by the target.
    scoring: a scikit-learn metric's name, a scorer (estimator, X, y), or a function (true, predicted); more is better.
    budget: CPU seconds for everything; one training may overrun it.
    cv: scikit-learn's folds, of which the last confirms; time: a column that orders the rows (the latest confirm).
    trials: plans to train at the most, blends of them aside; where this and not the budget ends the search, results
    repeat exactly.

    Fitted: `report_` (what was spent, the oracle's cost, the gain), `plan_`, `model_`, `classes_`.
    """

    def __init__(
        self,
        *,
        task: str = "auto",
        scoring: Wanted = None,
        budget: float = 60.0,
        cv: Any = None,
        time: str | int | None = None,
        trials: int | None = None,
        threads: int | None = None,
        random_state: int = 0,
    ) -> None:
        self.task, self.scoring, self.budget, self.cv = task, scoring, budget, cv
        self.time, self.trials, self.threads, self.random_state = time, trials, threads, random_state

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> Tuner:
        """Search, confirm and train. `groups`: rows that stay together (not with `time`); of a ranking, the queries.

        Raises ValueError for what cannot be used: a target of one class, a metric that is NaN, unknown options.
        """
        watch = Stopwatch()
        try:
            self._require_options()
            made = given(X, y, groups, self._kind(), Wishes(self.time, self.cv, self.random_state))
            validate_data(self, X, skip_check_array=True)
            effort = Effort(float(self.budget), self.trials, self.threads, self.random_state)
            tuned = tune_rows(made, scoring_of(self.scoring, made.truth), effort, watch)
        except InputError as error:
            raise ValueError(str(error)) from error
        self.model_, self.plan_, self.report_ = tuned.model, tuned.plan, tuned.report
        self.task_, self._schema, self._texts = made.rows.task, made.schema, made.texts
        if self._predicts_classes():
            self.classes_ = made.truth.classes
        return self

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most likely class, the value, or the score that ranks."""
        predicted = self._predicted(X)
        if self.task_ in ("regression", "ranking"):
            return predicted
        return np.asarray(self.classes_[chances(predicted).argmax(axis=1)])

    @available_if(lambda self: self._predicts_classes())  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """The probability of each class, in the order of `classes_`."""
        return chances(self._predicted(X))

    def score(self, X: Any, y: Any, groups: Any = None) -> float:
        """By `scoring`, or where none was named: accuracy, R², or NDCG by query. `groups`: a ranking's queries."""
        from sklearn.metrics import accuracy_score, r2_score

        check_is_fitted(self)
        if self.task_ == "ranking" and not callable(self.scoring):
            return self._ndcg(X, y, groups)
        if self.scoring is not None:
            return float(scorer_of(self.scoring)(self, X, y))
        return float((accuracy_score if self._predicts_classes() else r2_score)(y, self.predict(X)))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if self._predicts_classes():
            tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        elif getattr(self, "task_", self.task) == "regression":
            tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        tags.target_tags.required = True
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        tags.non_deterministic = self.trials is None  # how far a budget reaches depends on the machine
        return tags

    def _predicts_classes(self) -> bool:
        return getattr(self, "task_", self.task) in ("classification", "binary", "multiclass")

    def _kind(self) -> Kind:
        if self.task not in KINDS:
            raise InputError(f"task={self.task!r}", hint=f"one of {', '.join(KINDS)}")
        return self.task  # type: ignore[return-value]

    def _require_options(self) -> None:
        if not (isinstance(self.budget, (int, float)) and self.budget > 0 and math.isfinite(self.budget)):
            raise InputError(f"budget={self.budget!r}", hint="a number of CPU seconds above 0")
        if self.trials is not None and self.trials < 1:
            raise InputError(f"trials={self.trials!r}", hint="at least 1, or None for no limit but the budget")

    def _ndcg(self, X: Any, y: Any, queries: Any) -> float:
        if queries is None:
            raise ValueError("a ranking is scored by query: score(X, y, groups=query_ids), or a function as scoring=")
        try:
            truth, order = truth_of_ranking(X, y, queries)
        except InputError as error:
            raise ValueError(str(error)) from error
        return scoring_of(self.scoring, truth)(np.arange(len(order)), self.predict(X)[order])

    def _predicted(self, X: Any) -> npt.NDArray[np.float64]:
        check_is_fitted(self)
        table = to_table(X)
        validate_data(self, X, skip_check_array=True, reset=False)
        return self.model_.predict_table(self._texts.numbers(like(table, self._schema)))
