"""Builds a profile in one pass over batches: Parquet row groups, CSV blocks, Arrow files, or a table in memory."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from trimtab.adapters.sources.dataset import is_usable
from trimtab.adapters.sources.tables import MOST_COLUMNS, open_csv, read_table, require_file
from trimtab.core.errors import InputError
from trimtab.monitoring.profile.histogram import PLACES, Counter, Histogram, Reference, choose_reference, merged
from trimtab.monitoring.profile.profile import Column, NumberColumn, Profile, WordColumn, is_equal
from trimtab.monitoring.profile.sketch import EMPTY, MISSING, MOST_ROWS, REGISTERS, Hashes, RowSample, fold, fold_codes
from trimtab.monitoring.profile.words import Tally, hashes_of

BATCH_ROWS = 65_536
MOST_GROUP_ROWS = 4_000_000  # larger row groups are read in batches
READ_BYTES = 1 << 18  # of each column chunk at a time: else whole row groups wait in memory
REPETITIVE_BYTES = 8.0
CSV_BLOCK_BYTES = 8 << 20
LOOKED_AT = 1000  # words that tell whether a column repeats its words
WIDE = 256  # from so many columns on, they share one table of counts, emptied after each batch
WAITING_ROWS = 4 * MOST_ROWS  # whose hashes wait until the sample of rows is renewed
NO_ROWS = np.zeros(0, np.uint64)
PRINTED = 997  # every so many'th value goes into the digests that equal columns share


Piece: TypeAlias = tuple[int, Iterable[tuple[int, Iterable[Any]]]]  # rows; place and arrays of each column


@dataclass
class _Numbers:
    """What has been seen of a numeric column."""

    counter: Counter
    registers: Hashes = field(default_factory=lambda: np.full(REGISTERS, EMPTY, np.uint64))
    kept: Histogram | None = None


@dataclass
class _Words:
    """What has been seen of a column of words; `pending` counts the codes of `dictionary`, the missing ones last."""

    tally: Tally = field(default_factory=Tally)
    registers: Hashes = field(default_factory=lambda: np.full(REGISTERS, EMPTY, np.uint64))
    missing: int = 0
    dictionary: Any = None
    hashes: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    pending: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass
class _Scan:
    """What has been seen of a table."""

    references: Mapping[str, Reference]
    is_wide: bool
    seen: dict[str, _Numbers | _Words] = field(default_factory=dict)
    shared: Any = None
    rows: int = 0
    row_hashes: list[Hashes] = field(default_factory=list)
    row_sample: RowSample = field(default_factory=RowSample)
    prints: dict[str, int] = field(default_factory=dict)


def profile_table(table: pa.Table, references: Mapping[str, Reference] | None = None) -> Profile:
    """The profile of a table in memory. `references`: another profile's, so that the two can be compared or merged."""
    return profile_batches(table.schema, table.to_batches(max_chunksize=BATCH_ROWS), references)


def profile_file(path: str | Path, references: Mapping[str, Reference] | None = None) -> Profile:
    """The profile of a file, in one pass that holds one batch at a time. Raises InputError when it cannot be read."""
    file = Path(path)
    require_file(file)
    try:
        if file.suffix == ".parquet":
            return _profile_parquet(file, references)
        if file.suffix in (".arrow", ".feather"):
            return profile_table(pyarrow.feather.read_table(file, memory_map=True), references)
        if file.name.endswith((".csv", ".csv.gz", ".csv.zip")):
            return _profile_csv(file, references)
    except (pa.ArrowException, OSError, EOFError, zipfile.BadZipFile):
        pass  # reading it whole says where it is broken, or succeeds where types only show later in the file
    return profile_table(read_table(file), references)


def _profile_csv(file: Path, references: Mapping[str, Reference] | None) -> Profile:
    options = pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    blocks = pyarrow.csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES)
    with open_csv(file) as stream, pyarrow.csv.open_csv(stream, blocks, convert_options=options) as reader:
        if any(pa.types.is_binary(one.type) for one in reader.schema):  # pyarrow's answer to text that is not UTF-8
            raise pa.ArrowInvalid("not text")
        return profile_batches(reader.schema, reader, references)


def references_of(profile: Profile) -> dict[str, Reference]:
    """The references of the numeric columns, for a profile that is to be compared with this one."""
    return {name: one.histogram.reference for name, one in profile.columns.items() if isinstance(one, NumberColumn)}


def profile_batches(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], references: Mapping[str, Reference] | None = None
) -> Profile:
    """The profile of batches of one schema. Raises InputError for too many columns."""
    if len(schema) > MOST_COLUMNS:
        raise InputError(f"{len(schema):,} columns", hint=f"at most {MOST_COLUMNS:,} can be profiled")
    usable = [place for place, one in enumerate(schema) if is_usable(one)]
    pieces = ((one.num_rows, ((place, (one.column(place),)) for place in usable)) for one in batches)
    return _profile_pieces(schema, pieces, references)


