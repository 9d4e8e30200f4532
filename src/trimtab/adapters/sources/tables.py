"""Reads tables: Parquet, CSV (plain, .gz, .zip), Arrow and Feather files, or a user's function, into Arrow."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import os
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from trimtab.core.errors import InputError

MOST_COLUMNS = 20_000
HEADER_BYTES = 64 << 20
SUFFIXES = (".parquet", ".csv", ".csv.gz", ".csv.zip", ".arrow", ".feather")


def read_table(path: str | Path) -> pa.Table:
    """A whole file as an Arrow table.

    Raises InputError that names the file, the line or column, and a remedy: for a missing, empty, ragged or otherwise
    unreadable file, an unknown suffix, no rows, or more than 20,000 columns.
    """
    file = Path(path)
    require_file(file)
    table = _guarded(file, lambda: _read(file))
    require_width(file, table.num_columns)
    twice = [name for name, count in Counter(table.column_names).items() if count > 1]
    if twice:
        raise InputError(f"{file} has two columns named {twice[0]!r}", hint="give every column a name of its own")
    if table.num_rows == 0:
        raise InputError(f"{file} has no rows", hint="check how the file was written")
    return table


def fingerprint(path: str | Path) -> str:
    """SHA-256 (hex) of a file's content. Raises InputError when it cannot be read."""
    file = Path(path)
    require_file(file)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def materialise(source: str, folder: Path, to: Path) -> Path:
    """The path of a table: a file as it is, or what a function "file.py:name" returns, written once as Parquet.

    The Parquet file is named by the function's source, so that an edited function is called again. Raises InputError.
    """
    place, is_call, name = source.partition(".py:")
    if not is_call:
        file = folder / source
        require_file(file)
        return file
    code = folder / f"{place}.py"
    cached = to / f"{Path(place).name}-{name}-{fingerprint(code)[:12]}.parquet"
    if not cached.exists():
        _write_parquet(_called(code, name, source), cached)
    return cached


def import_function(code: Path, name: str) -> Any:
    """A function of a user's file, imported with its folder on the path. Raises InputError with what went wrong."""
    require_file(code)
    module = _module(code)
    found = getattr(module, name, None)
    if not callable(found):
        raise InputError(f"{code} has no function {name!r}", hint="check the name behind the colon")
    return found


def require_file(file: Path) -> None:
    """Raise InputError unless there is a readable file."""
    if not file.exists():
        raise InputError(f"{file} does not exist", hint="check the path; it is relative to the configuration's folder")
    if not file.is_file():
        raise InputError(f"{file} is not a file")
    if not os.access(file, os.R_OK):
        raise InputError(f"{file} cannot be read", hint="check its permissions")


def require_width(file: Path, columns: int) -> None:
    """Raise InputError for more columns than can be used."""
    if columns > MOST_COLUMNS:
        raise InputError(
            f"{file} has {columns:,} columns, at most {MOST_COLUMNS:,} can be used",
            hint="store wide vectors as features of a model of their own, or drop columns first",
        )


def _read(file: Path) -> pa.Table:
    if file.name.endswith(".parquet"):
        require_width(file, len(pyarrow.parquet.read_schema(file)))  # before much time and memory are spent
        return pyarrow.parquet.read_table(file)
    if file.suffix in (".arrow", ".feather"):
        return pyarrow.feather.read_table(file)
    if file.name.endswith((".csv", ".csv.gz", ".csv.zip")):
        return _read_csv(file)
    raise InputError(f"{file}: unknown kind of table", hint=f"known are {', '.join(SUFFIXES)}")


