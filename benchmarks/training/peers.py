"""Runs one peer on one split, in the peer's own environment: `tune.py` starts it there. Imports nothing of trimtab.

    python peers.py '{"peer": "flaml", "seconds": 60, "folder": "…", "task": "binary", "metric": "auc", "seed": 0}'

The folder holds train.parquet and test.parquet with the target in `target`; predictions are written to predicted.npy.
Peers budget in wall seconds: here their clock is the CPU time of this process, so that a busy host takes nothing away
from them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

FLAML_METRIC = {"auc": "roc_auc", "rmse": "rmse", "mae": "mae", "log_loss": "log_loss"}
AUTOGLUON_METRIC = {
    "auc": "roc_auc",
    "rmse": "root_mean_squared_error",
    "mae": "mean_absolute_error",
    "log_loss": "log_loss",
}


def flaml(train: Any, test: Any, order: dict[str, Any]) -> Any:
    from flaml import AutoML

    automl = AutoML()
    automl.fit(
        train.drop(columns="target"),
        train["target"],
        task="regression" if order["task"] == "regression" else "classification",
        metric=FLAML_METRIC[order["metric"]],
        time_budget=order["seconds"],
        n_jobs=1,
        seed=order["seed"],
        verbose=0,
        split_type="time" if order["is_ordered"] else "auto",
    )
    x = test.drop(columns="target")
    return automl.predict(x) if order["task"] == "regression" else automl.predict_proba(x)


def autogluon(train: Any, test: Any, order: dict[str, Any]) -> Any:
    from autogluon.tabular import TabularPredictor

    predictor = TabularPredictor(
        "target",
        problem_type=order["task"],
        eval_metric=AUTOGLUON_METRIC[order["metric"]],
        path=str(Path(order["folder"]) / "autogluon"),
        verbosity=0,
    )
    predictor.fit(
        train,
        presets=order["preset"],
        time_limit=order["seconds"],
        num_cpus=1,
        num_gpus=0,
        # In this process and one after the other: ray's workers would run on another clock.
        ag_args_ensemble={"fold_fitting_strategy": "sequential_local"},
        dynamic_stacking=False,
    )
    x = test.drop(columns="target")
    if order["task"] == "regression":
        return predictor.predict(x).to_numpy()
    return predictor.predict_proba(x)[sorted(train["target"].unique())].to_numpy()


def main() -> None:
    import numpy as np
    import pandas as pd

    order = json.loads(sys.argv[1])
    folder = Path(order["folder"])
    train, test = (pd.read_parquet(folder / f"{name}.parquet") for name in ("train", "test"))
    for name in train.columns:
        if train[name].dtype == object or str(train[name].dtype) in ("str", "string", "bool"):
            kind = pd.CategoricalDtype(pd.unique(train[name].dropna().astype(str)))
            train[name], test[name] = (one[name].astype("string").astype(kind) for one in (train, test))
    if order["task"] != "regression":
        train["target"] = train["target"].astype(int)
    began = time.time()
    time.time = lambda: began + time.process_time()
    time.perf_counter = time.process_time
    predicted = {"flaml": flaml, "autogluon": autogluon}[order["peer"]](train, test, order)
    np.save(folder / "predicted.npy", np.asarray(predicted, float))


if __name__ == "__main__":
    main()
