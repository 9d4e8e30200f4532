"""The controller: programs decide, the shield has the last word, and silence is not data."""

from __future__ import annotations

import pytest

from trimtab.adapters.programs import ProgramFault
from trimtab.cluster.scaling.controller import Controller, Shield
from trimtab.cluster.scaling.programs import LIBRARY
from trimtab.cluster.scaling.simulator import DESIRED, Service

SERVICE = Service(0.1, 0.4)


def controller(answer: str = "0", **shield: float) -> Controller:
    limits = Shield(**{"least": 2, "most": 20, "stabilisation_seconds": 0.0, **shield})  # type: ignore[arg-type]
    return Controller(f"{DESIRED.head}\n    return {answer}\n", SERVICE, limits)


def fed(one: Controller, rate: float, until: float = 60.0) -> float:
    now = 0.0
    while now < until:
        now += 5.0
        one.observe(now, rate, rate * SERVICE.service_seconds)
    return now


@pytest.mark.parametrize(("answer", "count"), [("0", 6), ("1000", 10), ("0 / 0", 5), ("7.2", 8), ("-3", 5)])
def test_a_program_stays_inside_the_limits(answer: str, count: int) -> None:
    one = controller(answer)
    now = fed(one, rate=50.0)  # five replicas at work: six are needed at the least
    assert one.desired(now, ready=5, coming=0) == max(count, 6)


def test_it_grows_at_most_twofold_and_never_beyond_the_most() -> None:
    one = controller("500")
    now = fed(one, rate=1.0)
    assert [one.desired(now, ready, 0) for ready in (2, 6, 12, 20)] == [6, 12, 20, 20]


def test_it_shrinks_only_when_no_more_was_wanted_for_a_while() -> None:
    one = controller("rate[0]", stabilisation_seconds=60.0)
    now = fed(one, rate=9.0)
    assert one.desired(now, 9, 0) == 9
    wanted = []
    for _ in range(6):
        for _ in range(3):
            now += 5.0
            one.observe(now, 3.0, 0.3)
        wanted.append(one.desired(now, 9, 0))
    assert wanted[:3] == [9, 9, 9]
    assert wanted[-1] == 3


def test_a_program_that_oscillates_keeps_the_higher_number() -> None:
    one = controller("12 if state[0] > 0.5 else 6", stabilisation_seconds=60.0)
    one.swap(f"{DESIRED.head}\n    state[0] = 1 - state[0]\n    return 12 if state[0] > 0.5 else 6\n")
    now, there, seen = fed(one, rate=30.0), 6, []
    for _ in range(12):
        for _ in range(3):
            now += 5.0
            one.observe(now, 30.0, 3.0)
        there = one.desired(now, there, 0)
        seen.append(there)
    assert set(seen) == {12}


def test_a_program_that_is_as_slow_as_one_may_be_decides_in_time() -> None:
    turns = 1000
    loops = f"    for i in range({turns}):\n        for j in range(7):\n            a = a + exp(-j)\n"
    one = controller()
    one.swap(f"{DESIRED.head}\n    a = 0\n{loops}    return a\n")
    with pytest.raises(ProgramFault, match="operations"):
        one.swap(f"{DESIRED.head}\n    a = 0\n{loops.replace('7', '70')}    return a\n")
    assert one.desired(fed(one, 1.0), 7, 0) == 14  # at most twofold


def test_when_measurements_stop_the_last_number_holds_then_the_most_needed_lately() -> None:
    one = controller("rate[0]")
    now = fed(one, rate=12.0)
    assert one.desired(now, 12, 0) == 12
    for _ in range(12):
        now += 5.0
        one.observe(now, 4.0, 0.4)
    assert one.desired(now, 12, 0) == 4
    assert one.desired(now + 60, 4, 0) == 4
    assert one.desired(now + 600, 4, 0) == 12
    one.observe(now + 605, float("nan"), 0.0)  # no measurement either
    assert one.desired(now + 606, 4, 0) == 12
    one.observe(now + 610, 4.0, 0.4)
    one.desired(now + 611, 12, 0)
    assert [event.split(":")[0] for event in one.events] == [
        "measurements stopped", "measurements are missing for long", "measurements are back",
    ]  # fmt: skip


def test_a_text_that_is_no_program_is_refused_and_the_old_one_stays() -> None:
    one = controller("7")
    with pytest.raises(ProgramFault):
        one.swap("import os")
    assert one.desired(fed(one, 1.0), 7, 0) == 7


@pytest.mark.parametrize("name", LIBRARY)
def test_programs_of_the_library_follow_the_load(name: str) -> None:
    one = Controller(LIBRARY[name], SERVICE, Shield(1, 50, 0.0))
    low = one.desired(fed(one, rate=20.0, until=1300.0), 4, 0)
    now = 1300.0
    for _ in range(60):
        now += 5.0
        one.observe(now, 60.0, 6.0)
        high = one.desired(now, max(low, 7), 0)
    assert low < high
    assert 6 <= high <= 20
