"""Runs a form of a model beside the reference form: how fast it answers one raw row and 64, and what it answers.

Both forms are timed in one process on the same rows, in ABBA blocks: what the host does meanwhile meets both alike.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.adapters.models.artifact import load_fitted, to_frame
from trimtab.adapters.models.encoding import Encoding, Matrix
from trimtab.adapters.models.form import Form, Vector, load_form
from trimtab.adapters.models.learn_encoding import encode
from trimtab.adapters.models.metrics import score
from trimtab.adapters.models.raw_rows import raw_rows
from trimtab.adapters.sources.dataset import Dataset, DataSpec, blocks, load, part
from trimtab.core.model import Measurement, Sample, Split
from trimtab.inference.conversion.forms import form_bytes, prepare
from trimtab.inference.conversion.plan import CURRENT, FormPlan

MOST_ROWS = 20_000  # that quality is judged on
BATCH = 64
BLOCK = 8  # calls of one form in a row: its trees are then in the caches, as they are in a service
ROWS_WITH_HOLES = 40  # that each feature is blanked in, one at a time


@dataclass(frozen=True)
class Setting:
    """A model, its rows, and where forms are kept. `seconds`: how long one timing may take."""

    data: DataSpec
    metric: str
    model: str
    fingerprint: str
    cache: str
    seconds: float = 0.5
    threads: int = 1


def measured(setting: Setting, plan: FormPlan, sample: Sample, pieces: int) -> Measurement:
    """One form on one block of rows: quality there, speed on rows of it, and how far any answer is off."""
    rows = judged_rows(setting, sample.split)
    block = blocks(len(rows), pieces)[sample.seed % pieces]
    answers = predicted(setting, plan, sample.split)
    metrics = {
        setting.metric: score(setting.metric, rows.y[block], answers[block]),
        "max_difference": difference(setting, plan, sample.split),
        "size_bytes": float(form_bytes(folder_of(setting, plan))),
        "memory_bytes": float(_loaded(setting, plan)[1]),
    }
    return Measurement(metrics | timings(setting, plan, rows.rows(block.start, block.stop)), "run")


def folder_of(setting: Setting, plan: FormPlan) -> Path:
    """The folder of a form of the setting's model, made when it is not there."""
    return prepare(Path(setting.model), setting.fingerprint, plan, Path(setting.cache))


def timings(setting: Setting, plan: FormPlan, rows: Dataset) -> dict[str, float]:
    """Microseconds of a raw row to its answer, of one encoded row, and of 64, and their ratios to the reference."""
    forms = [_loaded(setting, CURRENT)[0], _loaded(setting, plan)[0]]
    raw = raw_rows(rows.table.slice(0, 4 * BATCH), _encoding(setting))
    matrix = inputs(forms[0], rows.rows(0, min(len(rows), 4 * BATCH)))
    calls: dict[str, list[list[Callable[[], Any]]]] = {"served": [_calls(served_call(form), raw) for form in forms]}
    for name, width in (("predict", 1), ("batch64", BATCH)):
        parts = [matrix[start : start + width] for start in range(0, len(matrix) - width + 1, width)] or [matrix]
        calls[name] = [_calls(form.predict, parts) for form in forms]
    found: dict[str, float] = {}
    for name, (reference, candidate) in calls.items():
        found |= _named(name, *abba(reference, candidate, setting.seconds / 3))
    return found


def _calls(function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Callable[[], Any]]:
    return [functools.partial(function, one) for one in arguments]


def served_call(form: Form) -> Callable[[dict[str, Any]], float]:
    """What a service does for one raw row: encode, predict."""
    encoding = Encoding.from_json(form.encoding)
    if form.reads_frames:
        import pandas

        names = [column.name for column in encoding.columns]
        return lambda row: form.predict(pandas.DataFrame([row], columns=names))  # type: ignore[return-value]
    return lambda row: form.predict(encoding.row(row))  # type: ignore[return-value]


