"""Linear models and small networks: trained by scikit-learn, folded into sums of columns that numpy alone can add up.

A pipeline of scikit-learn spends milliseconds on one row, nearly all of it in checks. Folded, standardisation is part
of the weights and one-hot columns are rows of a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.adapters.models.encoding import Encoding, Matrix
from trimtab.adapters.models.form import Layers
from trimtab.adapters.sources.dataset import Task

MOST_SLOTS = 64  # values of one column that have weights of their own; rarer ones share one
EPOCHS = 40
PATIENCE = 5  # epochs without a gain


@dataclass(frozen=True)
class Design:
    """How encoded rows become the matrix that is trained on."""

    numbers: npt.NDArray[np.int64]
    fill: Matrix  # what stands for a missing number
    mean: Matrix
    scale: Matrix
    words: npt.NDArray[np.int64]
    slots: tuple[int, ...]  # of each word column; slot 0 is for what is missing, rare or was never seen

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return len(self.numbers) + sum(self.slots)

    def matrix(self, x: Matrix) -> Any:
        """Standardised numbers beside one-hot words; sparse where there are words."""
        from scipy import sparse

        numbers = (np.where(np.isnan(x[:, self.numbers]), self.fill, x[:, self.numbers]) - self.mean) / self.scale
        if not len(self.words):
            return numbers
        parts = [sparse.csr_array(numbers)]
        for place, slots in zip(self.words, self.slots, strict=True):
            columns = np.where(x[:, place] < slots - 1, x[:, place] + 1, 0).astype(np.int64)
            ones = np.ones(len(x))
            parts.append(sparse.csr_array((ones, (np.arange(len(x)), columns)), shape=(len(x), slots)))
        return sparse.csr_array(sparse.hstack(parts))


def design_of(x: Matrix, encoding: Encoding) -> Design:
    """The design for training rows."""
    words = np.array(encoding.categorical_features, np.int64)
    numbers = np.array(encoding.numeric_features, np.int64)
    filled = x[:, numbers]
    known = ~np.isnan(filled)
    fill = np.where(known, filled, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, filled, fill)
    scale = filled.std(axis=0) if len(numbers) else np.zeros(0)
    sizes = {column.name: len(column.categories) for column in encoding.columns}
    slots = tuple(min(MOST_SLOTS, sizes[encoding.feature_names[place]]) + 1 for place in words)
    return Design(numbers, fill, fill, np.where(scale > 0, scale, 1.0), words, slots)


def fit_linear(x: Matrix, y: Matrix, weights: Matrix | None, encoding: Encoding, task: Task) -> Layers:
    """Ridge or logistic regression, folded."""
    from sklearn.linear_model import LogisticRegression, Ridge

    design = design_of(x, encoding)
    model: Any = Ridge(1.0) if task == "regression" else LogisticRegression(max_iter=100, tol=1e-3)
    model.fit(design.matrix(x), y, sample_weight=weights)
    coefficients = np.atleast_2d(model.coef_).T
    return _folded(design, [(coefficients, np.atleast_1d(model.intercept_))], task)


def fit_network(x: Matrix, y: Matrix, weights: Matrix | None, encoding: Encoding, task: Task, *, hidden: int) -> Layers:
    """A network of one hidden layer, folded."""
    import warnings

    from sklearn.neural_network import MLPClassifier, MLPRegressor

    design, is_values = design_of(x, encoding), task == "regression"
    shift, spread = (float(y.mean()), float(y.std()) or 1.0) if is_values else (0.0, 1.0)
    kind = MLPRegressor if is_values else MLPClassifier
    model = kind(
        hidden_layer_sizes=(hidden,),
        random_state=0,
        learning_rate_init=0.005,
        batch_size=min(256, len(x)),
        max_iter=EPOCHS,
        n_iter_no_change=PATIENCE,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that EPOCHS were reached
        model.fit(design.matrix(x), (y - shift) / spread if is_values else y, sample_weight=weights)
    layers = list(zip(model.coefs_, model.intercepts_, strict=True))
    layers[-1] = (layers[-1][0] * spread, layers[-1][1] * spread + shift)
    return _folded(design, layers, task)


def _folded(design: Design, layers: list[tuple[Matrix, Matrix]], task: Task) -> Layers:
    """Standardisation goes into the first layer; its one-hot columns become the table."""
    (first, bias), rest = layers[0], layers[1:]
    count = len(design.numbers)
    weights = first[:count] / design.scale[:, None]
    sizes = np.array(design.slots, np.int64)
    table = np.ascontiguousarray(first[count:])
    whole = ((weights, bias - design.mean @ weights), *rest)
    return Layers(task, design.numbers, design.fill, design.words, table, sizes, whole)
