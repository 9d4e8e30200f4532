"""Makes forms of a model: folders named by content, that `adapters.models.form.load_form` reads."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trimtab.adapters.models.artifact import Estimator, Fitted, load_fitted
from trimtab.adapters.models.form import Layers
from trimtab.core.model import Json
from trimtab.core.wire import digest
from trimtab.inference.conversion.plan import FormPlan

LAYOUT = 1
MOST_ONNX_SPLITS = 30_000  # ONNX trees know no sets: each category of each split becomes a node of its own


def form_folder(cache: Path, fingerprint: str, plan: FormPlan) -> Path:
    """Where a form of a model is kept."""
    return cache / "forms" / digest([LAYOUT, fingerprint, plan])[:24]


def prepare(model: Path, fingerprint: str, plan: FormPlan, cache: Path) -> Path:
    """The folder of a form, made once. Raises ValueError when the model cannot take that form."""
    to = form_folder(cache, fingerprint, plan)
    if (to / "form.json").exists():
        return to
    return write_form(load_fitted(model), plan, to)


def write_form(fitted: Fitted, plan: FormPlan, to: Path) -> Path:
    """Write a form to a folder, all or nothing. Raises ValueError when the model cannot take that form."""
    to.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{to.name}-"))
    try:
        kind = _write_model(fitted, plan, building)
        (building / "form.json").write_text(json.dumps(_described(fitted, kind), indent=1), encoding="utf-8")
        _put(building, to)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return to


def form_bytes(folder: Path) -> int:
    """The size of what is deployed."""
    return sum(file.stat().st_size for file in folder.iterdir())


def _put(building: Path, to: Path) -> None:
    try:
        os.replace(building, to)
    except OSError:
        if not (to / "form.json").exists():
            raise  # else another process was faster, with the same content


def _described(fitted: Fitted, kind: str) -> dict[str, Json]:
    reads_frames = isinstance(fitted.predictor, Estimator) and fitted.predictor.reads_frames
    return {
        "schema": 1,
        "kind": kind,
        "task": fitted.task,
        "classes": list(fitted.classes),
        "encoding": json.loads(fitted.encoding.to_json()),
        "reads_frames": reads_frames,
    }


def _write_model(fitted: Fitted, plan: FormPlan, folder: Path) -> str:
    if isinstance(fitted.predictor, Estimator):
        return _write_estimator(fitted, fitted.predictor, plan, folder)
    _WRITERS[plan.form](fitted, plan, folder)
    return plan.form


def _write_estimator(fitted: Fitted, estimator: Estimator, plan: FormPlan, folder: Path) -> str:
    if plan.trees < 1:
        raise ValueError("only boosted trees can be cut short")
    if plan.form == "native" and isinstance(estimator.model, Layers):
        estimator.model.save(folder / "model.npz")
        return "layers"
    if plan.form == "native":
        # The user's object itself, not our wrapper: a service knows nothing of trimtab.
        (folder / "model.pkl").write_bytes(pickle.dumps(estimator.model, protocol=5))
        return "pickle"
    if plan.form != "onnx" or isinstance(estimator.model, Layers):
        raise ValueError(f"{plan.form} is a form of LightGBM models, not of a {type(estimator.model).__name__}")
    if estimator.reads_frames:
        raise ValueError("a pipeline that reads raw columns is not converted")
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    width = len(fitted.encoding.feature_names)
    options = None if fitted.task == "regression" else {"zipmap": False}
    graph = to_onnx(estimator.model, initial_types=[("x", FloatTensorType([None, width]))], options=options)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    return "onnx"


def _kept_rounds(booster: Any, plan: FormPlan) -> int:
    used = int(booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration())
    return max(1, round(used * plan.trees))


def _native(fitted: Fitted, plan: FormPlan, folder: Path) -> None:
    booster: Any = fitted.predictor
    booster.save_model(str(folder / "model.txt"), num_iteration=_kept_rounds(booster, plan))


def _interpreter(fitted: Fitted, plan: FormPlan, folder: Path) -> None:
    _lignum(fitted, plan, folder)


def _compiled(fitted: Fitted, plan: FormPlan, folder: Path) -> None:
    model = _lignum(fitted, plan, folder)
    with tempfile.TemporaryDirectory() as work:
        try:
            model.compile(library=str(folder / "model.so"), flags=plan.optimise, work_dir=work, jobs=1)
        except RuntimeError as error:
            raise ValueError(f"the trees were not compiled: {str(error)[:300]}") from None


def _lignum(fitted: Fitted, plan: FormPlan, folder: Path) -> Any:
    import lignum

    _native(fitted, plan, folder)
    model = lignum.load(str(folder / "model.txt"))
    model.save(str(folder / "model.bin"))
    (folder / "model.txt").unlink()
    return model


def _onnx(fitted: Fitted, plan: FormPlan, folder: Path) -> None:
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    _native(fitted, plan, folder)
    splits = _category_splits((folder / "model.txt").read_text(encoding="utf-8"))
    if splits > MOST_ONNX_SPLITS:
        raise ValueError(f"ONNX trees know no sets of categories: {splits:,} comparisons would be needed")
    import lightgbm

    booster = lightgbm.Booster(model_file=str(folder / "model.txt"))
    width = len(fitted.encoding.feature_names)
    graph = onnxmltools.convert_lightgbm(booster, initial_types=[("x", FloatTensorType([None, width]))], zipmap=False)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    (folder / "model.txt").unlink()


def _category_splits(model: str) -> int:
    """How many categories the splits of a model name in all: the bits of its bit sets."""
    words = (int(word) for line in re.findall(r"^cat_threshold=(.*)$", model, re.MULTILINE) for word in line.split())
    return sum(word.bit_count() for word in words)


_WRITERS: Mapping[str, Callable[[Fitted, FormPlan, Path], None]] = {
    "native": _native,
    "interpreter": _interpreter,
    "compiled": _compiled,
    "onnx": _onnx,
}
