"""LightGBM in a k-fold, which reads its table anew for each fold and uses every core."""

import lightgbm
import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import KFold


def load_rows():
    x, y = make_friedman1(12_000, 20, noise=1.0, random_state=0)
    return np.round(x, 6), y


losses = []
folds = list(KFold(4, shuffle=True, random_state=0).split(np.arange(12_000)))
for train, held in folds:
    x, y = load_rows()
    model = lightgbm.LGBMRegressor(n_estimators=200, num_leaves=31, n_jobs=-1, verbose=-1)
    model.fit(x[train], y[train])
    losses.append(mean_squared_error(y[held], model.predict(x[held])))
    print("fold", len(losses), "loss", losses[-1])
print("loss", np.mean(losses))
