"""The user's own model: an import path to a function that returns an unfitted estimator, or a torch module."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from trimtab.adapters.models.artifact import Estimator, Fitted, to_frame
from trimtab.adapters.models.dense import Design, design_of
from trimtab.adapters.models.encoding import Encoding, Matrix
from trimtab.adapters.models.learn_encoding import encode, learn
from trimtab.adapters.models.nets import FULL, UNKNOWN, Net, Shape, Size, built, is_module
from trimtab.adapters.sources.dataset import Dataset
from trimtab.adapters.sources.tables import import_function
from trimtab.core.errors import InputError


def load_current(source: str, folder: Path, shape: Shape = UNKNOWN, size: Size = FULL) -> Any:
    """What "file.py:function" returns, unfitted. Imports the user's code: call it in a child process.

    Raises InputError when the path, the function or its result is not usable; ValueError for a size it cannot have.
    """
    place, is_call, name = source.partition(".py:")
    if not is_call:
        raise InputError(f"model.current = {source!r} is no import path", hint="write it as 'file.py:function'")
    code = folder / f"{place}.py"
    function = import_function(code, name)
    try:
        model = built(function, shape, size)
    except ValueError as error:
        if size != FULL:
            raise
        raise _faulty(source, error) from error
    except Exception as error:  # a user's function may raise anything
        raise _faulty(source, error) from error
    if not is_module(model) and not (hasattr(model, "fit") and hasattr(model, "predict")):
        raise InputError(f"{source} gave a {type(model).__name__} without fit and predict", hint="return an estimator")
    return model


def _faulty(source: str, error: Exception) -> InputError:
    return InputError(f"{source} raised {type(error).__name__}: {error}", hint="call it on its own first")


def fit_current(source: str, folder: Path, dataset: Dataset, *, size: Size = FULL) -> Fitted:
    """Fit the user's model. An estimator gets a pandas DataFrame of all raw columns that are known: it chooses its own.

    A torch module gets standardised numbers and one-hot words of the columns that are used.
    """
    prepared = functools.cache(lambda: _prepared(dataset))  # estimators need none of it, and are not charged for it
    shape = Shape(lambda: prepared()[2].width, max(1, len(dataset.classes)))
    model = load_current(source, folder, shape, size)
    if is_module(model):
        encoding, x, design = prepared()
        net = Net(model, design, dataset.task).fit(x, dataset.y)
        return Fitted(encoding, dataset.task, dataset.classes, Estimator(net, dataset.task))
    encoding = learn(dataset, dataset.raw_names or dataset.names)
    names = [column.name for column in encoding.columns]
    y = dataset.y if dataset.task == "regression" else dataset.y.astype(int)
    model.fit(to_frame(dataset.table, names), y)
    return Fitted(encoding, dataset.task, dataset.classes, Estimator(model, dataset.task, reads_frames=True))


def _prepared(dataset: Dataset) -> tuple[Encoding, Matrix, Design]:
    encoding = learn(dataset, dataset.names)
    x = encode(dataset, encoding)
    return encoding, x, design_of(x, encoding)
