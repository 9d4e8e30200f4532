"""Scores a plan block by block, and times it beside today's model: one raw row, and many encoded ones.

Times are CPU times, of both models in turn in one process: what the host does meanwhile meets both alike, and waiting
for a core is no part of them. What is compared is their ratio, in units of today's model's time.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from threadpoolctl import ThreadpoolController

from trimtab.adapters.models.artifact import Estimator, Fitted, predictor_bytes, to_frame
from trimtab.adapters.models.encoding import Encoding, Matrix
from trimtab.adapters.models.learn_encoding import encode
from trimtab.adapters.models.metrics import GOAL, score
from trimtab.adapters.models.nets import counted
from trimtab.adapters.models.raw_rows import raw_rows
from trimtab.adapters.sources.dataset import Dataset, DataSpec, blocks, load, part
from trimtab.core.model import Measurement, Sample, Split
from trimtab.training.architecture.plan import CURRENT, ShrinkPlan
from trimtab.training.architecture.students import Setting, student

BATCH = 1000  # encoded rows of one timed call; where there are fewer, they are repeated
REPEATS = 2  # timed calls of a plan for each of today's model
LEAST_TURNS = 3  # on the holdout: one turn says as much of the host as of the model
SINGLES = 3  # raw rows, one after the other

Call = Callable[[], Any]


@dataclass(frozen=True)
class Look:
    """A plan's model and what it answers for the rows that plans are scored on."""

    fitted: Fitted
    predicted: Matrix
    costs: tuple[tuple[str, float], ...]  # training, bytes, rounds; of a torch model parameters and FLOPs


def measured(setting: Setting, plan: ShrinkPlan, sample: Sample, pieces: int) -> Measurement:
    """Quality on one block, what is lost beside today's model there, and what the model costs."""
    seen, today = look(setting, plan, sample.split), look(setting, CURRENT, sample.split)
    rows = scored_rows(setting.data, sample.split)
    block = blocks(len(rows), pieces)[sample.seed % pieces]
    quality, before = (score(setting.metric, rows.y[block], one.predicted[block]) for one in (seen, today))
    metrics = {setting.metric: quality, "loss": before - quality if GOAL[setting.metric] == "max" else quality - before}
    # While searching a plan is timed once, which most of its price is; what is confirmed is timed on every block.
    taken = searched_times(setting, plan) if sample.split == "search" else times(setting, plan, "holdout", block)
    return Measurement(metrics | dict(seen.costs) | taken, "run")


@functools.lru_cache(maxsize=256)
def look(setting: Setting, plan: ShrinkPlan, split: Split) -> Look:
    """A plan's model and its answers, once."""
    made = student(setting, plan, split)
    rows = scored_rows(setting.data, split)
    predicted = _answers(made.fitted, setting.data, split)
    costs = {
        "train_cpu_seconds": made.train_cpu_seconds,
        "model_bytes": float(predictor_bytes(made.fitted.predictor)),
        "rounds": float(made.rounds),
    }
    if isinstance(made.fitted.predictor, Estimator):
        few = rows.rows(0, 1)
        costs |= counted(made.fitted.predictor.model, lambda: made.fitted.predict_table(few.table), 1)
    return Look(made.fitted, predicted, tuple(costs.items()))


@functools.lru_cache(maxsize=4)
def scored_rows(data: DataSpec, split: Split) -> Dataset:
    """The rows that plans are scored on: of the holdout only when it is asked for."""
    return part(load(data), data, "valid" if split == "search" else "holdout")


def _answers(fitted: Fitted, data: DataSpec, split: Split) -> Matrix:
    if reads_frames(fitted):
        return fitted.predict_table(scored_rows(data, split).table)
    return fitted.predict(encoded(data, split, fitted.encoding))


@functools.lru_cache(maxsize=6)
def encoded(data: DataSpec, split: Split, encoding: Encoding) -> Matrix:
    """The scored rows as an encoding has them: most students share one."""
    return np.ascontiguousarray(encode(scored_rows(data, split), encoding))


def reads_frames(fitted: Fitted) -> bool:
    """Whether it is the user's own pipeline over raw columns."""
    return isinstance(fitted.predictor, Estimator) and fitted.predictor.reads_frames


def answered(setting: Setting, plan: ShrinkPlan, metric: str) -> float:
    """The metric on the holdout of the model that was trained for the search: what a front of such models is worth."""
    fitted = look(setting, plan, "search").fitted
    return score(metric, scored_rows(setting.data, "holdout").y, _answers(fitted, setting.data, "holdout"))


