"""Trains what a plan says, each fit once: plans that are a fit cut to its first trees share it.

Students learn the target, today's model's answers, or a mean of both (Hinton, Vinyals and Dean 2015, "Distilling the
Knowledge in a Neural Network"); what was taught is charged with its teacher's training.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from trimtab.adapters.models.artifact import Estimator, Fitted, about, load_fitted, save
from trimtab.adapters.models.boosting import Training, dataset, fit_dataset
from trimtab.adapters.models.current import fit_current
from trimtab.adapters.models.cutting import cut, rounds_of
from trimtab.adapters.models.dense import fit_linear, fit_network
from trimtab.adapters.models.nets import Size
from trimtab.adapters.sources.dataset import DataSpec
from trimtab.adapters.sources.tables import import_function
from trimtab.core.budget import Stopwatch
from trimtab.core.model import Json, Split
from trimtab.core.wire import digest, dump
from trimtab.training.architecture.lessons import Lesson, column_gains, is_chance, lesson
from trimtab.training.architecture.plan import CURRENT, MOST_TREES, RANKER, ShrinkPlan
from trimtab.training.selection.fitting import Request, Rows, train
from trimtab.training.selection.measure import Setting as Selected
from trimtab.training.selection.measure import model_folder, training_rows
from trimtab.training.selection.plan import ModelPlan

LAYOUT = 1  # of what is kept on disk


@dataclass(frozen=True)
class Setting:
    """All that a fit depends on beside the plan. `model` is today's; `cache`: a folder, or empty for none on disk."""

    data: DataSpec
    metric: str
    model: ModelPlan
    current: str = ""
    folder: str = ""
    cache: str = ""
    code: str = ""  # a hash of the current model's source
    seconds: float = 0.02  # of each timing


@dataclass(frozen=True)
class Grown:
    """A fitted model, and the CPU seconds that its training had taken after each round, or in all."""

    fitted: Fitted
    cpu_seconds: tuple[float, ...]
    rounds: tuple[int, ...] = ()  # of today's model: of each of its members


@dataclass(frozen=True)
class Student:
    """A model as a plan says, what it costs to train, and its rounds (0: it has none)."""

    fitted: Fitted
    train_cpu_seconds: float
    rounds: int


def student(setting: Setting, plan: ShrinkPlan, split: Split) -> Student:
    """The plan's model, trained on the split's training rows. Raises ValueError when there can be none."""
    made = grown(setting, _fit_of(plan, split), split)
    total = rounds_of(made.fitted.predictor)
    if plan.kind not in ("cut", "boosted"):
        return Student(made.fitted, made.cpu_seconds[-1], total)
    wanted = max(1, round(total * plan.kept)) if plan.kind == "cut" else min(plan.trees, total)
    fitted = replace(made.fitted, predictor=cut(made.fitted.predictor, wanted))
    # Rounds cost about the same each: today's model, whose rounds were not timed, is charged by their share.
    taken = made.cpu_seconds[wanted - 1] if len(made.cpu_seconds) > 1 else made.cpu_seconds[0] * wanted / total
    return Student(fitted, taken, wanted)


def _fit_of(plan: ShrinkPlan, split: Split) -> ShrinkPlan:
    """The plan whose fit holds this one."""
    if plan.kind == "cut":
        return CURRENT
    # On the holdout the one plan is trained and no more: that is what it costs.
    return replace(plan, trees=MOST_TREES) if plan.kind == "boosted" and split == "search" else plan


@functools.lru_cache(maxsize=16)
def grown(setting: Setting, plan: ShrinkPlan, split: Split) -> Grown:
    """A fit, or what an earlier one left on disk."""
    if setting.model.family == "current":
        _import(setting)
    folder = Path(setting.cache) / "students" / _key(setting, plan, split) if setting.cache else None
    if folder is not None and (folder / "model.json").exists():
        kept = about(folder)
        return Grown(load_fitted(folder), tuple(kept["cpu_seconds"]), tuple(kept["rounds"]))
    made = _GROW[plan.kind](setting, plan, split)
    if folder is not None:
        facts: dict[str, Json] = {"cpu_seconds": list(made.cpu_seconds), "rounds": list(made.rounds)}
        save(folder, made.fitted, facts)
    return made


def _import(setting: Setting) -> None:
    """Import the user's code: a kept model is unpickled by it, and libraries that it imports are no plan's cost."""
    place, _, name = setting.current.partition(".py:")
    import_function(Path(setting.folder) / f"{place}.py", name)


def _key(setting: Setting, plan: ShrinkPlan, split: Split) -> str:
    data: Any = dump(replace(setting.data, table=""))
    depends = [data, setting.metric, setting.model, setting.current, setting.code]
    return digest([LAYOUT, depends, plan, split])[:32]


