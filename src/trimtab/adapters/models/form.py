"""Loads a model in the form that it is served in. Standard library and numpy only: services carry a copy of this file.

The runtime of a form (LightGBM, pylignum, ONNX Runtime, scikit-learn) is imported when a form of that kind is loaded.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Predict = Callable[[Any], Vector]
ARRAYS = ("numbers", "fill", "words", "table", "sizes")  # of a network, beside its layers


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


@dataclass(frozen=True)
class Layers:
    """A linear model or a small network over encoded rows, in numpy alone: what `adapters.models.dense` trains.

    Numbers, missing ones filled, go through the first layer; each word adds a row of its table, whose row 0 is for
    what is missing or was never seen: `table` holds them all, one below the other, `sizes` their rows. Further layers
    follow a ReLU.
    """

    task: str
    numbers: npt.NDArray[np.int64]
    fill: Vector
    words: npt.NDArray[np.int64]
    table: Vector
    sizes: npt.NDArray[np.int64]
    layers: tuple[tuple[Vector, Vector], ...]

    def predict(self, x: Any) -> Vector:
        """Values, or the scores of classes, as (n,) or (n, k)."""
        numbers = x.take(self.numbers, axis=1)
        unknown = np.isnan(numbers)
        if unknown.any():
            numbers = np.where(unknown, self.fill, numbers)
        (weights, bias), *rest = self.layers
        found: Vector = numbers @ weights + bias
        for place, start, known in self._words:
            codes = x[:, place]
            # NaN is not below anything: it takes row 0, as rare codes do.
            rows = np.where(codes < known, codes + (start + 1), start)
            found += self.table.take(rows.astype(np.intp), axis=0)
        for weights, bias in rest:
            found = np.maximum(found, 0.0) @ weights + bias
        return found[:, 0] if found.shape[1] == 1 else found

    @cached_property
    def _words(self) -> tuple[tuple[int, int, int], ...]:
        """For each word its column, where its rows begin, and how many of its values have rows of their own."""
        starts = np.cumsum(self.sizes) - self.sizes
        return tuple(zip(self.words.tolist(), starts.tolist(), (self.sizes - 1).tolist(), strict=True))

    def predict_proba(self, x: Any) -> Vector:
        """The chances of the classes, (n, k)."""
        scores = self.predict(x)
        if scores.ndim == 1:
            chances = 1.0 / (1.0 + np.exp(-np.clip(scores, -700, 700)))
            return np.column_stack([1.0 - chances, chances])
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))

    def save(self, file: Path) -> None:
        """Write the arrays as .npz."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        for place, (weights, bias) in enumerate(self.layers):
            arrays |= {f"weights{place}": weights, f"bias{place}": bias}
        np.savez(file, allow_pickle=False, **arrays)


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


def _layers(folder: Path, about: Mapping[str, Any], threads: int) -> Predict:
    task = about["task"]
    with np.load(folder / "model.npz", allow_pickle=False) as kept:
        depth = sum(name.startswith("weights") for name in kept)
        layers = tuple((kept[f"weights{place}"], kept[f"bias{place}"]) for place in range(depth))
        numbers, fill, words, table, sizes = (kept[name] for name in ARRAYS)
        model = Layers(task, numbers, fill, words, table, sizes, layers)
    return model.predict if task == "regression" else lambda x: _shaped(model.predict_proba(x), task)


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
    "layers": _layers,
}
# What each kind needs beside numpy, by the names of the package index.
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "native": ("lightgbm",),
    "interpreter": ("pylignum",),
    "compiled": ("pylignum",),
    "onnx": ("onnxruntime",),
    "pickle": ("scikit-learn",),
    "layers": (),
}
