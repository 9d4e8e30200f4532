"""balance: the simulator against closed forms, policies against what they promise, and the loop on real sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trimtab.adapters.programs import fault
from trimtab.cluster.scaling.queueing import erlang_c
from trimtab.core.budget import Meter
from trimtab.core.errors import InputError
from trimtab.core.loop import optimize
from trimtab.core.model import Comparison
from trimtab.inference.balancing import policies
from trimtab.inference.balancing.measure import Fleet, referred, routed, tail
from trimtab.inference.balancing.plan import ASKING, PEERS, RoutingPlan, prequal
from trimtab.inference.balancing.policies import LIBRARY, program
from trimtab.inference.balancing.problem import CAPABILITY, ideas, library, peers
from trimtab.inference.balancing.requests import Tokens, drawn, load_of_file, numbered, part, resampled
from trimtab.inference.balancing.signature import PICK
from trimtab.inference.balancing.simulator import Load
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules
from trimtab.testing import MemoryLedger

ONE = Fleet(backends=1, routers=1, slots=1, rtt_seconds=0.0)
RANDOM = PEERS["random"]


def exponential(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).exponential(1.0, count)


@pytest.mark.parametrize(("slots", "load"), [(1, 0.7), (4, 0.8), (10, 0.85)])
def test_one_backend_waits_as_m_m_k(slots: int, load: float) -> None:
    work = exponential(1_000_000)
    made = routed(RANDOM, drawn(load * slots, work, 1), replace(ONE, slots=slots), 0)
    waits = made.latency - work
    assert (waits > 1e-9).mean() == pytest.approx(erlang_c(load * slots, slots), rel=0.03)
    expected = erlang_c(load * slots, slots) / (slots - load * slots)
    assert waits.mean() == pytest.approx(expected, rel=0.05)


def test_one_backend_waits_as_m_d_1() -> None:
    made = routed(RANDOM, drawn(0.8, np.ones(500_000), 1), ONE, 0)
    assert made.latency.mean() - 1 == pytest.approx(0.8 / (2 * 0.2), rel=0.03)  # Pollaczek and Khinchine


@pytest.mark.parametrize("law", ["exponential", "lognormal"])
def test_a_shared_backend_takes_the_same_mean_whatever_the_law(law: str) -> None:
    rng = np.random.default_rng(3)
    work = rng.exponential(1, 800_000) if law == "exponential" else rng.lognormal(-0.5, 1, 800_000)
    made = routed(RANDOM, drawn(0.7, work, 1), replace(ONE, is_shared=True), 0)
    assert made.latency.mean() == pytest.approx(1 / 0.3, rel=0.05)  # M/G/1 with processor sharing: insensitive


def test_the_oracle_is_one_queue_for_all_backends() -> None:
    work = exponential(600_000)
    made = referred("oracle", drawn(0.9 * 8, work, 1), Fleet(8, 4, 1, rtt_seconds=0.0), 0)
    expected = erlang_c(7.2, 8) / 0.8
    assert (made.latency - work).mean() == pytest.approx(expected, rel=0.06)


def test_jsq_with_a_global_view_lies_between_the_oracle_and_two_choices() -> None:
    fleet, load = Fleet(32, 16, 1), drawn(0.9 * 32, exponential(200_000), 1)
    oracle, jsq = tail(referred("oracle", load, fleet, 0)), tail(referred("jsq", load, fleet, 0))
    seeing_two = tail(routed(RoutingPlan(), load, replace(fleet, routers=1), 0))
    assert oracle < jsq < seeing_two < tail(routed(RANDOM, load, fleet, 0))


def test_two_choices_of_one_router_have_the_tail_of_theory() -> None:
    load, share = 0.9, []
    made = routed(RoutingPlan(), drawn(load * 200, exponential(1_000_000), 2), Fleet(200, 1, 1, rtt_seconds=0.0), 0)
    # Mitzenmacher (2001): the mean time in the limit of many backends is Σ λ^(2^i - 2), i ≥ 1.
    share = [load ** (2**i - 2) for i in range(1, 12)]
    assert made.latency[100_000:].mean() == pytest.approx(sum(share), rel=0.03)


def test_a_round_trip_is_added_to_every_answer() -> None:
    load = drawn(0.2, np.ones(1000), 1)
    near, far = (routed(RANDOM, load, replace(ONE, rtt_seconds=rtt), 0).latency for rtt in (0.0, 0.5))
    assert far == pytest.approx(near + 0.5)


def test_waiting_for_a_probe_costs_its_round_trip() -> None:
    fleet, load = Fleet(4, 2, 1, rtt_seconds=0.5), drawn(0.01, np.ones(1000), 1)
    made = routed(replace(ASKING, program=policies.RANDOM), load, fleet, 0)
    assert np.median(made.latency) == pytest.approx(2.0)
    assert made.probes == 1000


def test_round_robin_of_one_router_takes_turns() -> None:
    made = routed(PEERS["round robin"], drawn(1.0, np.ones(100), 1), Fleet(5, 1, 4), 0)
    assert set(np.diff(made.backend) % 5) == {1}


def test_the_same_seed_gives_the_same_end_and_another_does_not() -> None:
    load, fleet = drawn(0.9 * 16, exponential(20_000), 1), Fleet(16, 8, 1)
    first, same, other = (routed(ASKING, load, fleet, seed).latency for seed in (1, 1, 2))
    assert (first == same).all()
    assert (first != other).any()


def test_asking_the_best_guess_beats_the_known_policies() -> None:
    rng = np.random.default_rng(5)
    fleet = Fleet(32, 16, 2, rtt_seconds=0.01)
    load = drawn(0.85 * 64, rng.lognormal(-0.5, 1, 100_000), 5)
    mine = routed(ASKING, load, fleet, 0)
    assert mine.probes <= len(load.times)
    assert tail(mine) < 0.95 * min(tail(routed(plan, load, fleet, 0)) for plan in peers(fleet).values())


def followed(load: Load, fleet: Fleet) -> tuple[list[int], list[float]]:
    """The least requests, then the turn, for one router: event by event in plain Python."""
    free = [[0.0] * fleet.slots for _ in range(fleet.backends)]
    answers: list[list[float]] = [[] for _ in range(fleet.backends)]
    where, took, turn = [], [], 0
    for now, work in zip(load.times, load.work, strict=True):
        open_ = [sum(at > now for at in mine) for mine in answers]
        best = min(range(fleet.backends), key=lambda b: (open_[b], (b - turn) % fleet.backends))
        slot = min(range(fleet.slots), key=free[best].__getitem__)
        free[best][slot] = max(now, free[best][slot]) + work
        answers[best].append(free[best][slot] + fleet.rtt_seconds)
        where.append(best)
        took.append(free[best][slot] + fleet.rtt_seconds - now)
        turn = (best + 1) % fleet.backends
    return where, took


@pytest.mark.parametrize(("slots", "rtt"), [(1, 0.0), (1, 0.3), (3, 0.05)])
def test_goes_the_same_way_as_a_plain_simulation(slots: int, rtt: float) -> None:
    fleet, load = Fleet(5, 1, slots, rtt_seconds=rtt), drawn(0.9 * 5 * slots, exponential(2000), 4)
    made = routed(RoutingPlan("all", program=program("return outstanding * 100 + turn")), load, fleet, 0)
    where, took = followed(load, fleet)
    assert made.backend.tolist() == where
    assert made.latency == pytest.approx(took)


def test_peak_ewma_avoids_a_slow_backend() -> None:
    fleet = Fleet(4, 1, 1, speeds=(0.1, 1.0, 1.0, 1.0))
    made = routed(PEERS["peak ewma"], drawn(1.0, exponential(20_000), 1), fleet, 0)
    assert (made.backend == 0).mean() < 0.1


def test_prequal_probes_as_often_as_it_may() -> None:
    load, fleet = drawn(0.85 * 400, exponential(60_000), 1), Fleet(100, 16, 4)
    made = routed(prequal(3.0, 100), load, fleet, 0)
    assert made.probes == pytest.approx(180_000, rel=0.01)
    assert tail(made) < tail(routed(RoutingPlan(), load, fleet, 0)) < tail(routed(RANDOM, load, fleet, 0))


def conversations(seed: int) -> Load:
    """Turns of 60 conversations, each with the blocks of all turns before it."""
    rng = np.random.default_rng(seed)
    lists = [
        [0, *(1 + who * 50 + turn for turn in range(1 + at // 60))] for at, who in enumerate(rng.integers(0, 60, 1200))
    ]
    offsets, blocks = numbered(lists)
    return Load(np.arange(1200.0), np.full(1200, 0.1), np.full(1200, 1.0), np.full(1200, 0.1), offsets, blocks)


def test_a_cached_prefix_saves_its_share_of_the_time() -> None:
    load = conversations(0)
    one = routed(RANDOM, load, replace(ONE, slots=64, cached_blocks=10_000), 0)
    assert one.found[600:].mean() > 0.9
    assert one.latency == pytest.approx(0.1 + 1.0 * (1 - one.found))


def test_a_small_cache_forgets_what_was_used_least_recently() -> None:
    lists = [[1], [2], [1], [3], [2], [1]]
    offsets, blocks = numbered(lists)
    load = Load(np.arange(6.0) * 9, np.ones(6), np.ones(6), np.ones(6), offsets, blocks)
    made = routed(RANDOM, load, replace(ONE, cached_blocks=2), 0)
    assert made.found.tolist() == [0, 0, 1, 0, 0, 0]  # 3 drives out 2, then 2 drives out 1


def test_a_policy_that_knows_prefixes_finds_more_of_them() -> None:
    load, fleet = conversations(1), Fleet(8, 1, 2, cached_blocks=2000)
    knowing = routed(PEERS["prefix"], load, fleet, 0)
    assert knowing.found.mean() > 1.5 * routed(RoutingPlan(), load, fleet, 0).found.mean()


@pytest.mark.parametrize("answer", ["0 / 0", "1 / 0", "0 - 1 / 0", "1", "state[0]"])
def test_a_policy_without_sense_still_sends_every_request(answer: str) -> None:
    made = routed(RoutingPlan("all", program=program(f"state[0] = state[0] + 1\nreturn {answer}")),
                  drawn(4.0, exponential(2000), 1), Fleet(8, 4, 1), 0)  # fmt: skip
    assert np.isfinite(made.latency).all()
    assert made.backend.min() >= 0
    assert made.backend.max() < 8


def test_the_policies_that_ship_are_programs() -> None:
    for text in [
        *LIBRARY.values(),
        policies.COMPLETION,
        policies.IN_FLIGHT,
        *(plan.program for plan in PEERS.values()),
    ]:
        assert fault(text, PICK) == ""


def test_an_overloaded_fleet_falls_behind_but_ends() -> None:
    made = routed(RANDOM, drawn(20.0, exponential(20_000), 1), Fleet(4, 2, 3, is_shared=True), 0)
    assert np.isfinite(made.latency).all()
    assert made.latency[-100:].mean() > 10


def test_a_draw_of_chunks_keeps_order_and_repeats_no_conversation() -> None:
    made = resampled(conversations(2), slice(100, 500), 8, 100, 0)
    assert len(made.times) == 800
    assert (np.diff(made.times) >= 0).all()
    assert len(made.offsets) == 801
    ends = made.blocks[made.offsets[99] : made.offsets[100]]
    assert not set(ends) & set(made.blocks[made.offsets[100] :])


def test_finds_a_better_policy_on_requests_nobody_saw(tmp_path: Path) -> None:
    problem = CAPABILITY.sample(tmp_path, 1)
    decision = optimize(
        problem, Portfolio(Rules("ideas", ideas), Rules("library", library)),
        search=Meter(measurements=500), check=Meter(), ledger=MemoryLedger(),
    )  # fmt: skip
    assert decision.winner is not None
    assert isinstance(decision.winner.verdict, Comparison)
    assert decision.winner.verdict.gain.low > 0.1
    assert decision.winner.verdict.metrics["probes_a_request"] <= 1.0


def written(folder: Path, text: str) -> Path:
    to = folder / "requests.csv"
    to.write_text(text, encoding="utf-8")
    return to


def rows(head: str, row: str, count: int = 2000) -> str:
    return head + "\n" + "\n".join(row.replace("#", str(i)) for i in range(count)) + "\n"


def test_reads_tokens_and_blocks(tmp_path: Path) -> None:
    load = load_of_file(
        written(tmp_path, rows("t_s,ContextTokens,GeneratedTokens,blocks", "#,1000,10,7 8 #")), Tokens()
    )
    assert load.work == pytest.approx(0.3)
    assert load.prefix == pytest.approx(0.06)
    assert np.diff(load.offsets).tolist() == [3] * 2000
    assert part(load, slice(5, 10)).offsets.tolist() == [0, 3, 6, 9, 12, 15]


@pytest.mark.parametrize(
    "stamp", ["#", "2023-11-16 18:15:46.6805900", "2024-02-29T23:59:59+01:00", "2024-02-29T23:59:59Z"]
)
def test_reads_times_of_several_kinds_in_order(tmp_path: Path, stamp: str) -> None:
    first = stamp.replace("#", "-1").replace("2023-11", "2023-10").replace("2024-02-29", "2024-02-28")
    text = rows("timestamp,seconds", f"{stamp},1") + f"{first},2\n"
    load = load_of_file(written(tmp_path, text), Tokens())
    assert load.times[0] == 0.0
    assert load.work[0] == 2.0
    assert load.times[-1] == pytest.approx({"#": 2000.0, "2": 86400.0 * (31 if "2023" in stamp else 1)}[stamp[0]])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (rows("a,b", "#,1"), "a column of times"),
        (rows("time,seconds", "#,-1"), "negative"),
        (rows("time,seconds", "#,0"), "no request needs"),
        (rows("time,seconds", "#,x"), "numbers"),
        (rows("time,seconds", "never#,1"), "times"),
        (rows("time,seconds", "#,1", 10), "10 requests"),
        (rows("time,seconds", "7,1"), "at the same time"),
        (rows("time,seconds", "#,"), "missing|numbers"),
        (rows("time,seconds,blocks", "#,1,x y"), "blocks"),
    ],
)
def test_says_what_is_wrong_with_a_request_log(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_of_file(written(tmp_path, text), Tokens())
