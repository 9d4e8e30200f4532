"""Loads a model in the form that it is served in. Standard library and numpy only: services carry a copy of this file.

The runtime of a form (LightGBM, pylignum, ONNX Runtime, scikit-learn) is imported when a form of that kind is loaded.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Predict = Callable[[Any], Vector]


@dataclass(frozen=True)
class Form:
    """A model that predicts: P(class 1) or values as (n,), or class probabilities as (n, k).

    `encoding` is the JSON text of the encoding; `reads_frames`: predict takes a pandas DataFrame of raw columns
    instead of an encoded matrix.
    """

    kind: str
    task: str
    classes: tuple[str, ...]
    encoding: str
    reads_frames: bool
    predict: Predict


def load_form(folder: Path, threads: int = 1) -> Form:
    """Read a form's folder. A pickle runs code, and so does a compiled library: load only what you wrote yourself."""
    about = json.loads((folder / "form.json").read_text(encoding="utf-8"))
    return Form(
        about["kind"],
        about["task"],
        tuple(about["classes"]),
        json.dumps(about["encoding"]),
        about["reads_frames"],
        LOADERS[about["kind"]](folder, about, threads),
    )


def _native(folder: Path, about: Mapping[str, Any], threads: int) -> Predict:
    import lightgbm

    booster = lightgbm.Booster(model_file=str(folder / "model.txt"))
    return lambda x: np.asarray(booster.predict(x, num_threads=threads), np.float64)


def _interpreter(folder: Path, about: Mapping[str, Any], threads: int) -> Predict:
    import lignum

    return _lignum(lignum.load(str(folder / "model.bin")), threads)


def _compiled(folder: Path, about: Mapping[str, Any], threads: int) -> Predict:
    import lignum

    return _lignum(lignum.load(str(folder / "model.bin"), compiled=str(folder / "model.so")), threads)


def _lignum(model: Any, threads: int) -> Predict:
    if threads == 1:
        return lambda x: model.predict(x, n_jobs=1, strategy="serial")
    return lambda x: model.predict(x, n_jobs=threads)


def _onnx(folder: Path, about: Mapping[str, Any], threads: int) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    entry, exit_ = session.get_inputs()[0].name, session.get_outputs()[-1].name
    task = about["task"]

    def predict(x: Any) -> Vector:
        found = np.asarray(session.run([exit_], {entry: np.asarray(x, np.float32)})[0], np.float64)
        return _shaped(found, task)

    return predict


def _pickled(folder: Path, about: Mapping[str, Any], threads: int) -> Predict:
    model = pickle.loads((folder / "model.pkl").read_bytes())
    task = about["task"]
    if task == "regression":
        return lambda x: np.asarray(model.predict(x), np.float64)
    return lambda x: _shaped(np.asarray(model.predict_proba(x), np.float64), task)


def _shaped(found: Vector, task: str) -> Vector:
    if task == "binary":
        return found[:, 1]
    return found.ravel() if task == "regression" else found


LOADERS: Mapping[str, Callable[[Path, Mapping[str, Any], int], Predict]] = {
    "native": _native,
    "interpreter": _interpreter,
    "compiled": _compiled,
    "onnx": _onnx,
    "pickle": _pickled,
}
# What each kind needs beside numpy, by the names of the package index.
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "native": ("lightgbm",),
    "interpreter": ("pylignum",),
    "compiled": ("pylignum",),
    "onnx": ("onnxruntime",),
    "pickle": ("scikit-learn",),
}
