"""Builds a profile in one pass over batches: Parquet row groups, CSV blocks, Arrow files, or a table in memory."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from trimtab.adapters.sources.dataset import is_usable
from trimtab.adapters.sources.tables import MOST_COLUMNS, open_csv, require_file
from trimtab.core.errors import InputError
from trimtab.monitoring.profile.histogram import BINS, MOMENTS, count_values
from trimtab.monitoring.profile.profile import MOST_WORDS, Column, NumberColumn, Profile, WordColumn

SAMPLED = 16  # one row hash in so many is kept: a row and its duplicates are kept or left out together
MOST_HASHED_ROWS = 20_000_000
BATCH_ROWS = 131_072


@dataclass
class _Numbers:
    """What has been seen of a numeric column."""

    reference: float
    counts: npt.NDArray[np.uint32] = field(default_factory=lambda: np.zeros(BINS, np.uint32))
    totals: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(MOMENTS))
    extremes: npt.NDArray[np.float64] = field(default_factory=lambda: np.array([np.inf, -np.inf]))


@dataclass
class _Words:
    """What has been seen of a column of words."""

    counts: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    other: int = 0


def profile_table(table: pa.Table, references: Mapping[str, float] | None = None) -> Profile:
    """The profile of a table in memory. `references`: another profile's, so that the two can be compared or merged."""
    return profile_batches(table.schema, table.to_batches(max_chunksize=BATCH_ROWS), references)


def profile_file(path: str | Path, references: Mapping[str, float] | None = None) -> Profile:
    """The profile of a file, in one pass that holds one batch at a time. Raises InputError when it cannot be read."""
    file = Path(path)
    require_file(file)
    try:
        if file.suffix == ".parquet":
            return _profile_parquet(file, references)
        if file.suffix in (".arrow", ".feather"):
            return profile_table(pyarrow.feather.read_table(file, memory_map=True), references)
        with open_csv(file) as stream, pyarrow.csv.open_csv(stream) as reader:
            return profile_batches(reader.schema, reader, references)
    except pa.ArrowException as error:
        raise InputError(f"{file} cannot be read: {str(error).splitlines()[0]}", hint="is the file whole?") from None


def references_of(profile: Profile) -> dict[str, float]:
    """The references of the numeric columns, for a profile that is to be compared with this one."""
    return {name: one.reference for name, one in profile.columns.items() if isinstance(one, NumberColumn)}


def profile_batches(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], references: Mapping[str, float] | None = None
) -> Profile:
    """The profile of batches of one schema. Raises InputError for too many columns."""
    if len(schema) > MOST_COLUMNS:
        raise InputError(f"{len(schema):,} columns", hint=f"at most {MOST_COLUMNS:,} can be profiled")
    usable = [one.name for one in schema if is_usable(one)]
    skipped = {one.name: str(one.type) for one in schema if not is_usable(one)}
    seen: dict[str, _Numbers | _Words] = {}
    rows, hashes = 0, []
    equal: set[tuple[str, str]] | None = None
    scratch = np.empty(BATCH_ROWS, np.float32)
    for batch in batches:
        rows += batch.num_rows
        hashed = np.zeros(batch.num_rows, np.uint64)
        sums: dict[str, int] = {}
        if len(scratch) < batch.num_rows:
            scratch = np.empty(batch.num_rows, np.float32)
        for name in usable:
            values = batch.column(name)
            coded = _see(name, values, seen, references or {}, scratch)
            if rows <= MOST_HASHED_ROWS:
                sums[name] = _mix(hashed, coded)
        if rows <= MOST_HASHED_ROWS:
            hashes.append(hashed[hashed % np.uint64(SAMPLED) == 0])
            pairs = _equal_pairs(sums)
            equal = pairs if equal is None else equal & pairs
    sample = np.concatenate(hashes) if hashes else np.zeros(0, np.uint64)
    columns = {name: _column(schema.field(name), one, rows) for name, one in seen.items()}
    return Profile(rows, columns, skipped, len(sample), len(np.unique(sample)), tuple(sorted(equal or ())))


def _profile_parquet(file: Path, references: Mapping[str, float] | None) -> Profile:
    words = [one.name for one in pyarrow.parquet.read_schema(file) if pa.types.is_string(one.type)]
    # Dictionaries of words are counted by code: no string is looked at twice.
    with pyarrow.parquet.ParquetFile(file, read_dictionary=words) as parquet:
        batches = parquet.iter_batches(batch_size=BATCH_ROWS, use_threads=False)
        return profile_batches(parquet.schema_arrow, _released(batches), references)


