"""LightGBM, deterministic and silent."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from trimtab.adapters.models.encoding import Matrix
from trimtab.adapters.sources.dataset import QUANTITIES, Task
from trimtab.core.budget import Stopwatch

OBJECTIVES: Mapping[Task, str] = {
    "binary": "binary", "multiclass": "multiclass", "regression": "regression", "ranking": "lambdarank",
}  # fmt: skip


@dataclass(frozen=True)
class Training:
    """How to train: LightGBM's own parameters beside what trimtab fixes for all of them."""

    task: Task
    classes: int = 2
    params: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 100
    early_stopping: int = 0  # rounds without a gain on the validation rows; 0: never
    seed: int = 0
    threads: int = 1
    most_cpu_seconds: float = math.inf  # after which it ends with the trees that it has


def full_params(training: Training) -> dict[str, Any]:
    """The parameters that LightGBM gets. Deterministic: the same data and parameters give the same trees."""
    params = {
        "objective": OBJECTIVES[training.task],
        "verbosity": -1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": training.seed,
        "num_threads": training.threads,
        **training.params,
    }
    if training.task == "multiclass":
        params["num_class"] = training.classes
    return params


def dataset(
    x: Matrix,
    y: npt.NDArray[np.float64],
    categorical: Sequence[int],
    params: Mapping[str, Any],
    groups: Sequence[int] | None = None,
) -> Any:
    """A binned data set, which several trainings with the same `max_bin` can share. `groups`: sizes of queries."""
    return lightgbm.Dataset(
        x, y, group=groups, categorical_feature=list(categorical), params=dict(params), free_raw_data=False
    )


def fit(
    x: Matrix,
    y: npt.NDArray[np.float64],
    training: Training,
    *,
    categorical: Sequence[int] = (),
    valid: tuple[Matrix, npt.NDArray[np.float64]] | None = None,
) -> lightgbm.Booster:
    """Train a booster on x (rows, features); with `valid` and early stopping, its best iteration is what predicts."""
    params = full_params(training)
    rows = dataset(x, y, categorical, params)
    return fit_dataset(rows, training, valid=valid)


def fit_dataset(
    rows: Any,
    training: Training,
    *,
    valid: tuple[Matrix, npt.NDArray[np.float64]] | lightgbm.Dataset | None = None,
    callbacks: Sequence[Callable[..., Any]] = (),
) -> lightgbm.Booster:
    """Train on a data set that is binned already; `valid` may be one, too, if it is binned alike.

    `callbacks` are called after each round.
    """
    called = list(callbacks)
    held_out = None
    if valid is not None:
        held_out = [lightgbm.Dataset(*valid, reference=rows) if isinstance(valid, tuple) else valid]
        if training.early_stopping:
            called.append(lightgbm.early_stopping(training.early_stopping, verbose=False))
    if math.isfinite(training.most_cpu_seconds):
        called.append(_stop_after(training.most_cpu_seconds))
    return lightgbm.train(
        full_params(training), rows, num_boost_round=training.rounds, valid_sets=held_out, callbacks=called
    )


def _stop_after(cpu_seconds: float) -> Callable[..., None]:
    """A callback that ends a training once it has cost so much."""
    watch = Stopwatch()

    def stop(env: Any) -> None:
        if watch.read().cpu_seconds > cpu_seconds:
            raise lightgbm.callback.EarlyStopException(env.iteration, [])

    return stop


def averaged(boosters: Sequence[lightgbm.Booster], weights: Sequence[int] | None = None) -> lightgbm.Booster:
    """One booster whose raw score is the mean of theirs: all their trees in turn, with leaves scaled by their weights.

    They must share columns, objective and classes. A booster that was stopped early gives its best trees only.
    """
    if len(boosters) == 1:
        return boosters[0]
    weights = weights or [1] * len(boosters)
    texts = [one.model_to_string(num_iteration=one.best_iteration) for one in boosters]
    per_round = boosters[0].num_model_per_iteration()
    forests = [_rounds(text, per_round) for text in texts]
    trees = []
    for turn in range(max(map(len, forests))):
        for forest, weight in zip(forests, weights, strict=True):
            if turn < len(forest):
                trees += [_scaled(tree, weight / sum(weights)) for tree in forest[turn]]
    head, _, _ = texts[0].partition("Tree=0\n")
    blocks = [f"Tree={place}\n{tree}" for place, tree in enumerate(trees)]
    sizes = "tree_sizes=" + " ".join(str(len(block.encode())) for block in blocks)
    head = re.sub(r"^tree_sizes=.*$", sizes, head, flags=re.MULTILINE)
    return lightgbm.Booster(model_str=head + "".join(blocks) + "end of trees\n")


def mean_prediction(
    predictions: Sequence[npt.NDArray[np.float64]], task: Task, weights: Sequence[float] | None = None
) -> npt.NDArray[np.float64]:
    """What `averaged` would predict, from the predictions of its parts: the mean of raw scores."""
    return from_raw(np.average([to_raw(one, task) for one in predictions], axis=0, weights=weights), task)


def to_raw(predicted: npt.NDArray[np.float64], task: Task) -> npt.NDArray[np.float64]:
    """Raw scores that a booster would give for these predictions: values, logits or logarithms of chances."""
    if task in QUANTITIES:
        return predicted
    logs = np.log(np.clip(predicted, 1e-15, 1.0))
    return logs - np.log1p(-np.clip(predicted, 0.0, 1 - 1e-15)) if task == "binary" else logs


def from_raw(raw: npt.NDArray[np.float64], task: Task) -> npt.NDArray[np.float64]:
    """Predictions of raw scores."""
    if task in QUANTITIES:
        return np.asarray(raw)
    if task == "binary":
        return np.asarray(1.0 / (1.0 + np.exp(-raw)))
    chances = np.exp(raw)
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def _rounds(text: str, per_round: int) -> list[list[str]]:
    """The trees of a model's text, without their numbers, by round."""
    _, *trees = re.split(r"^Tree=\d+\n", text.partition("end of trees")[0], flags=re.MULTILINE)
    return [trees[start : start + per_round] for start in range(0, len(trees), per_round)]


def _scaled(tree: str, by: float) -> str:
    def times(found: re.Match[str]) -> str:
        return found[1] + " ".join(repr(float(value) * by) for value in found[2].split())

    return re.sub(r"^(leaf_value=|internal_value=)(.*)$", times, tree, flags=re.MULTILINE)