def rows_of(setting: Setting, split: Split) -> Rows:
    """The rows that models are trained on."""
    return training_rows(setting.data, split, 1.0)


def _current(setting: Setting, plan: ShrinkPlan, split: Split) -> Grown:
    """Today's model; on the holdout the one that `tune` confirmed there, where it was kept."""
    selected = Selected(setting.data, setting.metric, setting.current, setting.folder, setting.cache, 1)
    kept = model_folder(selected, setting.model)
    if split == "holdout" and setting.cache and (kept / "model.json").exists():
        return Grown(load_fitted(kept), (float(about(kept)["train_cpu_seconds"]),))
    rows = rows_of(setting, split)
    _ = rows.x if setting.model.family != "current" else None  # encoding is shared by plans: it is no plan's cost
    known = grown(setting, CURRENT, "search").rounds if split == "holdout" else ()
    watch = Stopwatch()
    made = train(rows, Request(setting.model, setting.metric, setting.current, setting.folder, known))
    boosted = made.rounds if setting.model.family == "lightgbm" else ()
    return Grown(made.fitted, (watch.read().cpu_seconds,), boosted)


def _resized(setting: Setting, plan: ShrinkPlan, split: Split) -> Grown:
    if setting.model.family != "current":
        raise ValueError("today's model is none of torch's: it has no width and no depth")
    rows = rows_of(setting, split).dataset
    watch = Stopwatch()
    fitted = fit_current(setting.current, Path(setting.folder), rows, size=Size(plan.width, plan.depth))
    return Grown(fitted, (watch.read().cpu_seconds,))


def _boosted(setting: Setting, plan: ShrinkPlan, split: Split) -> Grown:
    taught, cost = _lesson(setting, plan, split)
    params: dict[str, Any] = {"num_leaves": plan.leaves, "learning_rate": plan.rate, "verbosity": -1}
    if is_chance(plan, taught.task):
        params["objective"] = "cross_entropy"
    training = Training(taught.task, max(2, len(taught.classes)), params, rounds=plan.trees)
    watch, spent = Stopwatch(), list[float]()
    rows = dataset(taught.x, taught.y, taught.encoding.categorical_features, params)
    rows.set_weight(taught.weights)
    booster = fit_dataset(rows, training, callbacks=[lambda _: spent.append(watch.read().cpu_seconds)])
    fitted = Fitted(taught.encoding, taught.task, taught.classes, booster)
    return Grown(fitted, tuple(cost + one for one in spent))


def _linear(setting: Setting, plan: ShrinkPlan, split: Split) -> Grown:
    return _dense(*_lesson(setting, plan, split), fit_linear)


def _network(setting: Setting, plan: ShrinkPlan, split: Split) -> Grown:
    return _dense(*_lesson(setting, plan, split), functools.partial(fit_network, hidden=plan.hidden))


def _dense(taught: Lesson, cost: float, fit: Callable[..., Any]) -> Grown:
    watch = Stopwatch()
    with threadpool_limits(1):
        model = fit(taught.x, taught.y, taught.weights, taught.encoding, taught.task)
    fitted = Fitted(taught.encoding, taught.task, taught.classes, Estimator(model, taught.task))
    return Grown(fitted, (cost + watch.read().cpu_seconds,))


def _lesson(setting: Setting, plan: ShrinkPlan, split: Split) -> tuple[Lesson, float]:
    """What a plan learns from, and what the teaching has cost."""
    rows = rows_of(setting, split)
    names = rows.dataset.names
    if plan.columns < 1:
        names = telling(setting)[: max(1, round(len(names) * plan.columns))]
    if not plan.taught:
        return lesson(rows, plan, names, None), 0.0
    answers, cost = _answers(setting, split)
    return lesson(rows, plan, names, answers), cost


@functools.lru_cache(maxsize=2)
def _answers(setting: Setting, split: Split) -> tuple[npt.NDArray[np.float64], float]:
    """Today's model's answers to its own training rows, and the CPU seconds of its training and of these."""
    teacher = grown(setting, CURRENT, split)
    watch = Stopwatch()
    answers = teacher.fitted.predict_table(rows_of(setting, split).dataset.table)
    return answers, teacher.cpu_seconds[-1] + watch.read().cpu_seconds


@functools.lru_cache(maxsize=2)
def telling(setting: Setting) -> tuple[str, ...]:
    """The columns by how much a small boosted model gains by them on the search's training rows, the best first."""
    ranker: Any = grown(setting, replace(RANKER, trees=MOST_TREES), "search").fitted
    gains = column_gains(ranker.encoding, ranker.predictor.feature_importance("gain"))
    return tuple(sorted(gains, key=lambda name: -gains[name]))


_GROW: dict[str, Callable[[Setting, ShrinkPlan, Split], Grown]] = {
    "current": _current,
    "boosted": _boosted,
    "linear": _linear,
    "network": _network,
    "resized": _resized,
}