@functools.lru_cache(maxsize=256)
def searched_times(setting: Setting, plan: ShrinkPlan) -> dict[str, float]:
    """The times of a plan on the rows of the search."""
    return times(setting, plan, "search", slice(0, len(scored_rows(setting.data, "search"))))


def times(setting: Setting, plan: ShrinkPlan, split: Split, block: slice) -> dict[str, float]:
    """CPU time of a row among many and of a single raw row, and the ratio of the first to today's model's."""
    single, many = yardstick(setting, split)
    if plan == CURRENT:  # the unit: timed against itself it would only add noise to each comparison with it
        return {"predict_us_per_row": many, "predict_ratio": 1.0, "predict_ms_single": single}
    today, fitted = look(setting, CURRENT, split).fitted, look(setting, plan, split).fitted
    place = (setting.data, split, block)
    least = LEAST_TURNS if split == "holdout" else 1
    with _threads().limit(limits=1):  # threads that wait for each other are no cost of a model
        before, after = in_turn(_single(today, *place), _single(fitted, *place), setting.seconds / 2, least)
        alone = after / before
        before, after = in_turn(_many(today, *place), _many(fitted, *place), setting.seconds, least)
    return {
        "predict_us_per_row": after / before * many,
        "predict_ratio": after / before,
        "predict_ms_single": alone * single,
    }


@functools.lru_cache(maxsize=4)
def yardstick(setting: Setting, split: Split) -> tuple[float, float]:
    """Milliseconds of one raw row and microseconds of one row among many, of today's model: measured once.

    A busy host makes the same call cost up to twice the CPU time, for seconds on end. A plan's times are therefore
    its ratios to today's model beside it, times these.
    """
    today = look(setting, CURRENT, split).fitted
    place = (setting.data, split, slice(0, len(scored_rows(setting.data, split))))
    with _threads().limit(limits=1):
        single = in_turn(_single(today, *place), _single(today, *place), setting.seconds, LEAST_TURNS)
        many = in_turn(_many(today, *place), _many(today, *place), setting.seconds, LEAST_TURNS)
    return min(single) / 1000 / SINGLES, min(many) / BATCH


@functools.cache
def _threads() -> ThreadpoolController:
    """The numeric libraries' threads, looked for once."""
    return ThreadpoolController()


def in_turn(today: Call, plan: Call, seconds: float, least: int = 1) -> tuple[float, float]:
    """CPU microseconds of a call of each, medians: both in turn, at least `least` times.

    Each is called untimed before: it is then in the caches, as it is in a service.
    """
    times: tuple[list[float], list[float]] = ([], [])
    deadline = time.perf_counter() + seconds
    while len(times[0]) < least or time.perf_counter() < deadline:
        today()
        times[0].append(_taken(today))
        plan()
        times[1].extend(_taken(plan) for _ in range(REPEATS))
    return statistics.median(times[0]), statistics.median(times[1])


def _taken(call: Call) -> float:
    began = time.process_time_ns()
    call()
    return (time.process_time_ns() - began) / 1000


def _many(fitted: Fitted, data: DataSpec, split: Split, block: slice) -> Call:
    if reads_frames(fitted):
        table = scored_rows(data, split).table.slice(block.start, min(BATCH, block.stop - block.start))
        frame = _frame(fitted, table.take(pa.array(np.resize(np.arange(table.num_rows), BATCH))))
        return functools.partial(fitted.predictor.predict, frame)
    x = encoded(data, split, fitted.encoding)[block][:BATCH]
    return functools.partial(fitted.predict, np.resize(x, (BATCH, x.shape[1])))


def _single(fitted: Fitted, data: DataSpec, split: Split, block: slice) -> Call:
    """What a service does for each raw row: encode it, predict."""
    rows = raw_rows(scored_rows(data, split).table.slice(block.start, SINGLES), fitted.encoding)
    rows = (rows * SINGLES)[:SINGLES]
    if reads_frames(fitted):
        import pandas

        names = [column.name for column in fitted.encoding.columns]
        return lambda: [fitted.predictor.predict(pandas.DataFrame([row], columns=names)) for row in rows]
    return lambda: [fitted.predict(fitted.encoding.row(row)) for row in rows]


def _frame(fitted: Fitted, table: pa.Table) -> Any:
    return to_frame(table, [column.name for column in fitted.encoding.columns])