def abba(
    reference: Sequence[Callable[[], Any]], candidate: Sequence[Callable[[], Any]], seconds: float
) -> tuple[list[float], list[float]]:
    """Microseconds of each call, in blocks: reference, candidate, candidate, reference, …; at least two blocks each."""
    times: tuple[list[float], list[float]] = ([], [])
    calls = (reference, candidate)
    for side in (0, 1):
        calls[side][0]()  # the first call of all allocates
    deadline = time.perf_counter() + seconds
    turn = 0
    while turn < 4 or time.perf_counter() < deadline:
        side = (0, 1, 1, 0)[turn % 4]
        start = (turn // 2) * BLOCK
        for place in range(start, start + BLOCK):
            call = calls[side][place % len(calls[side])]
            began = time.perf_counter_ns()
            call()
            times[side].append((time.perf_counter_ns() - began) / 1000)
        turn += 1
    return times


@functools.lru_cache(maxsize=16)
def difference(setting: Setting, plan: FormPlan, split: Split) -> float:
    """The largest difference to the reference form, over real rows, rows with holes, and rows encoded one by one."""
    if plan == CURRENT:
        return 0.0
    off = _largest(predicted(setting, plan, split), predicted(setting, CURRENT, split))
    reference, form = _loaded(setting, CURRENT)[0], _loaded(setting, plan)[0]
    rows = judged_rows(setting, split)
    if reference.reads_frames:
        return off
    few = rows.rows(0, min(len(rows), ROWS_WITH_HOLES))
    holes = with_holes(inputs(reference, few))
    off = max(off, _largest(form.predict(holes), reference.predict(holes)))
    encoding = _encoding(setting)
    one_by_one = [form.predict(encoding.row(row)) for row in raw_rows(few.table, encoding)]
    return max(off, _largest(np.concatenate(one_by_one), predicted(setting, CURRENT, split)[: len(few)]))


def with_holes(matrix: Matrix) -> Matrix:
    """Copies of the rows, each with one feature missing, and one row with all missing: unseen categories are, too."""
    copies = [matrix.copy() for _ in range(matrix.shape[1])]
    for place, copy in enumerate(copies):
        copy[:, place] = np.nan
    return np.ascontiguousarray(np.vstack([*copies, np.full((1, matrix.shape[1]), np.nan)]))


@functools.lru_cache(maxsize=16)
def predicted(setting: Setting, plan: FormPlan, split: Split) -> Vector:
    """What a form answers for the judged rows."""
    form = _loaded(setting, plan)[0]
    return np.asarray(form.predict(inputs(form, judged_rows(setting, split))), np.float64)


@functools.lru_cache(maxsize=4)
def judged_rows(setting: Setting, split: Split) -> Dataset:
    """Rows that the model was not trained on: the search's validation rows, or the holdout; evenly thinned."""
    rows = part(load(setting.data), setting.data, "valid" if split == "search" else "holdout")
    if len(rows) <= MOST_ROWS:
        return rows
    return rows.take(np.linspace(0, len(rows) - 1, MOST_ROWS).round().astype(np.int64))


def inputs(form: Form, rows: Dataset) -> Any:
    """What a form's predict takes for rows of a table."""
    encoding = Encoding.from_json(form.encoding)
    if form.reads_frames:
        return to_frame(rows.table, [column.name for column in encoding.columns])
    return np.ascontiguousarray(encode(rows, encoding))


def current_latency(model: Path, rows: Dataset, seconds: float = 2.0) -> float:
    """Median microseconds in which a model as it was saved answers one row by its own predict."""
    fitted = load_fitted(model)
    tables = [rows.table.slice(place, 1) for place in range(min(len(rows), 50))]
    parts: list[Any] = [encode(one, fitted.encoding) for one in tables]
    call: Any = fitted.predict
    if getattr(fitted.predictor, "reads_frames", False):
        parts = [to_frame(one, [column.name for column in fitted.encoding.columns]) for one in tables]
        call = fitted.predictor.predict
    calls = [functools.partial(call, one) for one in parts]
    return statistics.median(abba(calls, calls, seconds)[0])


@functools.lru_cache(maxsize=8)
def _loaded(setting: Setting, plan: FormPlan) -> tuple[Form, int]:
    folder = folder_of(setting, plan)
    before = _resident_bytes()
    form = load_form(folder, setting.threads)
    return form, max(0, _resident_bytes() - before)


@functools.lru_cache(maxsize=4)
def _encoding(setting: Setting) -> Encoding:
    return Encoding.from_json(_loaded(setting, CURRENT)[0].encoding)


def _named(name: str, reference: list[float], candidate: list[float]) -> dict[str, float]:
    before, after = statistics.median(reference), statistics.median(candidate)
    return {
        f"{name}_us": after,
        f"reference_{name}_us": before,
        f"{name}_ratio": after / before,
        f"{name}_p99_us": float(np.quantile(candidate, 0.99)),
    }


def _largest(ours: Vector, theirs: Vector) -> float:
    # NaN on one side only is as far off as can be.
    off = np.abs(ours - theirs)
    both_missing = np.isnan(ours) & np.isnan(theirs)
    return float(np.where(both_missing, 0.0, np.where(np.isnan(off), np.finfo(float).max, off)).max())


def _resident_bytes() -> int:
    import resource

    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return 0
