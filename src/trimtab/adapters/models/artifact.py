"""A fitted model with its encoding, as a folder: model.json beside model.txt (LightGBM) or model.pkl (scikit-learn)."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trimtab.adapters.models.encoding import Encoding, Matrix
from trimtab.adapters.models.learn_encoding import encode
from trimtab.adapters.sources.dataset import QUANTITIES, Task
from trimtab.core.errors import InputError
from trimtab.core.model import Json

Vector = npt.NDArray[np.float64]


class Predictor(Protocol):
    """A LightGBM booster, or a wrapped estimator."""

    def predict(self, data: Any) -> Any: ...


@dataclass(frozen=True)
class Estimator:
    """A scikit-learn estimator as a Predictor: probabilities for classes, values otherwise.

    `reads_frames`: it is the user's own pipeline and takes a pandas DataFrame of raw columns.
    """

    model: Any
    task: Task
    reads_frames: bool = False

    def predict(self, data: Any) -> Vector:
        if self.task in QUANTITIES:
            return np.asarray(self.model.predict(data), float)
        chances = np.asarray(self.model.predict_proba(data), float)
        return chances[:, 1] if self.task == "binary" else chances


def answers(predictor: Predictor, x: Any) -> Vector:
    """What a model says of encoded rows."""
    if isinstance(predictor, Estimator):
        return predictor.predict(x)
    # One thread: for a few rows LightGBM's others only wait for each other, and burn CPU while they do.
    return np.asarray(predictor.predict(x, num_threads=1), np.float64)  # type: ignore[call-arg]


@dataclass(frozen=True)
class Fitted:
    """What predicts: raw columns → encoding → predictor."""

    encoding: Encoding
    task: Task
    classes: tuple[str, ...]
    predictor: Predictor

    def predict(self, x: Matrix) -> Vector:
        """P(class 1) or values as (n,), or class probabilities as (n, k), of an encoded matrix."""
        return answers(self.predictor, x)

    def predict_table(self, table: pa.Table) -> Vector:
        """The same of a raw table."""
        if isinstance(self.predictor, Estimator) and self.predictor.reads_frames:
            return self.predictor.predict(to_frame(table, [column.name for column in self.encoding.columns]))
        return self.predict(encode(table, self.encoding))


def to_frame(table: pa.Table, names: list[str]) -> Any:
    """Columns of a table as a pandas DataFrame, as users' own pipelines expect. Raises InputError without pandas."""
    try:
        import pandas  # noqa: F401
    except ImportError:
        raise InputError("today's model reads pandas frames", hint="pip install pandas") from None
    return table.select(names).to_pandas()


def save(folder: Path, fitted: Fitted, about: Mapping[str, Json]) -> None:
    """Write a fitted model as a folder, all or nothing. What stood there is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        _write(building, fitted, about)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(building, folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def load_fitted(folder: Path) -> Fitted:
    """Read what `save` wrote. Raises InputError when it is not there or not whole.

    A model.pkl is unpickled, which runs code: load only models that you wrote.
    """
    try:
        described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        encoding = Encoding.from_json(json.dumps(described["encoding"]))
        predictor = _read_predictor(folder)
    except (OSError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"{folder} holds no whole model: {error}", hint="make it again with `trimtab tune`") from None
    return Fitted(encoding, described["task"], tuple(described["classes"]), predictor)


def model_bytes(folder: Path) -> int:
    """The size of the model's own file."""
    return sum((folder / name).stat().st_size for name in ("model.txt", "model.pkl") if (folder / name).exists())


def predictor_bytes(predictor: Predictor) -> int:
    """The size of a model as it is written, without writing it."""
    if not isinstance(predictor, Estimator):
        return len(predictor.model_to_string())  # type: ignore[attr-defined]
    counted = _Counted()
    pickle.dump(predictor, counted, protocol=5)
    return counted.size


def about(folder: Path) -> Mapping[str, Any]:
    """What was written beside the model. Raises InputError."""
    try:
        return dict(json.loads((folder / "model.json").read_text(encoding="utf-8"))["about"])
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{folder} holds no whole model: {error}") from None


def _write(folder: Path, fitted: Fitted, described: Mapping[str, Json]) -> None:
    content = {
        "schema": 1,
        "task": fitted.task,
        "classes": list(fitted.classes),
        "encoding": json.loads(fitted.encoding.to_json()),
        "about": dict(described),
    }
    (folder / "model.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    if isinstance(fitted.predictor, Estimator):
        (folder / "model.pkl").write_bytes(pickle.dumps(fitted.predictor, protocol=5))
    else:
        fitted.predictor.save_model(str(folder / "model.txt"))  # type: ignore[attr-defined]


def _read_predictor(folder: Path) -> Predictor:
    if (folder / "model.pkl").exists():
        found: Predictor = pickle.loads((folder / "model.pkl").read_bytes())
        return found
    import lightgbm

    if not (folder / "model.txt").exists():
        raise ValueError("there is no model.txt and no model.pkl")
    booster: Predictor = lightgbm.Booster(model_file=str(folder / "model.txt"))
    return booster


class _Counted(io.RawIOBase):
    """Counts what is written to it and keeps nothing."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, chunk: Any) -> int:
        size = memoryview(chunk).nbytes
        self.size += size
        return size