def _read_csv(file: Path) -> pa.Table:
    _require_header_width(file)
    options = pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    with open_csv(file) as stream:
        try:
            table = pyarrow.csv.read_csv(stream, convert_options=options)
        except pa.ArrowInvalid:
            # Only a single thread counts rows: read again for a message that says where.
            with open_csv(file) as again:
                table = pyarrow.csv.read_csv(
                    again, convert_options=options, read_options=pyarrow.csv.ReadOptions(use_threads=False)
                )
    for place, field in enumerate(table.schema):
        if pa.types.is_binary(field.type):  # pyarrow's answer to text that is not UTF-8
            raise _not_utf8(file, field.name, table.column(place))
    return table


def _not_utf8(file: Path, name: str, values: pa.ChunkedArray) -> InputError:
    for row, value in enumerate(values.to_pylist()):
        try:
            (value or b"").decode()
        except UnicodeDecodeError:
            hint = f"convert it first: iconv -f LATIN1 -t UTF-8 {file.name}"
            return InputError(f"{file}, row {row + 1} after the header, column {name!r}: not UTF-8", hint=hint)
    return InputError(f"{file}, column {name!r}: not text", hint="is the file whole?")


@contextmanager
def open_csv(file: Path) -> Iterator[BinaryIO]:
    """The bytes of a CSV file, unpacked when it is gzipped or the only member of a zip."""
    if file.suffix == ".gz":
        with gzip.open(file) as stream:
            yield cast(BinaryIO, stream)
    elif file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            members = archive.namelist()
            if len(members) != 1:
                raise InputError(f"{file} holds {len(members)} files", hint="a zipped table is exactly one file")
            yield io.BytesIO(archive.read(members[0]))
    else:
        with file.open("rb") as plain:
            yield plain


def _require_header_width(file: Path) -> None:
    with open_csv(file) as stream:
        require_width(file, stream.readline(HEADER_BYTES).count(b",") + 1)


def _guarded(file: Path, read: Any) -> pa.Table:
    try:
        return read()
    except pa.ArrowInvalid as error:
        first = str(error).splitlines()[0]
        remedy = (
            "every row needs as many fields as the header" if "columns" in first else "is the file whole, and UTF-8?"
        )
        raise InputError(f"{file} cannot be read: {first}", hint=remedy) from None
    except (pa.ArrowException, OSError, EOFError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {str(error).splitlines()[0]}", hint="is the file whole?") from None


def _module(code: Path) -> ModuleType:
    if str(code.parent) not in sys.path:
        sys.path.insert(0, str(code.parent))  # so that the file's own imports work as they do for its users
    spec = importlib.util.spec_from_file_location(code.stem, code)
    if spec is None or spec.loader is None:
        raise InputError(f"{code} cannot be imported", hint="is it a Python file?")
    module = importlib.util.module_from_spec(spec)
    sys.modules[code.stem] = module  # pickles of its classes and functions name the module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything
        raise InputError(f"{code} raised {type(error).__name__}: {error}", hint="import it on its own first") from error
    return module


def _called(code: Path, name: str, source: str) -> pa.Table:
    function = import_function(code, name)
    try:
        made = function()
    except Exception as error:  # a user's function may raise anything
        raise InputError(f"{source} raised {type(error).__name__}: {error}", hint="call it on its own first") from error
    return to_arrow(made, source)


def to_arrow(frame: Any, source: str) -> pa.Table:
    """Any dataframe that narwhals knows, an Arrow table, or a path, as an Arrow table. Raises InputError."""
    import narwhals

    if isinstance(frame, pa.Table):
        return frame
    if isinstance(frame, (str, Path)):
        return read_table(frame)
    try:
        return narwhals.from_native(frame, eager_only=True).to_arrow()
    except TypeError:
        kind = type(frame).__name__
        raise InputError(f"{source} gave a {kind}", hint="return a dataframe, an Arrow table or a path") from None


def _write_parquet(table: pa.Table, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=to.parent, suffix=".tmp", delete=False) as file:
        try:
            pyarrow.parquet.write_table(table, file, compression="zstd")
        except BaseException:
            os.unlink(file.name)
            raise
    os.replace(file.name, to)
