"""Knobs: what is drawn is valid, what is valid survives JSON, and the schema says the same as the parser."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass, replace
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.core.errors import ContractError
from trimtab.core.model import Json
from trimtab.core.space import Choice, Float, Int, Source, Subset, When, draw, faults, json_schema, knobs, parse, settle
from trimtab.core.wire import dump


@dataclass(frozen=True)
class Served:
    mode: Annotated[str, Choice("thread", "process", "none")] = "thread"
    batch: Annotated[int, Int(1, 64, log=True)] = 1
    wait_ms: Annotated[float, Float(0.1, 50.0, log=True)] = 2.0
    share: Annotated[float, Float(0.0, 0.3)] = 0.25
    parts: Annotated[tuple[str, ...], Subset("cache", "pool", "warm")] = ()
    workers: Annotated[int, Int(1, 8), When("mode", "process")] = 2
    pinned: Annotated[bool, Choice(False, True), When("workers", 4, 8)] = False
    program: Annotated[str, Source(64)] = "return 0"
    label: str = "fixed"


seeds = st.integers(0, 2**32)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
answers = st.dictionaries(
    st.sampled_from([knob.name for knob in knobs(Served)]),
    json_values
    | st.integers(0, 70)
    | st.floats(0, 60)
    | st.sampled_from(["thread", "process", "none", "return 1"])
    | st.lists(st.sampled_from(["cache", "pool", "warm", "other"]), max_size=3),
    max_size=4,
)


def drawn(seed: int) -> Served:
    return draw(Served, random.Random(seed))


@given(seeds)
def test_what_is_drawn_is_valid_and_settled(seed: int) -> None:
    plan = drawn(seed)
    assert faults(plan) == []
    assert settle(plan) == plan


@given(seeds)
def test_a_plan_survives_json(seed: int) -> None:
    plan = drawn(seed)
    assert parse(Served, json.loads(json.dumps(dump(plan)))) == plan


@given(st.integers(-1000, 1000), st.integers(0, 1000), st.booleans(), seeds)
def test_whole_numbers_stay_in_their_range(low: int, width: int, log: bool, seed: int) -> None:
    kind = make_dataclass("One", [("x", Annotated[int, Int(low, low + width, log and low >= 0)], low)], frozen=True)
    assert faults(draw(kind, random.Random(seed))) == []


@given(st.floats(-1e9, 1e9), st.floats(0, 1e9), st.booleans(), seeds)
def test_numbers_stay_in_their_range(low: float, width: float, log: bool, seed: int) -> None:
    kind = make_dataclass("One", [("x", Annotated[float, Float(low, low + width, log and low > 0)], low)], frozen=True)
    assert faults(draw(kind, random.Random(seed))) == []


def test_a_log_scale_reaches_both_ends_evenly() -> None:
    rng = random.Random(0)
    sizes = [draw(Served, rng).batch for _ in range(4000)]
    assert set(range(1, 11)) | {64} <= set(sizes)
    assert 0.4 < sum(size <= 8 for size in sizes) / len(sizes) < 0.65


@given(answers)
@settings(max_examples=300)
def test_whatever_is_parsed_is_valid_settled_and_in_the_schema(answer: dict[str, Any]) -> None:
    try:
        plan = parse(Served, answer, base=Served())
    except ValueError:
        return  # any other exception is a failure of this test
    assert faults(plan) == []
    assert settle(plan) == plan
    assert fits(json_schema(Served), knobs_of(plan))


@given(answers)
@settings(max_examples=300)
def test_what_fits_the_schema_is_parsed(answer: dict[str, Any]) -> None:
    if fits(json_schema(Served), answer):
        assert isinstance(parse(Served, answer, base=Served()), Served)


@given(seeds, st.sampled_from(["thread", "none"]))
def test_knobs_that_do_not_matter_do_not_tell_plans_apart(seed: int, mode: str) -> None:
    plan = replace(drawn(seed), mode=mode)
    assert settle(replace(plan, workers=4, pinned=True)) == settle(replace(plan, workers=1, pinned=False))


def test_a_chain_of_conditions_is_settled_at_once() -> None:
    assert settle(Served(mode="thread", workers=8, pinned=True)) == Served(mode="thread")


def test_the_order_of_a_subset_and_the_kind_of_a_number_do_not_tell_plans_apart() -> None:
    one, other = Served(parts=("warm", "cache"), wait_ms=2), Served(parts=("cache", "warm"), wait_ms=2.0)
    assert dump(settle(one)) == dump(settle(other))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"batch": 0}, "batch: 0 is not a whole number from 1 to 64"),
        ({"batch": True}, "batch: True is not a whole number"),
        ({"batch": 2.0}, "batch: 2.0 is not a whole number"),
        ({"wait_ms": math.nan}, "wait_ms: nan is not a number"),
        ({"wait_ms": 10**400}, "is not a number from 0.1 to 50"),
        ({"mode": "fork"}, "mode: 'fork' is not one of"),
        ({"parts": ("cache", "cache")}, "is not a subset"),
        ({"parts": ["cache"]}, "is not a subset"),
        ({"program": "é" * 33}, "at most 64 bytes"),
    ],
)
def test_faults_name_the_knob_and_what_is_allowed(change: Mapping[str, Any], reason: str) -> None:
    (fault,) = faults(settle(replace(Served(), **change)))
    assert reason in fault


@pytest.mark.parametrize(
    "answer",
    [
        [],
        "batch",
        None,
        {"size": 1},
        {"batch": "8"},
        {"batch": None},
        {"wait_ms": 10**400},
        {"mode": 1},
        {"batch": 8.5},
    ],
)
def test_an_answer_that_is_no_plan_is_a_value_error(answer: Json) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(Served, answer)


def test_what_is_left_out_comes_from_the_base() -> None:
    base = Served(batch=16, label="mine")
    assert parse(Served, {"wait_ms": 5}, base) == replace(base, wait_ms=5.0)


def test_an_idle_knob_of_an_answer_is_put_back_not_refused() -> None:
    assert parse(Served, {"mode": "thread", "workers": 99}) == Served()


def test_fields_without_a_range_are_no_knobs() -> None:
    assert "label" not in [knob.name for knob in knobs(Served)]
    assert "label" not in str(json_schema(Served))


@dataclass(frozen=True)
class Listed:
    mode: Annotated[str, Choice("a", "b")] = "a"
    names: Annotated[tuple[str, ...], Subset("x", "y"), When("mode", "b")] = field(default_factory=lambda: ("x",))


def test_a_default_may_come_from_a_factory() -> None:
    assert settle(Listed("a", ("y",))) == Listed()


@dataclass(frozen=True)
class Forward:
    workers: Annotated[int, Int(1, 8), When("mode", "process")] = 2
    mode: Annotated[str, Choice("thread", "process")] = "thread"


def test_a_condition_on_a_later_knob_is_the_authors_mistake() -> None:
    with pytest.raises(ContractError, match="workers depends on 'mode'"):
        knobs(Forward)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Int, (3, 2)),
        (Int, (-1, 5, True)),
        (Float, (0.0, 1.0, True)),
        (Float, (0.0, math.inf)),
        (Float, (math.nan, 1.0)),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(kind: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="a range"):
        kind(*arguments)


def knobs_of(plan: Served) -> dict[str, Any]:
    """The plan as an answer would give it."""
    return {knob.name: dump(getattr(plan, knob.name)) for knob in knobs(Served)}


def fits(schema: Any, value: Any) -> bool:
    """JSON Schema, as far as ours go; a whole number must be written as one."""
    if "enum" in schema and not any(value == one and type(value) is type(one) for one in schema["enum"]):
        return False
    match schema.get("type"):
        case "object":
            known = schema["properties"]
            return isinstance(value, dict) and all(key in known and fits(known[key], one) for key, one in value.items())
        case "array":
            is_unique = isinstance(value, list) and len({repr(one) for one in value}) == len(value)
            return is_unique and all(fits(schema["items"], one) for one in value)
        case "integer":
            return type(value) is int and schema["minimum"] <= value <= schema["maximum"]
        case "number":
            return type(value) in (int, float) and schema["minimum"] <= value <= schema["maximum"]
        case "string":
            return isinstance(value, str) and len(value) <= schema["maxLength"]
    return True
