"""Job logs from tables and from Slurm's `sacct`: submission, duration, GPUs, tenant."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.adapters.sources.tables import read_table, require_file
from trimtab.adapters.sources.values import numbers, stamps
from trimtab.cluster.scheduling.jobs import Ints, Series
from trimtab.cluster.scheduling.sacct import is_sacct, read_sacct
from trimtab.core.errors import InputError

LEAST_JOBS = 400
LEAST_DAYS = 1.0
NAMES: Mapping[str, tuple[str, ...]] = {
    "submit": ("submit_s", "submit", "submit_time", "submitted", "submission_time", "submitted_time", "arrival"),
    "duration": ("duration_s", "duration", "run_time", "runtime", "elapsed", "elapsed_s", "execution_seconds"),
    "start": ("start_s", "start", "start_time", "started"),
    "end": ("end_s", "end", "end_time", "ended", "finished", "finish_time"),
    "gpus": ("num_gpus", "gpus", "gpu_num", "num_gpu", "gpu", "gpu_count"),
    "id": ("id", "job_id", "jobid"),
    "tenant": ("tenant", "vc", "queue", "account", "team", "project", "partition", "group"),
    "user": ("user", "user_name", "username", "owner"),
    "name": ("name", "job_name", "jobname", "task"),
    "gpu_type": ("gpu_type", "node_type", "gpu_model", "gpu_spec"),
}
WORDS = ("tenant", "user", "name", "gpu_type")


@dataclass(frozen=True, eq=False)
class JobLog:
    """Jobs in the order of submission: (n,) each. Seconds from the first submission; `origin`: that, since 1970 or 0.

    ended: when the log says that a job ended (or would have, had it not waited): what may be learnt from it, from then
    on. words: for each of `WORDS` that the log has, a code per job and the names. findings: (kind, column, message).
    """

    submit: Series
    duration: Series
    gpus: Ints
    ended: Series
    words: Mapping[str, tuple[Ints, tuple[str, ...]]]
    origin: float
    findings: tuple[tuple[str, str, str], ...]

    def __len__(self) -> int:
        return len(self.submit)

    @property
    def days(self) -> float:
        """From the first submission to the last."""
        return float(self.submit[-1]) / 86_400

    def codes(self, word: str) -> Ints:
        """A code per job; all 0 where the log has no such column."""
        return self.words[word][0] if word in self.words else np.zeros(len(self), np.int64)


@functools.lru_cache(maxsize=4)
def read_jobs(path: str, fingerprint: str = "") -> JobLog:
    """The jobs of a file that ran. Raises InputError with what is wrong, and where."""
    file = Path(path)
    require_file(file)
    table = read_sacct(file) if is_sacct(file) else read_table(file)
    columns = _columns(table, path)
    _refuse_twice(table, columns, path)
    submit = stamps(table[columns["submit"]], columns["submit"], path).astype(float)
    duration, started = _durations(table, columns, submit, path)
    gpus = numbers(table[columns["gpus"]], columns["gpus"], path) if "gpus" in columns else np.ones(len(submit))
    _refuse_negative(duration, columns.get("duration", columns.get("end", "")), path)
    _refuse_negative(gpus, columns.get("gpus", ""), path)
    ran = np.isfinite(duration) & np.isfinite(gpus) & (duration > 0) & (gpus > 0)
    findings = _findings(table, columns, ran)
    kept = np.flatnonzero(ran)
    kept = kept[np.argsort(submit[kept], kind="stable")]
    if len(kept) < LEAST_JOBS or submit[kept[-1]] - submit[kept[0]] < LEAST_DAYS * 86_400:
        days = (submit[kept[-1]] - submit[kept[0]]) / 86_400 if len(kept) else 0.0
        raise InputError(
            f"{path}: {len(kept):,} jobs that ran, within {days:.1f} days",
            hint=f"{LEAST_JOBS} jobs over {LEAST_DAYS:g} day are needed to choose on one half and check on the other",
        )
    first = float(submit[kept[0]])
    ended = np.where(np.isfinite(started), started, submit) + duration
    words = {word: _coded(table[columns[word]], kept) for word in WORDS if word in columns}
    return JobLog(
        submit[kept] - first, duration[kept], gpus[kept].astype(np.int64), ended[kept] - first, words,
        first if first > 1e8 else 0.0, findings,
    )  # fmt: skip


def _columns(table: pa.Table, path: str) -> dict[str, str]:
    known = {name.strip().lower(): name for name in table.column_names}
    found: dict[str, str] = {}
    for what, names in NAMES.items():
        name = next((known[one] for one in names if one in known and known[one] not in found.values()), None)
        if name is not None:
            found[what] = name
    has = f"it has {', '.join(table.column_names[:20])}"
    if "submit" not in found:
        raise InputError(f"{path}: no column of submission times", hint=f"call it submit_s or submit_time; {has}")
    if "duration" not in found and not {"start", "end"} <= set(found):
        raise InputError(f"{path}: no durations", hint=f"call them duration_s, or give start and end; {has}")
    return found


def _refuse_twice(table: pa.Table, columns: Mapping[str, str], path: str) -> None:
    if "id" not in columns:
        return
    counts = pc.value_counts(table[columns["id"]].combine_chunks())
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        raise InputError(
            f"{path}: {len(twice):,} ids occur twice in {columns['id']!r}, the first is {twice[0]['values']}",
            hint="one row a job: keep the last attempt, or give attempts ids of their own",
        )


def _durations(table: pa.Table, columns: Mapping[str, str], submit: Series, path: str) -> tuple[Series, Series]:
    """(durations, starts), NaN where the log does not say."""
    started = np.full(len(submit), np.nan)
    if "start" in columns:
        known = table[columns["start"]]
        is_known = np.asarray(known.is_valid())
        started[is_known] = stamps(known.filter(known.is_valid()), columns["start"], path)
        early = np.flatnonzero(started < submit - 1)
        if len(early):
            raise InputError(
                f"{path}: {len(early):,} jobs start before they are submitted, the first in row {early[0] + 2:,}",
                hint="are the columns in one time zone?",
            )
    if "duration" in columns:
        return numbers(table[columns["duration"]], columns["duration"], path), started
    ended, known = np.full(len(submit), np.nan), table[columns["end"]]
    ended[np.asarray(known.is_valid())] = stamps(known.filter(known.is_valid()), columns["end"], path)
    return ended - started, started


def _refuse_negative(values: Series, name: str, path: str) -> None:
    below = np.flatnonzero(values < 0)
    if len(below):
        raise InputError(
            f"{path}: {len(below):,} values of {name!r} are negative, the first in row {below[0] + 2:,}",
            hint="durations in seconds and counts of GPUs are 0 or more",
        )


def _findings(table: pa.Table, columns: Mapping[str, str], ran: np.ndarray) -> tuple[tuple[str, str, str], ...]:
    found = []
    if not ran.all():
        message = f"{int((~ran).sum()):,} jobs have no duration or no GPU: they are left out"
        found.append(("left out", columns.get("duration", columns.get("end", "")), message))
    if "gpus" not in columns:
        found.append(("assumed", "gpus", "the log has no column of GPUs: one each"))
    ignored = [name for name in table.column_names if name not in columns.values()]
    if ignored:
        found.append(("ignored", ", ".join(ignored[:20]), "nothing is made of these columns"))
    return tuple(found)


def _coded(column: pa.ChunkedArray, kept: Ints) -> tuple[Ints, tuple[str, ...]]:
    words = pc.fill_null(column.cast(pa.string()), "").combine_chunks().dictionary_encode()
    return np.asarray(words.indices)[kept].astype(np.int64), tuple(words.dictionary.to_pylist())
