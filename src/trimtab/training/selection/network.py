"""A small neural network over the encoded matrix: where trees step, it bends, so that the two err apart."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from trimtab.adapters.models.encoding import Encoding, Matrix
from trimtab.adapters.sources.dataset import QUANTITIES, Task

SECOND = 0.5  # the second layer's units, as a share of the first's
MOST_ONE_HOT = 100  # columns for one category column; rarer values share one
QUANTILES, QUANTILE_ROWS = 200, 20_000
FARTHEST = 4.0  # deviations: what lies beyond counts as there
EPOCHS, PATIENCE, HELD_SHARE = 60, 8, 0.1
FLOPS_A_SECOND = 8e9  # of one core, for matrices as small as these
USUAL_EPOCHS = 25


@dataclass(frozen=True)
class Network:
    """A fitted network, as scikit-learn shows a model. `shift`, `spread`: what a quantity was standardised by."""

    columns: Any
    model: Any
    shift: float = 0.0
    spread: float = 1.0
    low: float = -np.inf  # what it says of a quantity stays within the targets that it has seen
    high: float = np.inf

    def predict(self, x: Any) -> npt.NDArray[np.float64]:
        """Values of a regression, as (n,)."""
        found = self.model.predict(inputs(self.columns, x)).astype(float) * self.spread + self.shift
        return np.asarray(np.clip(found, self.low, self.high))

    def predict_proba(self, x: Any) -> npt.NDArray[np.float64]:
        """Chances of the classes, as (n, k)."""
        return np.asarray(self.model.predict_proba(inputs(self.columns, x)), float)


@dataclass(frozen=True)
class Build:
    """How a network is made. `hidden`: units of its first layer."""

    hidden: int
    seed: int
    threads: int


def fit_network(x: Matrix, y: Matrix, encoding: Encoding, task: Task, build: Build) -> Network:
    """Two hidden layers; a tenth of the rows, drawn, tells when to stop."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    columns = _columns(encoding)
    columns.fit(x)
    made = inputs(columns, x)
    is_quantity = task in QUANTITIES
    kind = MLPRegressor if is_quantity else MLPClassifier
    model = kind(
        hidden_layer_sizes=(build.hidden, round(build.hidden * SECOND)),
        batch_size=min(256, max(32, len(x) // 40)),
        max_iter=EPOCHS,
        early_stopping=True,
        n_iter_no_change=PATIENCE,
        validation_fraction=HELD_SHARE,
        random_state=build.seed,
    )
    shift, spread = (float(y.mean()), float(y.std()) or 1.0) if is_quantity else (0.0, 1.0)
    with warnings.catch_warnings(), threadpool_limits(build.threads):
        warnings.simplefilter("ignore", ConvergenceWarning)  # that EPOCHS were reached
        model.fit(made, ((y - shift) / spread).astype(np.float32) if is_quantity else y.astype(int))
    low, high = (float(y.min()), float(y.max())) if is_quantity else (-np.inf, np.inf)
    return Network(columns, model, shift, spread, low, high)


def inputs(columns: Any, x: Any) -> npt.NDArray[np.float32]:
    """What the network reads, in single precision, which is enough and half the work."""
    return np.asarray(columns.transform(x), np.float32)


def expected_seconds(rows: int, encoding: Encoding, hidden: int) -> float:
    """CPU seconds that training will take at the most, about: on ten sets it took 0.2 to 1.0 of them."""
    sizes = {column.name: min(MOST_ONE_HOT, len(column.categories)) for column in encoding.columns}
    words = set(encoding.categorical_features)
    width = sum(sizes[name] if place in words else 2 for place, name in enumerate(encoding.feature_names))
    weights = width * hidden + hidden * hidden * SECOND
    return 6 * weights * rows * USUAL_EPOCHS / FLOPS_A_SECOND


def _columns(encoding: Encoding) -> Any:
    """Numbers twice, standardised and by rank: one keeps distances, the other spreads out what is crowded."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, QuantileTransformer, StandardScaler

    words, numbers = list(encoding.categorical_features), list(encoding.numeric_features)
    near = FunctionTransformer(np.clip, kw_args={"a_min": -FARTHEST, "a_max": FARTHEST})
    ranks = QuantileTransformer(n_quantiles=QUANTILES, subsample=QUANTILE_ROWS, random_state=0)
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=MOST_ONE_HOT, sparse_output=False, dtype=np.float32
    )
    filled = SimpleImputer(strategy="median", keep_empty_features=True, add_indicator=True)
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(filled, make_union(make_pipeline(StandardScaler(), near), ranks)), numbers),
            ("words", make_pipeline(SimpleImputer(strategy="constant", fill_value=-1.0), one_hot), words),
        ],
        sparse_threshold=0,
    )
