"""JSON and back: nothing is lost, nothing undeclared gets in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.core.events import Measured
from trimtab.core.model import Comparison, Failure, Interval, Measurement, Refusal, Sample, Spend, Verdict
from trimtab.core.wire import canonical, digest, dump, load


@dataclass(frozen=True)
class Leaf:
    kind: Literal["a", "b"] = "a"
    size: float = 1.0


@dataclass(frozen=True)
class Twig:
    size: float = 1.0


@dataclass(frozen=True)
class Tree:
    name: str
    count: int = 0
    is_tall: bool = False
    height: float | None = None
    place: Path = Path("here")
    seen_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    leaves: tuple[Leaf, ...] = ()
    best: Leaf | Twig = field(default_factory=Twig)
    pair: tuple[int, str] = (1, "x")
    tags: frozenset[str] = frozenset()
    marks: set[int] = field(default_factory=set)
    sizes: Mapping[str, float] = field(default_factory=dict)
    by_year: Mapping[int, Sequence[int]] = field(default_factory=dict)
    limited: Annotated[int, "a note"] = 3


numbers = st.floats(allow_nan=False)
leaves = st.builds(Leaf, st.sampled_from(["a", "b"]), numbers)
trees = st.builds(
    Tree,
    name=st.text(),
    count=st.integers(),
    is_tall=st.booleans(),
    height=st.none() | numbers,
    place=st.text("abc/.", min_size=1).map(Path),
    seen_at=st.datetimes(timezones=st.just(UTC)),
    leaves=st.lists(leaves, max_size=3).map(tuple),
    best=leaves | st.builds(Twig, numbers),
    pair=st.tuples(st.integers(), st.text()),
    tags=st.frozensets(st.text(), max_size=3),
    marks=st.sets(st.integers(), max_size=3),
    sizes=st.dictionaries(st.text(), numbers, max_size=3),
    by_year=st.dictionaries(st.integers(), st.lists(st.integers(), max_size=2), max_size=3),
    limited=st.integers(),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(trees)
def test_what_is_written_is_read_back_equal(tree: Tree) -> None:
    assert load(Tree, json.loads(json.dumps(dump(tree), allow_nan=False))) == tree


@given(trees)
def test_the_digest_follows_the_content(tree: Tree) -> None:
    again = load(Tree, json.loads(canonical(tree)))
    assert digest(again) == digest(tree)
    assert digest(again) != digest(load(Tree, {**json.loads(canonical(tree)), "name": tree.name + "!"}))


@given(st.sampled_from([one.name for one in fields(Tree)]), json_values)
def test_a_wrong_value_is_a_value_error_and_nothing_else(name: str, value: Any) -> None:
    try:
        tree = load(Tree, {"name": "x", name: value})
    except ValueError:
        return
    assert load(Tree, dump(tree)) == tree
    assert name in get_type_hints(Tree)


@given(
    st.builds(
        Comparison,
        st.sampled_from(["better", "no_better", "unsafe"]),
        st.text(),
        st.builds(Interval, numbers, numbers, numbers),
        st.dictionaries(st.text(), numbers, max_size=2),
        st.dictionaries(st.text(), numbers, max_size=2),
        st.sampled_from(["run", "replay", "simulation"]),
    )
    | st.builds(Refusal, st.sampled_from(["invalid", "failed"]), st.text())
)
def test_a_verdict_is_read_back_as_the_member_that_it_was(verdict: Comparison | Refusal) -> None:
    assert load(Verdict, json.loads(canonical(verdict))) == verdict


@given(
    st.builds(Measurement, st.dictionaries(st.text(), numbers, max_size=2), st.sampled_from(["run", "replay"]))
    | st.builds(Failure, st.text(), st.builds(Spend, numbers)),
    st.builds(Sample, st.sampled_from(["search", "holdout"]), st.integers(), st.floats(0.01, 1)),
    json_values,
)
def test_an_event_is_read_back_equal(outcome: Any, sample: Sample, plan: Any) -> None:
    event = Measured("study", plan, "key", sample, outcome)
    assert load(Measured, json.loads(canonical(event))) == event


def test_unbounded_intervals_can_be_written_and_nan_cannot() -> None:
    endless = Interval(-math.inf, 0.0, math.inf)
    assert load(Interval, json.loads(canonical(endless))) == endless
    with pytest.raises(ValueError, match="NaN"):
        dump(Leaf(size=math.nan))


@pytest.mark.parametrize("value", [np.float64(1.5), np.float32(1.5), np.int64(3), np.bool_(True), np.array(2.0)])
def test_numpys_scalars_are_written_as_what_they_are(value: Any) -> None:
    assert dump(value) == value.item()
    assert type(dump(value)) is type(value.item())


@pytest.mark.parametrize("value", [object(), b"bytes", np.arange(3), np.array([1.0]), 1j, {(1, 2): 3}, {True: 1}])
def test_what_has_no_word_in_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cannot write a"):
        dump(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nmae": 1}, "unknown field 'nmae', known are name, count"),
        ({"count": "1"}, "count: expected int, not '1'"),
        ({"count": True}, "count: expected int, not True"),
        ({"count": 1.0}, "count: expected int"),
        ({"is_tall": 1}, "is_tall: expected bool"),
        ({"height": 10**400}, "height: expected float"),
        ({"height": math.nan}, "height: expected float"),
        ({"seen_at": "yesterday"}, "seen_at: expected a time in ISO 8601"),
        ({"leaves": "ab"}, "leaves: expected a list"),
        ({"leaves": [{"kind": "c"}]}, r"leaves\[0\].kind: 'c' is not one of"),
        ({"pair": [1]}, "pair: expected 2 values, not 1"),
        ({"sizes": []}, "sizes: expected an object"),
        ({"sizes": {"x": "y"}}, "sizes.x: expected float"),
        ({"by_year": {"MMXXVI": [1]}}, "by_year: expected a whole number as key"),
        ({"best": {"is": "Leaf", "bark": 1}}, "best: unknown field 'bark'"),
    ],
)
def test_what_is_refused_is_named_with_its_place(change: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(Tree, {"name": "x", **change})


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ValueError, match="name"):
        load(Tree, {"count": 1})


def test_the_order_of_keys_does_not_change_a_digest() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_a_set_is_written_in_one_order() -> None:
    assert dump(frozenset("cab")) == ["a", "b", "c"]
