"""The chosen model as an artifact that conversion, packaging, drift and retraining use."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from trimtab.adapters.models.artifact import save
from trimtab.adapters.sources.dataset import load, part
from trimtab.core.budget import Stopwatch
from trimtab.core.space import settle
from trimtab.training.selection.fitting import Request, Rows, train
from trimtab.training.selection.measure import Setting, described, model_folder, rounds_for
from trimtab.training.selection.plan import ModelPlan


def fit_final(setting: Setting, plan: ModelPlan, folder: Path, rows: Literal["search", "all"] = "search") -> Path:
    """Write the plan's model to `folder`, which is returned; what stood there is replaced.

    "search": the very model that was confirmed on the holdout, copied when it was kept. "all": search and holdout.
    """
    plan = settle(plan)
    kept = model_folder(setting, plan) if setting.cache else None
    if rows == "search" and kept is not None and kept.exists():
        return _copied(kept, folder)
    dataset = load(setting.data)
    if rows == "search":
        chosen = part(dataset, setting.data, "search")
    else:
        chosen = dataset.rows(
            0, len(part(dataset, setting.data, "search")) + len(part(dataset, setting.data, "holdout"))
        )
    rounds = rounds_for(setting, plan, len(chosen))
    request = Request(plan, setting.metric, setting.current, setting.folder, rounds, threads=setting.threads)
    watch = Stopwatch()
    trained = train(Rows.of(chosen), request)
    save(folder, trained.fitted, described(setting, plan, trained, watch.read().cpu_seconds))
    return folder


def _copied(kept: Path, folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = folder.parent / f".{folder.name}-copied"
    shutil.rmtree(building, ignore_errors=True)
    shutil.copytree(kept, building)
    shutil.rmtree(folder, ignore_errors=True)
    building.rename(folder)
    return folder
