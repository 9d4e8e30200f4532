"""Trains a plan once, keeps what it predicted, and scores it block by block: several seeds cost one fit.

On the search split a plan is trained on the train part and scored on blocks of the valid part. On the holdout it is
trained again on all of the search part (with the number of rounds that the search found) and scored on blocks of the
holdout: what would be shipped is what is confirmed. The intervals speak of these fitted models on new rows.
"""

from __future__ import annotations

import functools
import os
import statistics
import tempfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.adapters.models.artifact import Fitted, predictor_bytes, save
from trimtab.adapters.models.boosting import mean_prediction
from trimtab.adapters.models.metrics import score
from trimtab.adapters.sources.dataset import Dataset, DataSpec, blocks, load, part
from trimtab.adapters.sources.tables import fingerprint
from trimtab.core.budget import Stopwatch
from trimtab.core.model import Json, Measurement, Sample, Split
from trimtab.core.space import settle
from trimtab.core.wire import digest, dump
from trimtab.training.selection.fitting import Request, Rows, Trained, more_rounds, train
from trimtab.training.selection.memory import free_bytes, predicted_bytes, require_memory
from trimtab.training.selection.plan import ModelPlan

LAYOUT = 3  # of what is kept on disk, and of what a key means
SINGLES = 5  # predictions of one row, of which the median counts
FEWEST_ROWS = 20_000  # of a cheap look, where there are more
MOST_TIMED_ROWS = 2000


@dataclass(frozen=True)
class Setting:
    """All that the outcome of a fit depends on beside the plan. `cache`: a folder, or empty for none on disk."""

    data: DataSpec
    metric: str
    current: str = ""
    folder: str = ""
    cache: str = ""
    threads: int = 1


@dataclass(frozen=True)
class Look:
    """A fit and what it predicted for the rows that plans are scored on."""

    predicted: npt.NDArray[np.float64]
    rounds: tuple[int, ...]
    train_cpu_seconds: float
    predict_us_per_row: float
    predict_ms_single: float
    model_bytes: int


def measured(setting: Setting, plan: ModelPlan, sample: Sample, pieces: int) -> Measurement:
    """The quality on one block, and what training and predicting cost, CPU time, when the plan was first fitted."""
    seen = look(setting, settle(plan), sample.split, sample.fraction)
    rows = scored_rows(setting, sample.split)
    block = blocks(len(rows), pieces)[sample.seed % pieces]
    return Measurement(
        {
            setting.metric: score(setting.metric, rows.y[block], seen.predicted[block]),
            "train_cpu_seconds": seen.train_cpu_seconds,
            "predict_us_per_row": seen.predict_us_per_row,
            "predict_ms_single": seen.predict_ms_single,
            "model_bytes": float(seen.model_bytes),
            "rounds": float(sum(seen.rounds)),
            "models": float(len(plan.members)),
        },
        "run",
    )


@functools.lru_cache(maxsize=64)
def look(setting: Setting, plan: ModelPlan, split: Split, fraction: float) -> Look:
    """Train and predict, or read what an earlier run kept. Deterministic but for the times."""
    place = Path(setting.cache) / "fits" / f"{fit_key(setting, plan, split, fraction)}.npz" if setting.cache else None
    if place is not None and (kept := _read(place)) is not None:
        return kept
    is_blend = split == "search" and plan.others
    seen = (_blended if is_blend else _look)(setting, plan, split, fraction)
    if place is not None:
        _write(place, seen)
    return seen


def _blended(setting: Setting, plan: ModelPlan, split: Split, fraction: float) -> Look:
    """What a blend would predict, from what its members did: nothing is trained. Its costs are theirs, summed."""
    looks = [look(setting, settle(one), split, fraction) for one in plan.members]
    task = load(setting.data).task
    return Look(
        mean_prediction([one.predicted for one in looks], task),
        tuple(number for one in looks for number in one.rounds),
        sum(one.train_cpu_seconds for one in looks),
        sum(one.predict_us_per_row for one in looks),
        sum(one.predict_ms_single for one in looks),
        sum(one.model_bytes for one in looks),
    )


def model_folder(setting: Setting, plan: ModelPlan) -> Path:
    """Where the model that was confirmed on the holdout is kept, once it was."""
    return Path(setting.cache) / "models" / fit_key(setting, plan, "holdout", 1.0)


def fit_key(setting: Setting, plan: ModelPlan, split: Split, fraction: float) -> str:
    """What a fit depends on, as a short digest: the content of the table and of the user's code, not their paths."""
    code = fingerprint(_code(setting)) if plan.family == "current" and setting.current else ""
    data: Any = dump(replace(setting.data, table=""))
    return digest([LAYOUT, data, setting.metric, setting.threads, code, settle(plan), split, fraction])[:32]