def _profile_pieces(
    schema: pa.Schema, pieces: Iterable[Piece], references: Mapping[str, Reference] | None = None
) -> Profile:
    usable = [place for place, one in enumerate(schema) if is_usable(one)]
    skipped = {one.name: str(one.type) for one in schema if not is_usable(one)}
    scan = _Scan(references or {}, len(usable) > WIDE)
    for rows, columns_of in pieces:
        if rows:
            _see_piece(scan, schema, rows, columns_of)
    columns = {schema.field(place).name: _column(schema.field(place), scan) for place in usable}
    return Profile(scan.rows, columns, skipped, _sampled(scan), _equal_pairs(scan.prints, columns))


def _see_piece(scan: _Scan, schema: pa.Schema, rows: int, columns: Iterable[tuple[int, Iterable[Any]]]) -> None:
    scan.rows += rows
    hashes = np.zeros(rows, np.uint64)
    for place, values in columns:
        name, start = schema.field(place).name, 0
        for chunk in values:
            see = _see_numbers if _is_number(chunk.type) else _see_words
            print_ = see(scan, name, chunk, hashes[start : start + len(chunk)]) if len(chunk) else b""
            scan.prints[name] = hash((scan.prints.get(name, 0), print_))
            start += len(chunk)
    scan.row_hashes.append(hashes[hashes <= np.uint64(scan.row_sample.limit)])
    if sum(map(len, scan.row_hashes)) > WAITING_ROWS:
        scan.row_sample = _sampled(scan)


def _sampled(scan: _Scan) -> RowSample:
    hashes = np.concatenate(scan.row_hashes) if scan.row_hashes else np.zeros(0, np.uint64)
    scan.row_hashes.clear()
    return scan.row_sample.add(hashes)


def _profile_parquet(file: Path, references: Mapping[str, Reference] | None) -> Profile:
    with pyarrow.parquet.ParquetFile(file) as plain:
        words = _repetitive(plain.metadata, plain.schema_arrow)
    # Dictionaries of words are counted by code: no string is looked at twice.
    with pyarrow.parquet.ParquetFile(file, read_dictionary=words, buffer_size=READ_BYTES) as parquet:
        schema, groups = parquet.schema_arrow, parquet.metadata
        most = max((groups.row_group(group).num_rows for group in range(parquet.num_row_groups)), default=0)
        if most > MOST_GROUP_ROWS or len(schema) > WIDE or not _is_flat(groups, schema):
            return profile_batches(schema, _batches(parquet), references)
        return _profile_pieces(schema, _groups(parquet, schema), references)


def _is_flat(groups: Any, schema: pa.Schema) -> bool:
    """Whether the columns of the file are those of its schema, one for one."""
    return bool([groups.schema.column(i).path for i in range(groups.num_columns)] == schema.names)


def _groups(parquet: pyarrow.parquet.ParquetFile, schema: pa.Schema) -> Iterator[Piece]:
    """Row groups, column by column: each is counted while the caches still hold it, and memory holds one of them."""
    usable = [place for place, one in enumerate(schema) if is_usable(one)]
    for group in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        yield rows, ((place, _column_of(parquet, group, schema.field(place).name)) for place in usable)


def _column_of(parquet: pyarrow.parquet.ParquetFile, group: int, name: str) -> list[pa.Array]:
    return parquet.read_row_group(group, columns=[name], use_threads=False).column(0).chunks  # type: ignore[no-any-return]


def _repetitive(metadata: Any, schema: pa.Schema) -> list[str]:
    """Columns of words that the first row group stores in a few bytes a value: as a dictionary."""
    if not metadata.num_row_groups:
        return []
    group = metadata.row_group(0)
    chunks = {chunk.path_in_schema: chunk for chunk in map(group.column, range(group.num_columns))}
    words = [one.name for one in schema if pa.types.is_string(one.type) and one.name in chunks]
    return [name for name in words if chunks[name].total_uncompressed_size < REPETITIVE_BYTES * group.num_rows]


def _batches(parquet: pyarrow.parquet.ParquetFile) -> Iterator[pa.RecordBatch]:
    # One row group at a time: pyarrow keeps what it has read until an iteration ends.
    for group in range(parquet.num_row_groups):
        yield from parquet.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], use_threads=False)
        pa.default_memory_pool().release_unused()


def _see_numbers(scan: _Scan, name: str, values: pa.Array, rows: Hashes) -> bytes:
    """Count one chunk of a column, hash it into the rows; returns some of its values."""
    numbers = _floats(values)
    one = scan.seen.get(name)
    if one is None:
        one = scan.seen[name] = _Numbers(_counter(scan, scan.references.get(name) or choose_reference(numbers)))
    assert isinstance(one, _Numbers)
    if scan.is_wide:
        one.counter.resume()
    one.counter.add(numbers, rows, one.registers)
    if scan.is_wide:
        found = one.counter.histogram()
        one.kept = found if one.kept is None else merged(one.kept, found)
    return numbers[::PRINTED].tobytes() + numbers[-1:].tobytes()