def _released(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for number, batch in enumerate(batches):
        yield batch
        if number % 16 == 15:
            pa.default_memory_pool().release_unused()


def _see(
    name: str, values: pa.Array, seen: dict[str, _Numbers | _Words], references: Mapping[str, float], scratch: Any
) -> npt.NDArray[Any]:
    """Count one chunk of a column; returns codes of its values, for the row hashes."""
    if _is_number(values.type):
        numbers = _floats(values)
        if name not in seen:
            seen[name] = _Numbers(references.get(name, _reference(numbers)))
        one = seen[name]
        assert isinstance(one, _Numbers)
        count_values(numbers, scratch[: len(numbers)], one.reference, one.counts, one.totals, one.extremes)
        return numbers
    words = seen.setdefault(name, _Words())
    assert isinstance(words, _Words)
    return _count_words(values, words)


def _count_words(values: pa.Array, words: _Words) -> npt.NDArray[Any]:
    coded = values if pa.types.is_dictionary(values.type) else values.cast(pa.string()).dictionary_encode()
    codes = np.asarray(coded.indices.fill_null(-1).to_numpy(zero_copy_only=False))
    names = coded.dictionary.cast(pa.string())
    counts = np.bincount(codes + 1, minlength=len(names) + 1)
    words.missing += int(counts[0])
    for place in np.flatnonzero(counts[1:]):
        word = names[int(place)].as_py()
        if word in words.counts or len(words.counts) < MOST_WORDS:
            words.counts[word] = words.counts.get(word, 0) + int(counts[place + 1])
        else:
            words.other += int(counts[place + 1])
    # Codes differ between batches: hash the words, not the codes.
    hashed: npt.NDArray[np.uint64] = np.append(_word_hashes(names), np.uint64(0))[codes]
    return hashed


def _word_hashes(names: pa.Array) -> npt.NDArray[np.uint64]:
    return np.array([_hash_word(name) for name in names.to_pylist()] or [0], np.uint64)


@functools.lru_cache(maxsize=200_000)
def _hash_word(word: str) -> int:
    import hashlib

    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def _mix(hashed: npt.NDArray[np.uint64], coded: npt.NDArray[Any]) -> int:
    """Fold a column into the row hashes; returns the column's own digest for this chunk."""
    bits = coded if coded.dtype == np.uint64 else np.ascontiguousarray(coded, np.float64).view(np.uint64)
    return int(_fold(hashed, bits))


@functools.cache
def _folder() -> Any:
    import numba

    @numba.njit(nogil=True)
    def fold(hashed: Any, bits: Any) -> Any:
        digest = np.uint64(1469598103934665603)
        for i in range(len(hashed)):
            x = bits[i] * np.uint64(0x9E3779B97F4A7C15)
            x ^= x >> np.uint64(29)
            digest = (digest ^ x) * np.uint64(1099511628211)
            y = (hashed[i] ^ x) * np.uint64(0xBF58476D1CE4E5B9)
            hashed[i] = y ^ (y >> np.uint64(32))
        return digest

    return fold


def _fold(hashed: Any, bits: Any) -> Any:
    return _folder()(hashed, bits)


def _equal_pairs(sums: Mapping[str, int]) -> set[tuple[str, str]]:
    by_digest: dict[int, list[str]] = {}
    for name, digest in sums.items():
        by_digest.setdefault(digest, []).append(name)
    return {(names[0], other) for names in by_digest.values() for other in names[1:]}


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_temporal(kind)
    )


def _floats(values: pa.Array) -> npt.NDArray[Any]:
    kind = values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        values = values.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    elif pa.types.is_temporal(kind):
        values = values.cast(pa.int64())
    if values.null_count == 0 and (pa.types.is_float64(values.type) or pa.types.is_float32(values.type)):
        return np.asarray(values.to_numpy())
    return np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False))


def _reference(values: npt.NDArray[Any]) -> float:
    """The median of the first values: deterministic, and near the mass, where bins are narrow."""
    finite = values[:10_000][np.isfinite(values[:10_000])]
    return float(np.median(finite)) if len(finite) else 0.0


def _column(described: pa.Field, seen: _Numbers | _Words, rows: int) -> Column:
    kind = str(described.type)
    if isinstance(seen, _Words):
        return WordColumn(described.name, kind, rows, seen.missing, seen.counts, seen.other)
    totals = seen.totals
    return NumberColumn(
        name=described.name,
        type=kind,
        reference=seen.reference,
        counts=seen.counts,
        rows=rows,
        missing=int(totals[0]),
        infinite=int(totals[1]),
        zero=int(totals[2]),
        negative=int(totals[3]),
        low=float(seen.extremes[0]),
        high=float(seen.extremes[1]),
        total=float(totals[5]),
        squares=float(totals[6]),
        kind="time" if pa.types.is_temporal(described.type) else "number",
    )
