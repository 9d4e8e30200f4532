"""Slurm's accounting as a table: `sacct --parsable2 --format=JobID,User,Account,Submit,Start,End,ReqTRES …`."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from trimtab.core.errors import InputError

UNKNOWN = ["Unknown", "None", "None assigned", "", "N/A"]
_GPUS = re.compile(r"gres/gpu(?::[^=,]+)?=(\d+)")
_ELAPSED = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)")
_UNDER_WAY = "^(RUNNING|PENDING|SUSPENDED|REQUEUED|RESIZING|CONFIGURING|COMPLETING)"
_TYPE = re.compile(r"gres/gpu:([^=,]+)=")


def is_sacct(file: Path) -> bool:
    """Whether a file begins as `sacct --parsable2` (or --parsable) begins."""
    with file.open("rb") as text:
        head = text.readline(4096).decode("utf-8", "replace")
    return "|" in head and "jobid" in head.lower()


def read_sacct(file: Path) -> pa.Table:
    """Jobs without their steps, columns named as in other logs. Raises InputError."""
    types = csv.ConvertOptions(strings_can_be_null=True, null_values=UNKNOWN)
    try:
        table = csv.read_csv(file, parse_options=csv.ParseOptions(delimiter="|"), convert_options=types)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise InputError(f"{file}: {str(error).splitlines()[0]}", hint="sacct --parsable2 --format=…") from None
    known = {name.lower(): name for name in table.column_names if name}
    length = next((known[one] for one in ("elapsedraw", "elapsed") if one in known), None)
    # A job that still runs has no length yet: without its end, its state must say that it ended.
    by_elapsed = length is not None and "end" not in known
    wanted = ("JobID", "Submit", "Start", "State" if by_elapsed else "End")
    missing = [name for name in wanted if name.lower() not in known]
    if missing:
        raise InputError(f"{file}: sacct's {', '.join(missing)} is not there", hint="add it to --format")
    jobs = table[known["jobid"]].cast(pa.string())
    table = table.filter(pc.invert(pc.match_substring(jobs, ".")))  # 123.batch, 123.0 are steps of 123
    made = {"id": table[known["jobid"]].cast(pa.string())}
    for name, source in (("submit", "submit"), ("start", "start"), ("end", "end")):
        if source in known:
            made[name] = table[known[source]]
    if length is not None and by_elapsed:
        is_under_way = pc.match_substring_regex(table[known["state"]].cast(pa.string()), _UNDER_WAY)
        is_whole = pc.and_(table[known["start"]].is_valid(), pc.fill_null(pc.invert(is_under_way), False))
        made["duration"] = _seconds(table[length], is_whole)
    for name, sources in (("tenant", ("account", "partition")), ("user", ("user",)), ("name", ("jobname",))):
        found = next((known[one] for one in sources if one in known), None)
        if found is not None:
            made[name] = table[found].cast(pa.string())
    asked = next((known[one] for one in ("alloctres", "reqtres", "allocgres", "reqgres") if one in known), None)
    if asked is not None:
        texts = [one or "" for one in table[asked].to_pylist()]
        made["gpus"] = pa.array([_gpus(one) for one in texts], pa.int64())
        kinds = [_TYPE.search(one) for one in texts]
        if any(kinds):
            made["gpu_type"] = pa.array([found.group(1) if found else "" for found in kinds])
    return pa.table(made)


def _seconds(elapsed: pa.ChunkedArray, is_whole: pa.ChunkedArray) -> pa.Array:
    """Seconds of "1-02:03:04", "02:03:04" or "3:04", and of plain seconds; none for jobs that did not start and end."""
    found = []
    for text, counts in zip(elapsed.cast(pa.string()).to_pylist(), is_whole.to_pylist(), strict=True):
        match = _ELAPSED.fullmatch(text or "") if counts else None
        if match is None:
            found.append(float(text) if counts and text and text.isdigit() else None)
        else:
            days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
            found.append(86_400 * days + 3600 * hours + 60 * minutes + seconds)
    return pa.array(found, pa.float64())


def _gpus(text: str) -> int:
    """GPUs of "cpu=8,gres/gpu=4,gres/gpu:a100=4": the plain count where there is one."""
    counts = [int(one) for one in _GPUS.findall(text)]
    plain = re.search(r"gres/gpu=(\d+)", text)
    return int(plain.group(1)) if plain else sum(counts)