def _counter(scan: _Scan, reference: Reference) -> Counter:
    if scan.is_wide and scan.shared is None:
        scan.shared = np.empty(PLACES, np.uint32)
    return Counter(reference, scan.shared)


def _see_words(scan: _Scan, name: str, values: pa.Array, rows: Hashes) -> bytes:
    """Count one chunk of a column of words, hash it into the rows; returns hashes of some of them."""
    words = scan.seen.setdefault(name, _Words())
    assert isinstance(words, _Words)
    if not pa.types.is_dictionary(values.type):
        values = values.cast(pa.string())
        if len(set(values[:LOOKED_AT].to_pylist())) > LOOKED_AT / 2:
            return _see_text(words, values, rows)
    coded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    # The batches of a Parquet row group share their dictionary: it is looked at once.
    if words.dictionary is None or not _is_same(words.dictionary, coded.dictionary):
        _flush(words)
        words.dictionary = coded.dictionary.cast(pa.string())
        words.hashes = np.append(hashes_of(words.dictionary), MISSING)
        words.pending = np.zeros(len(words.hashes), np.int64)
    indices = coded.indices.fill_null(len(words.dictionary)) if coded.indices.null_count else coded.indices
    codes = indices.cast(pa.int32()).to_numpy(zero_copy_only=False)
    fold_codes(codes, words.hashes, words.pending, rows)
    return bytes(words.hashes[codes[::PRINTED]].tobytes() + words.hashes[codes[-1:]].tobytes())


def _see_text(words: _Words, values: pa.Array, rows: Hashes) -> bytes:
    """Words that hardly repeat: a dictionary of them would cost more than it saves."""
    hashes = hashes_of(values)
    is_there = np.ones(len(values), np.int64)
    if values.null_count:
        is_there = values.is_valid().to_numpy(zero_copy_only=False).astype(np.int64)
        hashes[is_there == 0] = MISSING
        words.missing += values.null_count
    words.tally.add(values, hashes, is_there)
    fold(hashes, rows, words.registers)
    return hashes[::PRINTED].tobytes() + hashes[-1:].tobytes()


def _is_same(one: pa.Array, other: pa.Array) -> bool:
    return len(one) == len(other) and one.buffers()[-1:] == other.buffers()[-1:] and one.equals(other)


def _flush(words: _Words) -> None:
    if words.dictionary is not None:
        hashes, counts = words.hashes[:-1], words.pending[:-1]
        words.missing += int(words.pending[-1])
        words.tally.add(words.dictionary, hashes, counts)
        seen = hashes[counts > 0]
        fold(seen, np.zeros(len(seen), np.uint64), words.registers)


def _equal_pairs(prints: Mapping[str, int], columns: Mapping[str, Column]) -> tuple[tuple[str, str], ...]:
    """Columns with equal values at the same sampled rows, and equal counts throughout."""
    by_print: dict[int, list[str]] = {}
    for name, one in prints.items():
        by_print.setdefault(one, []).append(name)
    pairs = ((names[0], other) for names in by_print.values() for other in names[1:])
    return tuple(sorted(pair for pair in pairs if is_equal(columns[pair[0]], columns[pair[1]])))


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_temporal(kind)
    )


def _floats(values: pa.Array) -> npt.NDArray[np.float64]:
    kind = values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        values = values.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    elif pa.types.is_temporal(kind):
        values = values.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    if not pa.types.is_float64(values.type):
        values = values.cast(pa.float64(), safe=False)
    if values.null_count:
        values = values.fill_null(math.nan)
    return np.ascontiguousarray(values.to_numpy(zero_copy_only=False))


def _column(described: pa.Field, scan: _Scan) -> Column:
    seen = scan.seen.get(described.name)
    kind = str(described.type)
    if seen is None:
        seen = _Numbers(_counter(scan, Reference())) if _is_number(described.type) else _Words()
    if isinstance(seen, _Words):
        _flush(seen)
        return WordColumn(described.name, kind, scan.rows, seen.missing, seen.tally.frozen(), seen.registers)
    counter = seen.counter
    missing, infinite, zero, negative = map(int, counter.kinds)
    count = scan.rows - missing - infinite
    total, squares, low, high = (float(one) for one in counter.totals)
    return NumberColumn(
        name=described.name,
        type=kind,
        histogram=seen.kept or counter.histogram(),
        registers=seen.registers,
        rows=scan.rows,
        missing=missing,
        infinite=infinite,
        zero=zero,
        negative=negative,
        low=low,
        high=high,
        mean=counter.reference.shift + total / count if count else math.nan,
        squares=max(0.0, squares - total * (total / count)) if count else 0.0,
        kind="time" if pa.types.is_temporal(described.type) else "number",
    )
