"""The user's own model: an import path to a function that returns an unfitted estimator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trimtab.adapters.models.artifact import Estimator, Fitted, to_frame
from trimtab.adapters.models.learn_encoding import learn
from trimtab.adapters.sources.dataset import Dataset
from trimtab.adapters.sources.tables import import_function
from trimtab.core.errors import InputError


def load_current(source: str, folder: Path) -> Any:
    """The unfitted estimator that "file.py:function" returns. Imports the user's code: call it in a child process.

    Raises InputError when the path, the function or its result is not usable.
    """
    place, is_call, name = source.partition(".py:")
    if not is_call:
        raise InputError(f"model.current = {source!r} is no import path", hint="write it as 'file.py:function'")
    code = folder / f"{place}.py"
    function = import_function(code, name)
    try:
        model = function()
    except Exception as error:  # a user's function may raise anything
        raise InputError(f"{source} raised {type(error).__name__}: {error}", hint="call it on its own first") from error
    if not (hasattr(model, "fit") and hasattr(model, "predict")):
        raise InputError(f"{source} gave a {type(model).__name__} without fit and predict", hint="return an estimator")
    return model


def fit_current(source: str, folder: Path, dataset: Dataset) -> Fitted:
    """Fit the user's model on a pandas DataFrame of all raw columns that are known: it chooses its own."""
    model = load_current(source, folder)
    encoding = learn(dataset, dataset.raw_names or dataset.names)
    names = [column.name for column in encoding.columns]
    y = dataset.y if dataset.task == "regression" else dataset.y.astype(int)
    model.fit(to_frame(dataset.table, names), y)
    return Fitted(encoding, dataset.task, dataset.classes, Estimator(model, dataset.task, reads_frames=True))
