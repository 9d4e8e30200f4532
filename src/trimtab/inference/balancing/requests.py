"""Requests to replay: read from a CSV, or drawn; scaled to a load.

A CSV has a column of times (`time`, `timestamp`, `t_s`: ISO times or seconds), and for what a request needs either
`seconds` of service or tokens (`input_tokens`, `output_tokens`); optionally `blocks`, the numbers of the blocks of its
prompt between spaces, which prefix caches keep.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.adapters.sources.tables import read_table
from trimtab.core.errors import InputError
from trimtab.inference.balancing.simulator import Load, Series, Whole

LEAST_REQUESTS, MOST_REQUESTS = 1000, 20_000_000
NONE: Whole = np.zeros(0, np.int64)
_NAMES = {
    "time": ("time", "timestamp", "t_s", "arrival", "arrived", "start"),
    "seconds": ("seconds", "service_seconds", "duration_seconds", "duration_s"),
    "input": ("input_tokens", "contexttokens", "prompt_tokens", "input_length"),
    "output": ("output_tokens", "generatedtokens", "completion_tokens", "output_length"),
    "blocks": ("blocks", "hash_ids"),
}


@dataclass(frozen=True)
class Tokens:
    """Seconds of a request by its tokens: about a 70B model on one H100 node (Splitwise, Patel and others, 2024)."""

    input_seconds: float = 6e-5
    output_seconds: float = 0.03


def load_of_file(path: Path, tokens: Tokens) -> Load:
    """The requests of a CSV in order of time; what is expected of each is the mean of the first half. InputError."""
    table = read_table(path)
    columns = {key: _column(table, names) for key, names in _NAMES.items()}
    if columns["time"] is None or (columns["seconds"] is None and columns["output"] is None):
        raise InputError(
            f"{path}: a column of times, and one of seconds or tokens, are needed",
            hint="columns: time, seconds; or time, input_tokens, output_tokens; found "
            + ", ".join(table.column_names[:12]),
        )
    if not LEAST_REQUESTS <= len(table) <= MOST_REQUESTS:
        raise InputError(
            f"{path}: {len(table):,} requests", hint=f"from {LEAST_REQUESTS:,} to {MOST_REQUESTS:,} are needed"
        )
    times = _times(columns["time"], path)
    if times.min() == times.max():
        raise InputError(f"{path}: all requests come at the same time", hint="times in seconds, or ISO times")
    prefix = _positive(columns["input"], path, len(times)) * tokens.input_seconds
    if columns["seconds"] is not None:
        work, prefix = _positive(columns["seconds"], path, len(times)), np.zeros(len(times))
    else:
        work = _positive(columns["output"], path, len(times)) * tokens.output_seconds
    if not (work + prefix).max() > 0:
        raise InputError(f"{path}: no request needs any time", hint="seconds or tokens must be above 0")
    order = np.argsort(times, kind="stable")
    offsets, blocks = _blocks(columns["blocks"], order, path)
    half = work[order][: len(work) // 2]
    guess = np.full(len(work), max(1e-9, float(half.mean())))
    return Load(times[order] - times.min(), work[order], prefix[order], guess, offsets, blocks)


def drawn(rate: float, work: Series, seed: int, prefix: Series | None = None) -> Load:
    """Requests that come by chance (Poisson) at `rate` a second with these needs; their mean is expected of each."""
    times = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, len(work)))
    fixed = np.zeros(len(work)) if prefix is None else prefix
    return Load(times, work, fixed, np.full(len(work), work.mean()), NONE, NONE)


def part(load: Load, stretch: slice) -> Load:
    """A stretch of the requests, its time from 0."""
    times = load.times[stretch]
    offsets, blocks = load.offsets, load.blocks
    if len(offsets):
        edges = offsets[stretch.start : stretch.start + len(times) + 1]
        offsets, blocks = edges - edges[0], blocks[edges[0] : edges[-1]]
    return Load(
        times - times[0], load.work[stretch], load.prefix[stretch], load.guess[stretch], offsets.copy(), blocks.copy()
    )


def resampled(load: Load, stretch: slice, count: int, size: int, seed: int) -> Load:
    """`count` chunks of `size` requests each, drawn from a stretch with replacement, one after the other.

    A chunk keeps its order and its gaps, so that bursts stay; the blocks of a chunk drawn twice are taken for others.
    """
    starts = stretch.start + np.random.default_rng(seed).integers(0, max(1, stretch.stop - stretch.start - size), count)
    rows = (starts[:, None] + np.arange(size)).ravel()
    gaps = np.diff(load.times, prepend=load.times[0])[rows]
    gaps[0] = 0.0
    offsets, blocks = load.offsets, load.blocks
    if len(offsets):
        chunks = [slice(int(offsets[start]), int(offsets[start + size])) for start in starts]
        lengths = np.diff(offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        many = int(blocks.max()) + 1
        moved = np.concatenate([blocks[chunk] + many * place for place, chunk in enumerate(chunks)])
        blocks = np.unique(moved, return_inverse=True)[1].astype(np.int64).ravel()
    return Load(np.cumsum(gaps), load.work[rows], load.prefix[rows], load.guess[rows], offsets, blocks)


def at_load(load: Load, capacity: float, share: float) -> Load:
    """The same requests, with time stretched so that they are `share` of a capacity (seconds of work a second)."""
    return replace(load, times=load.times * (utilisation(load, capacity) / share))


def utilisation(load: Load, capacity: float) -> float:
    """The share of a capacity that the requests need, prefixes never cached; infinite for requests at one time."""
    span = float(load.times[-1] - load.times[0])
    return float((load.work + load.prefix).sum()) / capacity / span if span > 0 else np.inf


def _column(table: pa.Table, names: tuple[str, ...]) -> pa.ChunkedArray | None:
    for name in table.column_names:
        if name.strip().lower() in names:
            return table.column(name)
    return None


def _times(column: pa.ChunkedArray, path: Path) -> Series:
    if column.null_count:
        raise InputError(f"{path}: {column.null_count:,} times are missing", hint="drop those rows")
    try:
        if pa.types.is_string(column.type):
            column = _stamps(column)
        if pa.types.is_temporal(column.type):
            return np.asarray(column.cast(pa.timestamp("ns"), safe=False).cast(pa.int64()).to_numpy() / 1e9)
        times = np.asarray(column.cast(pa.float64()).to_numpy(), float)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{path}: no times: {str(error).splitlines()[0]}", hint="ISO times or seconds") from None
    if not np.isfinite(times).all():
        raise InputError(f"{path}: times must be finite", hint="ISO times or seconds")
    return times


def _stamps(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """ISO times, all with an offset from UTC or all without. Raises ArrowInvalid."""
    try:
        return pc.cast(column, pa.timestamp("ns"))
    except pa.ArrowInvalid:
        return pc.cast(column, pa.timestamp("ns", "UTC"))


def _positive(column: pa.ChunkedArray | None, path: Path, count: int) -> Series:
    if column is None:
        return np.zeros(count)
    try:
        values = np.asarray(column.cast(pa.float64()).to_numpy(), float)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(f"{path}: seconds and tokens are numbers, not {column.type}") from None
    if not np.isfinite(values).all() or (values < 0).any():
        wrong = int((~(np.isfinite(values) & (values >= 0))).sum())
        raise InputError(f"{path}: {wrong:,} requests have missing or negative seconds or tokens", hint="drop them")
    return values


def _blocks(column: pa.ChunkedArray | None, order: Whole, path: Path) -> tuple[Whole, Whole]:
    if column is None:
        return NONE, NONE
    texts = column.cast(pa.string()).fill_null("").to_pylist()
    try:
        lists = [[int(word) for word in texts[row].split()] for row in order]
    except ValueError:
        raise InputError(f"{path}: blocks are whole numbers between spaces", hint='"17 18 19"') from None
    return numbered(lists)


def numbered(lists: list[list[int]]) -> tuple[Whole, Whole]:
    """Where each request's blocks begin, and all blocks one after the other, numbered from 0."""
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
    flat = np.array([block for one in lists for block in one], np.int64)
    return (offsets, np.unique(flat, return_inverse=True)[1].astype(np.int64).ravel()) if len(flat) else (NONE, NONE)
