"""Several models as one, whose raw score is the mean of theirs; and one that is kept within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trimtab.adapters.models.artifact import Estimator, Predictor, answers
from trimtab.adapters.models.boosting import averaged, mean_prediction
from trimtab.adapters.sources.dataset import Task

Reach: TypeAlias = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Blend:
    """Models of several families, as scikit-learn shows a model. `weights`: how many models each part stands for."""

    parts: tuple[Predictor, ...]
    weights: tuple[int, ...]
    task: Task

    def predict(self, data: Any) -> npt.NDArray[np.float64]:
        """Values of a regression, as (n,)."""
        return self._mean(data)

    def predict_proba(self, data: Any) -> npt.NDArray[np.float64]:
        """Chances of the classes, as (n, k)."""
        found = self._mean(data)
        return np.column_stack([1 - found, found]) if self.task == "binary" else found

    def _mean(self, data: Any) -> npt.NDArray[np.float64]:
        return mean_prediction([answers(one, data) for one in self.parts], self.task, self.weights)


@dataclass(frozen=True)
class Bounded:
    """A model that may go far astray where there were no rows, as one taught a target's logarithm or linear leaves.

    What it says stays between the targets that it has seen. As scikit-learn shows a regression. `reach`: the lowest and
    the highest value of each column that it may extend; what lies further out is read as these.
    """

    model: Predictor
    low: float
    high: float
    is_log: bool
    reach: Reach | None = None

    def predict(self, data: Any) -> npt.NDArray[np.float64]:
        """Values of the target, as (n,)."""
        found = answers(self.model, data if self.reach is None else np.clip(data, *self.reach))
        if self.is_log:
            return np.asarray(np.exp(np.clip(found, np.log(self.low), np.log(self.high))))
        return np.asarray(np.clip(found, self.low, self.high))


def blended(models: Sequence[Any], task: Task) -> Any:
    """The model itself, one booster of all trees where all are boosters, or else a blend as an `Estimator`.

    A model that is named several times counts as often.
    """
    counts = {id(one): sum(other is one for other in models) for one in models}
    distinct = list({id(one): one for one in models}.values())
    boosters = [one for one in distinct if not isinstance(one, Estimator)]
    others = [one for one in distinct if isinstance(one, Estimator)]
    weights = [counts[id(one)] for one in boosters]
    if not others:
        return averaged(boosters, weights)
    if len(distinct) == 1:
        return others[0]
    joined = [averaged(boosters, weights)] if boosters else []
    return Estimator(
        Blend((*joined, *others), (*[sum(weights)] * len(joined), *(counts[id(one)] for one in others)), task), task
    )
