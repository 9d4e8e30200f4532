"""defer: the spot market and the windows against hand-made cases, foresight against brute force, and bad input."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trimtab.adapters.programs import compile_program, fault
from trimtab.cluster.deferring.forecasts import LEARNED, boosted, curved, forecasts, linear
from trimtab.cluster.deferring.measure import Hours, Known, ran, waited
from trimtab.cluster.deferring.optimum import cheapest_jobs
from trimtab.cluster.deferring.plan import SpotPlan, WindowPlan
from trimtab.cluster.deferring.policies import (
    AT_ONCE,
    GREEDY,
    LOWEST,
    ON_DEMAND,
    PIECE,
    SPOT_POLICIES,
    UNIFORM,
    WINDOW_POLICIES,
)
from trimtab.cluster.deferring.problem import CAPABILITY, SPOT, Deferring, Spot
from trimtab.cluster.deferring.profiles import Ahead, seasonal
from trimtab.cluster.deferring.series import Source, read_availability, read_market
from trimtab.cluster.deferring.spot import (
    COST,
    DEMAND_HOURS,
    FINISH,
    FORCED,
    MARKET,
    SPOT_HOURS,
    STARTS,
    Job,
    Table,
    played,
)
from trimtab.cluster.deferring.windows import DEFER, Work, cheapest_work, work_at_once, worked
from trimtab.core.errors import InputError
from trimtab.core.model import Sample

NOW = np.array([0])


def one(up: list[int], job: Job, program: str, step_hours: float = 1.0) -> Table:
    return played(np.array(up, np.uint8), NOW, job, step_hours, compile_program(program, MARKET))[0]


def random_market(seed: int, steps: int, change: float = 0.15) -> np.ndarray:
    flips = np.random.default_rng(seed).random(steps) < change
    return (np.cumsum(flips) % 2).astype(np.uint8)


def test_on_demand_costs_the_work_and_one_start() -> None:
    made = one([1] * 12, Job(5.0, 10.0, 0.5), ON_DEMAND)
    assert made[COST] == made[DEMAND_HOURS] == made[FINISH] == pytest.approx(5.5)
    assert made[STARTS] == 1


def test_spot_is_paid_at_its_price_and_every_start_loses_the_overhead() -> None:
    made = one([1, 1, 0, 1, 1, 1, 1, 1], Job(3.0, 8.0, 0.25, price=0.4), GREEDY)
    assert made[SPOT_HOURS] == pytest.approx(3.5)  # two starts of a quarter of an hour
    assert made[COST] == pytest.approx(0.4 * 3.5)
    assert made[STARTS] == 2
    assert made[FINISH] == pytest.approx(4.5)


def test_an_overhead_longer_than_a_step_is_lost_over_several() -> None:
    made = one([1] * 10, Job(2.0, 9.0, 2.5), GREEDY)
    assert made[FINISH] == pytest.approx(4.5)


def test_the_shield_goes_on_demand_when_waiting_would_be_too_late() -> None:
    made = one([0] * 10, Job(5.0, 10.0, 0.5), GREEDY)
    assert made[FINISH] <= 10.0
    assert made[SPOT_HOURS] == 0
    assert made[FORCED] > 0


@pytest.mark.parametrize("answer", ["0", "1", "2", "0 / 0", "-1 / 0", "spot", "2 * (lasted > step)", "running - 1"])
@pytest.mark.parametrize("overhead", [0.0, 0.1, 0.3, 1.7])
def test_no_program_misses_a_deadline(answer: str, overhead: float) -> None:
    policy = compile_program(f"{MARKET.head}\n    return {answer}\n", MARKET)
    for seed in range(20):
        up = random_market(seed, 400)
        job = Job(9.0, 11.0 + seed % 4, overhead)
        made = played(up, np.arange(0, 300, 7), job, 1 / 6, policy)
        assert (made[:, FINISH] <= job.deadline + 1e-9).all()


@pytest.mark.parametrize("name", SPOT_POLICIES)
def test_no_policy_costs_less_than_foresight(name: str) -> None:
    policy = compile_program(SPOT_POLICIES[name], MARKET)
    for seed, overhead in itertools.product(range(5), (0.0, 0.05, 0.3, 1.0)):
        up, job, starts = random_market(seed, 500), Job(10.0, 14.0, overhead), np.arange(0, 400, 11)
        least = cheapest_jobs(up, starts, job, 1 / 6)
        assert (played(up, starts, job, 1 / 6, policy)[:, COST] >= least - 1e-9).all()


@pytest.mark.parametrize("overhead", [0.0, 0.5, 1.5])
def test_foresight_is_what_trying_everything_finds(overhead: float) -> None:
    job = Job(4.0, 8.0, overhead, price=0.3)
    for seed in range(6):
        up = random_market(seed, 8, 0.4)
        (least,) = cheapest_jobs(up, NOW, job, 1.0)
        assert least == pytest.approx(min(_cost(choice, up, job) for choice in itertools.product((0, 1, 2), repeat=8)))


def _cost(choices: tuple[int, ...], up: np.ndarray, job: Job) -> float:
    """The cost of a fixed sequence of choices of an hour each; infinite when it cannot be done or is late."""
    remaining, pending, running, cost = job.work, 0.0, 0, 0.0
    for hour, choice in enumerate(choices):
        if choice == 1 and not up[hour]:
            return np.inf
        if choice and choice != running:
            pending = job.overhead
        running = choice
        if choice:
            used = min(1.0, pending + remaining)
            remaining -= max(0.0, used - pending)
            pending = max(0.0, pending - used)
            cost += used * (job.price if choice == 1 else 1.0)
        if remaining <= 1e-9:
            return cost
    return np.inf


def test_uniform_progress_stays_near_an_even_pace_and_uses_spot() -> None:
    up = random_market(3, 600, 0.05)
    starts, job = np.arange(0, 150, 5), Job(48.0, 70.0, 0.05)
    made, least = (
        played(up, starts, job, 1 / 6, compile_program(UNIFORM, MARKET)),
        cheapest_jobs(up, starts, job, 1 / 6),
    )
    demand = played(up, starts, job, 1 / 6, compile_program(ON_DEMAND, MARKET))
    assert least.sum() < made[:, COST].sum() < 0.9 * demand[:, COST].sum()


def test_a_program_knows_what_the_market_did_before_the_job_and_nothing_later() -> None:
    telling = compile_program(f"{MARKET.head}\n    return 2 if share > 0.5 else 1\n", MARKET)
    past, job = [1] * 20, Job(3.0, 8.0)
    seen = played(np.array(past + [0] * 10, np.uint8), np.array([20]), job, 1.0, telling)[0]
    unseen = played(np.array([0] * 20 + [0] + [1] * 9, np.uint8), np.array([20]), job, 1.0, telling)[0]
    assert seen[DEMAND_HOURS] > 0
    assert unseen[DEMAND_HOURS] == 0


def hourly(days: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    hours = np.arange(days * 24)
    return np.asarray(300 + 100 * np.sin(hours / 24 * 2 * np.pi) + rng.normal(0, 20, len(hours)))


@pytest.mark.parametrize("is_whole", [False, True])
def test_foresight_of_a_window_is_what_trying_everything_finds(is_whole: bool) -> None:
    values, work = hourly(3), Work(3, 10, is_whole)
    (least,) = cheapest_work(values, np.array([5]), work)
    window = values[5:15]
    ways = [ways for ways in itertools.combinations(range(10), 3) if not is_whole or ways[2] - ways[0] == 2]
    assert least == pytest.approx(min(sum(window[list(way)]) for way in ways))


@pytest.mark.parametrize(("program", "is_whole"), [(LOWEST, False), (PIECE, True)])
def test_a_perfect_forecast_makes_foresight(program: str, is_whole: bool) -> None:
    values, work, starts = hourly(12), Work(4, 24, is_whole), np.arange(240)
    table = np.lib.stride_tricks.sliding_window_view(np.append(values, values[:24]), 24)[: len(values)].copy()
    made = worked(values, table, starts, work, compile_program(program, DEFER))
    assert made == pytest.approx(cheapest_work(values, starts, work))


@pytest.mark.parametrize("answer", ["0", "1", "0 / 0", "waited % 3", "past[0] > past[1]"])
@pytest.mark.parametrize("is_whole", [False, True])
def test_work_is_always_done_in_time_and_whole_where_it_must_be(answer: str, is_whole: bool) -> None:
    # Each step of the series is worth a power of two, so that a sum tells which steps ran.
    values = 2.0 ** np.arange(12)
    policy = compile_program(f"{DEFER.head}\n    return {answer}\n", DEFER)
    (cost,) = worked(values, np.zeros((12, 4)), NOW, Work(4, 12, is_whole), policy)
    ran_in = [step for step in range(12) if int(cost) >> step & 1]
    assert len(ran_in) == 4
    assert not is_whole or ran_in[-1] - ran_in[0] == 3


def test_at_once_is_the_first_steps() -> None:
    values, starts = hourly(5), np.arange(90)
    made = worked(values, np.zeros((120, 24)), starts, Work(4, 24), compile_program(AT_ONCE, DEFER))
    assert made == pytest.approx(work_at_once(values, starts, Work(4, 24)))


def test_forecasts_know_only_the_past_and_what_is_published() -> None:
    values, ahead, cut = hourly(100), hourly(100, 1), 80 * 24
    later, later_ahead = values.copy(), ahead.copy()
    later[cut:] += 500
    later_ahead[cut + 24 :] += 500  # known at `cut`, midnight: this day's, published at noon of the day before
    for make in (
        lambda series, beside: seasonal(series, 30, 7),
        lambda series, beside: boosted(series, 24),
        lambda series, beside: boosted(series, 24, 24, Ahead(beside, 12)),
        lambda series, beside: linear(series, 24),
        lambda series, beside: linear(series, 24, 24, Ahead(beside, 12)),
        lambda series, beside: curved(series, 24, 24, Ahead(beside, 12)),
    ):
        before, after = make(values, ahead), make(later, later_ahead)
        assert np.array_equal(before[: cut + 1], after[: cut + 1])
        assert np.isfinite(before).all()


def error(table: np.ndarray, values: np.ndarray, first: int) -> float:
    """The mean error about which hours are dear, not about how dear the day is."""
    windows = np.lib.stride_tricks.sliding_window_view(values, table.shape[1])[first:-1]
    made = table[first : first + len(windows)]
    off = made - made.mean(axis=1, keepdims=True) - windows + windows.mean(axis=1, keepdims=True)
    return float(np.abs(off).mean())


def drifting(day: int, days: int) -> tuple[np.ndarray, np.ndarray]:
    """A daily wave and a drift that fades within hours; and the drift alone."""
    rng, drift = np.random.default_rng(1), np.zeros(days * day)
    for step in range(1, len(drift)):
        drift[step] = 0.2 ** (1 / day) * drift[step - 1] + rng.normal(0, 10)
    return 300 + 50 * np.sin(np.arange(len(drift)) / day * 2 * np.pi) + drift, drift


@pytest.mark.parametrize("make", [boosted, linear, curved])
def test_a_series_that_is_known_ahead_makes_the_forecast_better(make: Callable[..., np.ndarray]) -> None:
    values, drift = drifting(24, 120)
    alone, told = make(values, 24), make(values, 24, 24, Ahead(drift, 12))
    assert error(told, values, 90 * 24) < 0.9 * error(alone, values, 90 * 24)


@pytest.mark.parametrize(("day", "horizon"), [(24, 6), (48, 12)])
def test_a_linear_forecast_learns_how_departures_from_the_mean_days_fade(day: int, horizon: int) -> None:
    values, _ = drifting(day, 120)
    windows = np.lib.stride_tricks.sliding_window_view(values, horizon)[90 * day :]
    learned, mean_days = (
        float(np.abs(table[90 * day : len(values) - horizon + 1] - windows).mean())
        for table in (linear(values, horizon, day), seasonal(values, horizon, 28, day))
    )
    assert learned < 0.85 * mean_days


@pytest.mark.parametrize(("day", "horizon"), [(1, 96), (2, 7), (24, 24), (96, 5)])
def test_a_linear_forecast_is_made_for_any_length_of_step(day: int, horizon: int) -> None:
    table = linear(np.random.default_rng(0).normal(0, 1, 170 * day), horizon, day)
    assert table.shape == (170 * day, horizon)
    assert np.isfinite(table).all()


def test_a_short_series_is_forecast_by_its_mean_days() -> None:
    values = hourly(40)
    mean_days = (seasonal(values, 24, 7) + seasonal(values, 24, 28)) / 2
    assert linear(values, 24) == pytest.approx(mean_days)


def test_the_blend_is_the_mean_of_what_is_learned() -> None:
    values = hourly(40)
    parts = [forecasts(values, 24, kind) for kind in LEARNED]
    assert forecasts(values, 24, "blend") == pytest.approx(sum(parts) / len(parts))


def test_a_curved_forecast_is_of_ratios() -> None:
    rng, days = np.random.default_rng(2), 120
    level = np.exp(np.cumsum(rng.normal(0, 0.05, days * 24)) * 0.5)  # the daily wave grows with the level
    values = 300 * level * np.exp(0.6 * np.sin(np.arange(days * 24) / 24 * 2 * np.pi))
    assert error(curved(values, 24), values, 90 * 24) < error(linear(values, 24), values, 90 * 24)
    assert curved(-values, 24) == pytest.approx(-curved(values, 24))  # prices may be below 0


def test_the_halves_share_no_window(tmp_path: Path) -> None:
    problem = CAPABILITY.sample(tmp_path, 0)
    assert isinstance(problem, Deferring)
    search = np.concatenate([problem.starts(Sample("search", seed)) for seed in range(problem.blocks)])
    assert search.max() + problem.work.within <= problem.unseen().min()
    steps, length = 1000, 100
    first, second = (Hours(is_second).starts(steps, length, 1 / 6) for is_second in (False, True))
    assert first.max() + length <= steps // 2 < second.min()
    assert second.max() + length <= steps


def test_the_lowest_steps_of_a_forecast_capture_most_of_a_daily_wave(tmp_path: Path) -> None:
    problem = CAPABILITY.sample(tmp_path, 0)
    assert isinstance(problem, Deferring)
    made = waited(WindowPlan("week", LOWEST), problem.known, problem.work, problem.unseen())
    assert made.captured > 0.8
    assert waited(WindowPlan(), problem.known, problem.work, problem.unseen()).captured == pytest.approx(0.0)


def test_jobs_on_a_sample_market_cost_less_by_a_reserve_than_by_uniform_progress(tmp_path: Path) -> None:
    problem = SPOT.sample(tmp_path, 0)
    assert isinstance(problem, Spot)
    reserve, uniform = (
        ran(SpotPlan(SPOT_POLICIES[name]), problem.sources, problem.jobs, Hours(True))
        for name in ("reserve", "uniform progress")
    )
    assert 1.0 <= reserve.to_foresight < uniform.to_foresight
    assert reserve.late == uniform.late == 0


@pytest.mark.parametrize("text", [*SPOT_POLICIES.values()])
def test_spot_programs_are_programs_of_at_most_thirty_lines(text: str) -> None:
    assert fault(text, MARKET) == ""
    assert len(text.strip().splitlines()) <= 30


@pytest.mark.parametrize("text", [*WINDOW_POLICIES.values()])
def test_window_programs_are_programs_of_at_most_thirty_lines(text: str) -> None:
    assert fault(text, DEFER) == ""
    assert len(text.strip().splitlines()) <= 30


HOURS = [f"2024-01-{day + 1:02d}T{hour:02d}:00:00" for day in range(20) for hour in range(24)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["time,price", *(f"{time},{i % 7}" for i, time in enumerate(HOURS[:10]))], "days"),
        (["time,price", *(f"{time},5" for time in HOURS)], "never changes"),
        (["time,price", *(f"{time},cheap" for time in HOURS)], "columns of numbers"),
        (["time,price", *(f"later,{i}" for i in range(400))], "no times"),
        (["time,a,b", *(f"{time},{i % 5},{i % 7}" for i, time in enumerate(HOURS))], "2 columns of numbers"),
        (["time,price", *(f"{time},{i % 7}" for i, time in enumerate(HOURS) if i % 9)], "have no value"),
        (["time,price", *(f"{i},{i % 7}" for i in range(4000))], "1 s apart"),
    ],
)
def test_a_series_that_cannot_be_used_is_refused(tmp_path: Path, rows: list[str], said: str) -> None:
    (tmp_path / "series.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError, match=said):
        read_market(Source(str(tmp_path / "series.csv")))


def test_a_few_missing_hours_are_filled_in_and_rows_can_be_picked(tmp_path: Path) -> None:
    rows = [
        f"{time},{zone},{i if zone == 'a' else 7 * i % 11}" for i, time in enumerate(HOURS) for zone in "ab" if i != 30
    ]
    (tmp_path / "series.csv").write_text("time,zone,price\n" + "\n".join(rows) + "\n")
    market = read_market(Source(str(tmp_path / "series.csv"), rows="zone=a"))
    assert list(market.values[28:33]) == [28, 29, 30, 31, 32]
    with pytest.raises(InputError, match="no row has zone=c"):
        read_market(Source(str(tmp_path / "series.csv"), rows="zone=c"))


def test_times_with_a_zone_are_read_in_utc(tmp_path: Path) -> None:
    rows = [f"{time}+02:00,{i}" for i, time in enumerate(HOURS)]
    (tmp_path / "series.csv").write_text("time,price\n" + "\n".join(rows) + "\n")
    assert read_market(Source(str(tmp_path / "series.csv"))).values[0] == 2.0  # midnight UTC is 02:00 there


@pytest.mark.parametrize("text", ["{}", "[1, 2]", '{"metadata": {"gap_seconds": 0}, "data": [1]}', "no json"])
def test_a_trace_that_cannot_be_used_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "trace.json").write_text(text)
    with pytest.raises(InputError):
        read_availability(str(tmp_path / "trace.json"))


@pytest.mark.parametrize(
    "bad", [Job(10.0, 9.0), Job(10.0, 10.05, 0.1), Job(0.0, 5.0), Job(1.0, 5.0, -1.0), Work(5, 4), Work(4, 200)]
)
def test_work_that_cannot_be_done_says_why(bad: Job | Work) -> None:
    assert bad.fault()


def test_known_ahead_must_cover_the_series_in_equal_steps(tmp_path: Path) -> None:
    from trimtab.cluster.deferring.measure import ahead_of

    problem = CAPABILITY.sample(tmp_path, 0)
    assert isinstance(problem, Deferring)
    (tmp_path / "ahead.csv").write_text(
        "second,price\n" + "\n".join(f"{1800 * i},{i % 5}" for i in range(40 * 48)) + "\n"
    )
    with pytest.raises(InputError, match="steps of 1,800 s"):
        ahead_of(Known(problem.known.series, Source(str(tmp_path / "ahead.csv"))))


def test_a_series_that_is_known_ahead_has_rows_of_its_own(tmp_path: Path) -> None:
    lines = [f"{hour * 3600},GB,{value:.3f}" for hour, value in enumerate(hourly(70))]
    (tmp_path / "carbon.csv").write_text("\n".join(["second,zone,gco2", *lines]))
    (tmp_path / "prices.csv").write_text("\n".join(["second,price", *(line.replace("GB,", "") for line in lines)]))
    asked = ["defer", str(tmp_path / "carbon.csv"), "--rows", "zone=GB", "--ahead", str(tmp_path / "prices.csv")]
    program = Path(sys.executable).with_name("trimtab")
    refused = subprocess.run([program, *asked], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (refused.returncode, "prices.csv has no column 'zone'" in refused.stderr) == (2, True)
    made = subprocess.run([program, *asked, "--ahead-rows", ""], cwd=tmp_path, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
