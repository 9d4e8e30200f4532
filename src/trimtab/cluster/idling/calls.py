"""Calls of functions from a table of times: the idle times between them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.adapters.sources.tables import read_table
from trimtab.adapters.sources.values import numbers, stamps
from trimtab.cluster.idling.simulator import Ints, Series
from trimtab.core.errors import InputError

LEAST_CALLS = 200
TIMES = ("time", "timestamp", "arrived", "created", "gmt_create", "start")
FUNCTIONS = ("function", "model", "service", "name", "app")
SECONDS = ("seconds", "duration", "duration_s", "exec_time_seconds", "service_seconds")


@dataclass(frozen=True, eq=False)
class Calls:
    """Gaps in the order of their beginnings (s): how long each is (negative: open when the log ends), and whose."""

    starts: Series
    gaps: Series
    who: Ints
    names: tuple[str, ...]


@functools.lru_cache(maxsize=4)
def read_calls(path: str, function: str = "", fingerprint: str = "") -> Calls:
    """The calls of a file; `function`: the column that tells functions apart. Raises InputError."""
    table = read_table(Path(path))
    known = {name.strip().lower(): name for name in table.column_names}
    if function and function not in table.column_names:
        raise InputError(
            f"{path}: there is no column {function!r}", hint=f"it has {', '.join(table.column_names[:20])}"
        )
    time = next((known[one] for one in TIMES if one in known), table.column_names[0])
    whose = function or next((known[one] for one in FUNCTIONS if one in known), "")
    lasted = next((known[one] for one in SECONDS if one in known), "")
    if table.num_rows < LEAST_CALLS:
        raise InputError(
            f"{path}: {table.num_rows:,} calls", hint=f"{LEAST_CALLS} at least, of both halves of a history"
        )
    if table[time].null_count:
        raise InputError(f"{path}: {table[time].null_count:,} values of {time!r} are missing", hint="drop those rows")
    times = stamps(table[time], time, path).astype(float)
    work = np.nan_to_num(numbers(table[lasted], lasted, path)) if lasted else np.zeros(len(times))
    if (work < 0).any():
        raise InputError(f"{path}: negative values of {lasted!r}: {int((work < 0).sum()):,}", hint="mend or drop them")
    names, who = ("",), np.zeros(len(times), np.int64)
    if whose:
        coded = pc.dictionary_encode(pc.fill_null(pc.cast(table[whose], pa.string()), "")).combine_chunks()
        names, who = tuple(coded.dictionary.to_pylist()), np.asarray(coded.indices.to_numpy(), np.int64)
    return gaps_of(times - times.min(), work, who, names)


def gaps_of(times: Series, work: Series, who: Ints, names: tuple[str, ...]) -> Calls:
    """The idle times of each function: from the last answer to the next call, none where calls overlap."""
    starts, gaps, whose = [], [], []
    end = float((times + work).max())
    for function in range(len(names)):
        mine = np.flatnonzero(who == function)
        mine = mine[np.argsort(times[mine], kind="stable")]
        if not len(mine):
            continue
        answered = np.maximum.accumulate(times[mine] + work[mine])
        waited = np.concatenate([np.maximum(0.0, times[mine][1:] - answered[:-1]), [-max(1.0, end - answered[-1])]])
        starts.append(answered)
        gaps.append(waited)
        whose.append(np.full(len(mine), function, np.int64))
    order = np.argsort(np.concatenate(starts), kind="stable")
    return Calls(np.concatenate(starts)[order], np.concatenate(gaps)[order], np.concatenate(whose)[order], names)
