"""`trimtab runs` and `trimtab watch report`: what the ledger's training runs say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from trimtab.adapters.ledger import SqlLedger, ledger_in
from trimtab.core.errors import InputError
from trimtab.core.events import RunBegan, RunEnded
from trimtab.core.model import Json
from trimtab.training.allocation.request import RISK, Past, Request, memory_request
from trimtab.training.scripts.metric import goal_of
from trimtab.training.tracking.index import Condition, Listed, Wanted, found, listed, lost
from trimtab.training.tracking.retention import superfluous

MOST_PAST = 500  # runs that a request is learnt from, the newest


@contextmanager
def runs_at(folder: Path) -> Iterator[SqlLedger]:
    """The ledger of a folder. Raises TargetError, OutsideError."""
    with closing(ledger_in(folder)) as ledger:
        yield ledger


def runs(folder: Path, wanted: Wanted) -> tuple[list[Listed], list[RunBegan]]:
    """The runs that meet the conditions, and those that have begun and not ended."""
    with runs_at(folder) as ledger:
        return listed(ledger, wanted), lost(ledger)


def run_events(folder: Path, runs: Sequence[str]) -> list[RunEnded]:
    """Runs by their numbers. Raises InputError for one that is not known."""
    with runs_at(folder) as ledger:
        return [found(ledger, one) for one in runs]


def pruned(folder: Path, metric: str, goal: str, newest: int, *, is_applied: bool) -> int:
    """How many runs the index can do without, and let go of if wanted. Raises InputError."""
    if newest < 1:
        raise InputError(f"--newest {newest} keeps nothing", hint="--newest 1000")
    with runs_at(folder) as ledger:
        found = superfluous(ledger, metric, goal_of(metric, goal), newest)
        if is_applied:
            ledger.forget(found)
    return len(found)


def compared(these: Sequence[RunEnded]) -> list[tuple[str, tuple[Json, ...]]]:
    """(fact, its value in each run), only where the runs differ, metrics and costs always."""
    rows: list[tuple[str, tuple[Json, ...]]] = []
    for part in ("parameters", "code", "data", "host"):
        names = sorted({name for one in these for name in getattr(one, part)})
        rows += [
            (f"{name}", values)
            for name in names
            if len(set(map(repr, values := tuple(getattr(one, part).get(name) for one in these)))) > 1
        ]
    if len({one.environment for one in these}) > 1:
        rows.append(("environment", tuple(one.environment[:12] for one in these)))
    for name in sorted({name for one in these for name in one.metrics}):
        rows.append((name, tuple(one.metrics.get(name) for one in these)))
    rows.append(("seconds", tuple(round(one.spent.wall_seconds, 3) for one in these)))
    rows.append(("CPU-s", tuple(round(one.spent.cpu_seconds, 3) for one in these)))
    rows.append(("peak MiB", tuple(round(one.spent.peak_rss_bytes / 2**20, 1) for one in these)))
    if any(one.spent.gpu_seconds for one in these):
        rows.append(("GPU-s", tuple(round(one.spent.gpu_seconds, 3) for one in these)))
        rows.append(("peak GPU MiB", tuple(round(one.spent.peak_gpu_bytes / 2**20, 1) for one in these)))
    return rows


def plots(these: Sequence[RunEnded]) -> list[Mapping[str, Any]]:
    """One plot a metric, one line a run; a metric with one value each is drawn as bars."""
    made: list[Mapping[str, Any]] = []
    for name in sorted({name for one in these for name in one.curves}):
        lines = [
            {"name": f"{one.name} {one.run[:6]}", "x": [at for at, _ in curve], "y": [value for _, value in curve]}
            for one in these
            if len(curve := one.curves.get(name, ())) > 1
        ]
        if lines:
            made.append({"kind": "lines", "title": name, "x_label": "step", "y_label": name, "series": lines})
        else:
            made.append(_bars(name, "", [(one, one.metrics.get(name)) for one in these]))
    made.append(_bars("CPU", "CPU-s", [(one, one.spent.cpu_seconds) for one in these]))
    made.append(_bars("memory", "MiB at the peak", [(one, one.spent.peak_rss_bytes / 2**20) for one in these]))
    return made


def request(folder: Path, name: str, numbers: Sequence[str], risk: float = RISK) -> tuple[str, Request]:
    """The name of the runs, and the memory that the next of them should ask for. Raises InputError."""
    wanted = dict(_number(one) for one in numbers)
    with runs_at(folder) as ledger:
        if not name:
            newest = listed(ledger, Wanted(limit=1))
            if not newest:
                raise InputError(f"no run has ended in {folder}", hint="trimtab watch -- python train.py")
            name = newest[0].name
        conditions = (Condition("name", "=", name), Condition("status", "=", "done"))
        rows = listed(ledger, Wanted(conditions, limit=MOST_PAST))
    past = [Past(_numbers(one), one.peak_bytes) for one in reversed(rows) if one.peak_bytes]
    if not past:
        raise InputError(f"no run called {name!r} has ended well", hint="`trimtab runs` lists them")
    return name, memory_request(past, wanted, risk)


def _numbers(one: Listed) -> dict[str, float]:
    return {key: float(value) for key, value in one.parameters.items() if isinstance(value, int | float)}


def _number(text: str) -> tuple[str, float]:
    name, sign, value = text.partition("=")
    try:
        if not (sign and name):
            raise ValueError
        return name, float(value)
    except ValueError:
        raise InputError(f"{text!r} is no number of the next run", hint="such as rows=200000") from None


def _bars(title: str, unit: str, values: Sequence[tuple[RunEnded, Json]]) -> Mapping[str, Any]:
    rows = [
        {"label": f"{one.name} {one.run[:6]}", "value": float(value)}
        for one, value in values
        if isinstance(value, int | float)
    ]
    return {"kind": "bars", "title": title, "unit": unit, "rows": rows}
