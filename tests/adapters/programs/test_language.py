"""Policy programs through their public face: what they may say, what is refused, what they mean when compiled."""

import ast
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.adapters.programs.hostile import HOSTILE
from trimtab.adapters.programs import Input, ProgramFault, Signature, compile_program, fault, read_program

SCORE = Signature(
    "score", (Input("a", "a number"), Input("rate", "requests/s, the newest first", 4), Input("b", "a number")), "", 2
)


def program(body: str) -> str:
    return f"def score(a, rate, b):\n    {body}\n"


def called(body: str, a: float = 0.0, b: float = 0.0, rate: tuple[float, ...] = (1, 2, 3, 4)) -> float:
    state = np.zeros(2)
    return compile_program(program(body), SCORE)(np.array([a, *rate, b]), state)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_program_is_refused_with_a_clear_reason(name: str) -> None:
    body, word = HOSTILE[name]
    with pytest.raises(ProgramFault) as refused:
        read_program(program(body), SCORE)
    assert re.search(word if "|" in word else re.escape(word), str(refused.value)), str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "import os", "def score(a, b): return 1", "def other(a, rate, b): return 1",
        "def score(a, rate, b=open('x')): return 1", "@open\ndef score(a, rate, b): return 1",
        "async def score(a, rate, b): return 1", "def score(a, rate, b, *c): return 1",
        "def score(a, rate, b): return 1\nopen('/tmp/x')", "score = lambda a, rate, b: 1", "def score(a, rate, b)",
    ],
)  # fmt: skip
def test_what_is_not_one_function_of_the_signature_is_refused(text: str) -> None:
    assert fault(text, SCORE)


def test_annotations_are_dropped_and_never_run() -> None:
    text = "def score(a: open('/x'), rate, b) -> open('/y'):\n    c: open('/z') = a\n    return c\n"
    assert compile_program(text, SCORE)(np.array([7.0, 0, 0, 0, 0, 0]), np.zeros(2)) == 7.0


def test_squaring_in_a_loop_overflows_to_the_largest_number_and_ends() -> None:
    assert called("c = 3\n    for i in range(1000):\n        c = c * c\n    return c") == 1e300


def test_indices_are_cut_to_their_window_and_slots() -> None:
    body = (
        "state[5] = 9\n    state[-3] = 1\n    return rate[-1] + 10 * rate[99] + 100 * rate[0 / 0] + state[1] + state[0]"
    )
    assert called(body) == 1 + 40 + 100 + 9 + 1


def test_what_is_undefined_elsewhere_is_defined_here() -> None:
    assert called("return 0 / 0") == 1e300
    assert called("return 1 / 0") == 1e300
    assert called("return -1 / 0") == -1e300
    assert called("return max(0 / 0, 2) + min(3, 0 / 0)") == 5
    assert called("return log(-1)") == 1e300
    assert called("return 7 % 0") == 1e300
    assert called("state[0] = 0 / 0\n    state[1] = 1 / 0\n    return state[0] + state[1]") == 1e300
    assert called("if a > 5:\n        c = 2\n    return c") == 0.0


def test_state_lives_from_call_to_call() -> None:
    policy = compile_program(program("state[0] += a\n    return state[0]"), SCORE)
    inputs, state = np.array([2.0, 0, 0, 0, 0, 0]), np.zeros(2)
    assert [policy(inputs, state) for _ in range(3)] == [2.0, 4.0, 6.0]


def test_truth_values_are_numbers_where_numbers_are_wanted() -> None:
    assert called("return (a > 1) + (a > 1 and b) * 2 + (not a) * 4", a=2.0, b=3.0) == 3.0


def test_the_answer_for_nan_is_the_signatures() -> None:
    keeps = Signature("score", SCORE.inputs, "", 2, when_nan=-1.0)
    assert compile_program(program("return 0 / 0"), keeps)(np.zeros(6), np.zeros(2)) == -1.0


NUMBERS = st.floats(-50, 50, allow_nan=False).map(lambda value: round(value, 3))
LEAVES = st.one_of(NUMBERS.map(repr), st.sampled_from(["a", "b"]))
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"),
        st.tuples(inner, inner).map(lambda parts: f"max({parts[0]}, {parts[1]})"),
        st.tuples(inner, inner, inner).map(
            lambda parts: f"({parts[0]} if {parts[1]} < {parts[2]} else abs({parts[0]}))"
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None)
@given(EXPRESSIONS, NUMBERS, NUMBERS)
def test_compiled_programs_mean_what_python_means(expression: str, a: float, b: float) -> None:
    meant = eval(expression, {"max": max, "abs": abs}, {"a": a, "b": b})  # an expression of our own making
    assert math.isclose(called(f"return {expression}", a, b), float(meant), rel_tol=1e-12, abs_tol=1e-12)


def test_the_normal_form_holds_no_name_from_outside() -> None:
    tree = read_program(program("c = max(a, rate[1], b) ** 2\n    state[0] = c\n    return c % 3"), SCORE).tree
    names = {one.id for one in ast.walk(tree) if isinstance(one, ast.Name)}
    assert names == {"x", "state", "a", "b", "c", "max_", "place_", "pow", "kept_", "mod_", "answer_"}
