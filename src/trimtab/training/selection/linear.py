"""Ridge and logistic regression as scikit-learn pipelines over the encoded matrix."""

from __future__ import annotations

from typing import Any

from trimtab.adapters.models.encoding import Encoding
from trimtab.adapters.sources.dataset import QUANTITIES, Task

MOST_ONE_HOT = 200  # columns for one category column; rarer values share one


def linear_model(strength: float, encoding: Encoding, task: Task) -> Any:
    """An unfitted pipeline: standardised numbers and one-hot categories into a regularised linear model."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    words, numbers = list(encoding.categorical_features), list(encoding.numeric_features)
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MOST_ONE_HOT)
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler()), numbers),
            ("words", make_pipeline(SimpleImputer(strategy="constant", fill_value=-1.0), one_hot), words),
        ]
    )
    if task in QUANTITIES:
        return make_pipeline(columns, Ridge(alpha=1 / strength))
    return make_pipeline(columns, LogisticRegression(C=strength, max_iter=300))
