"""Cross-validation of a pipeline whose first step is dear: nearest-neighbour imputation, then a search of a ridge."""

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.impute import KNNImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

rng = np.random.default_rng(0)
x, y = load_diabetes(return_X_y=True)
x = np.tile(x, (4, 1)) + rng.normal(0, 0.01, (4 * len(x), x.shape[1]))
y = np.tile(y, 4)
x[rng.random(x.shape) < 0.1] = np.nan
model = make_pipeline(KNNImputer(n_neighbors=7), StandardScaler(), Ridge())
search = GridSearchCV(model, {"ridge__alpha": [0.1, 1, 10, 100, 1000]}, cv=4, scoring="neg_root_mean_squared_error")
search.fit(x, y)
print("rmse", -search.best_score_)