def _code(setting: Setting) -> Path:
    return Path(setting.folder) / (setting.current.partition(".py:")[0] + ".py")


def scored_rows(setting: Setting, split: Split) -> Dataset:
    """The rows that plans are scored on: of the holdout only when it is asked for."""
    return part(load(setting.data), setting.data, "valid" if split == "search" else "holdout")


@functools.lru_cache(maxsize=3)
def training_rows(data: DataSpec, split: Split, share: float) -> Rows:
    """The rows that plans are trained on; `share` of them, evenly spaced."""
    return Rows.of(part(load(data), data, "train" if split == "search" else "search"), share)


def rows_share(setting: Setting, fraction: float) -> float:
    """The share of the training rows that a look of this fraction takes: fewer than some mislead more than they save.

    Where there are no more than these, a cheap look takes longer steps instead (`Request.pace`).
    """
    count = len(part(load(setting.data), setting.data, "train"))
    return 1.0 if fraction >= 1.0 else min(1.0, max(fraction, FEWEST_ROWS / count))


def _look(setting: Setting, plan: ModelPlan, split: Split, fraction: float) -> Look:
    rows = training_rows(setting.data, split, rows_share(setting, fraction))
    request = _request(setting, plan, split, fraction)
    if plan.family != "current":
        width, classes = len(rows.encoding.feature_names), len(rows.dataset.classes)
        require_memory(predicted_bytes(len(rows.dataset), width, classes, plan), free_bytes())
    _ = rows.x if plan.family != "current" else None  # encoding is shared by plans: it is no plan's cost
    watch = Stopwatch()
    trained = train(rows, request)
    train_cpu = watch.read().cpu_seconds
    scored = scored_rows(setting, split)
    watch = Stopwatch()
    predicted = trained.fitted.predict_table(scored.table)
    predict_cpu = watch.read().cpu_seconds
    if split == "holdout" and setting.cache:
        save(model_folder(setting, plan), trained.fitted, described(setting, plan, trained, train_cpu))
    return Look(
        predicted,
        trained.rounds,
        train_cpu,
        predict_cpu / len(scored) * 1e6,
        _single_ms(trained.fitted, scored),
        predictor_bytes(trained.fitted.predictor),
    )


def described(setting: Setting, plan: ModelPlan, trained: Trained, train_cpu: float) -> dict[str, Json]:
    """What is written beside a kept model."""
    return {
        "plan": dump(plan),
        "metric": setting.metric,
        "table": setting.data.fingerprint,
        "target": setting.data.target,
        "rounds": list(trained.rounds),
        "train_cpu_seconds": train_cpu,
    }


def _request(setting: Setting, plan: ModelPlan, split: Split, fraction: float) -> Request:
    # All rows before the holdout are trained on: the number of rounds comes from the search, which held a tail back.
    rounds = (
        rounds_for(setting, plan, len(part(load(setting.data), setting.data, "search"))) if split == "holdout" else ()
    )
    pace = fraction if rows_share(setting, fraction) == 1.0 else fraction**0.5
    return Request(plan, setting.metric, setting.current, setting.folder, rounds, pace, setting.threads)


def rounds_for(setting: Setting, plan: ModelPlan, rows: int) -> tuple[int, ...]:
    """What a plan takes on so many rows, by what the search found; none for what is not stopped early."""
    if plan.family == "current":
        return ()
    seen = len(part(load(setting.data), setting.data, "train"))
    return more_rounds(look(setting, plan, "search", 1.0).rounds, rows / seen)


def _single_ms(fitted: Fitted, rows: Dataset) -> float:
    times = []
    for place in range(min(SINGLES, len(rows))):
        row = rows.table.slice(place, 1)
        watch = Stopwatch()
        fitted.predict_table(row)
        times.append(watch.read().cpu_seconds * 1000)
    return statistics.median(times)


def _read(place: Path) -> Look | None:
    try:
        with np.load(place) as kept:
            train_cpu, per_row, single, size = kept["numbers"].tolist()
            return Look(kept["predicted"], tuple(kept["rounds"].tolist()), train_cpu, per_row, single, int(size))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # not there, or not whole: it is made again


def _write(place: Path, seen: Look) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    numbers = [seen.train_cpu_seconds, seen.predict_us_per_row, seen.predict_ms_single, seen.model_bytes]
    with tempfile.NamedTemporaryFile(dir=place.parent, suffix=".tmp", delete=False) as file:
        try:
            np.savez(
                file, predicted=seen.predicted, rounds=np.array(seen.rounds, int), numbers=np.array(numbers, float)
            )
        except BaseException:
            os.unlink(file.name)
            raise
    os.replace(file.name, place)
