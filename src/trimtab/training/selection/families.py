"""The model families beside boosting, as scikit-learn pipelines over the encoded matrix."""

from __future__ import annotations

from typing import Any

from trimtab.adapters.models.encoding import Encoding
from trimtab.adapters.sources.dataset import Task
from trimtab.training.selection.plan import Selection

TREES = 100
MOST_ONE_HOT = 200  # columns for one category column; rarer values share one


def linear_model(plan: Selection, encoding: Encoding, task: Task, seed: int) -> Any:
    """Ridge or logistic regression on standardised numbers and one-hot categories."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    words = list(encoding.categorical_features)
    numbers = [place for place in range(len(encoding.feature_names)) if place not in set(words)]
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MOST_ONE_HOT)
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler()), numbers),
            ("words", make_pipeline(SimpleImputer(strategy="constant", fill_value=-1.0), one_hot), words),
        ]
    )
    last: Any = Ridge(alpha=1 / plan.linear_strength)
    if task != "regression":
        last = LogisticRegression(C=plan.linear_strength, max_iter=300, random_state=seed)
    return make_pipeline(columns, last)


def randomised_trees(plan: Selection, encoding: Encoding, task: Task, seed: int) -> Any:
    """100 extremely randomised trees on the codes as they are; scikit-learn's trees take missing values."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    kind = ExtraTreesRegressor if task == "regression" else ExtraTreesClassifier
    return kind(
        n_estimators=TREES,
        min_samples_leaf=plan.tree_leaf_rows,
        max_features=plan.tree_column_share,
        n_jobs=1,
        random_state=seed,
    )
