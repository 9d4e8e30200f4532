"""Small random changes to the text of a policy program: what a search without a language model does to one.

Texts are changed as syntax trees and written out again. Whether the result is a program is not known here.
"""

from __future__ import annotations

import ast
import copy
import math
import random
from collections.abc import Callable, Sequence
from typing import TypeGuard

_SWAPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.LtE),
    ast.Add: (ast.Sub, ast.Mult), ast.Sub: (ast.Add,), ast.Mult: (ast.Div, ast.Add), ast.Div: (ast.Mult,),
}  # fmt: skip
_PAIRS = {"min": "max", "max": "min", "floor": "ceil", "ceil": "floor", "exp": "expm1", "log": "log1p"}


def varied(source: str, others: Sequence[str], rng: random.Random) -> tuple[str, str]:
    """A changed text and what was changed; `others` are programs to borrow from. Raises ValueError for no program."""
    tree = parsed(source)
    kinds: list[tuple[float, Callable[[ast.Module, random.Random], str]]] = [
        (5.0, _move_number), (1.0, _swap_operator), (2.0, _add_term), (1.0, _drop),
    ]  # fmt: skip
    if others:
        kinds.append((1.5, lambda made, draw: _borrow(made, parsed(draw.choice(others)), draw)))
    weights, changes = zip(*kinds, strict=True)
    because = rng.choices(changes, weights)[0](tree, rng)
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n", because


def parsed(source: str) -> ast.Module:
    """The tree of one function. Raises ValueError."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"no program: {error}") from None
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef):
        raise ValueError("a program is one function")
    return tree


def _move_number(tree: ast.Module, rng: random.Random) -> str:
    fixed = {id(one) for call in _calls(tree, "range") for one in call.args}
    numbers = [one for one in ast.walk(tree) if _is_number(one) and id(one) not in fixed]
    if not numbers:
        return _add_term(tree, rng)
    before = []
    for one in rng.sample(numbers, min(len(numbers), 1 if rng.random() < 0.7 else 2)):
        was = float(one.value)  # type: ignore[arg-type]
        one.value = new = _moved(was, rng)
        before.append(f"{was:g} → {new:g}")
    return "number " + ", ".join(before)


def _moved(value: float, rng: random.Random) -> float:
    if value == 0.0 or rng.random() < 0.1:
        return _short(value + rng.gauss(0.0, 1.0) * max(1.0, abs(value)) * 0.5)
    return _short(value * math.exp(rng.gauss(0.0, rng.choice((0.05, 0.2, 0.7)))))


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def _swap_operator(tree: ast.Module, rng: random.Random) -> str:
    places: list[Callable[[], str]] = []
    for one in ast.walk(tree):
        if isinstance(one, ast.Compare):
            places.append(lambda one=one: _swapped_compare(one, rng))  # type: ignore[misc]
        elif isinstance(one, ast.BinOp) and type(one.op) in _SWAPS:
            places.append(lambda one=one: _swapped_binary(one, rng))  # type: ignore[misc]
        elif isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id in _PAIRS:
            places.append(lambda one=one: _swapped_call(one))  # type: ignore[misc]
    return rng.choice(places)() if places else _move_number(tree, rng)


def _swapped_compare(one: ast.Compare, rng: random.Random) -> str:
    place = rng.randrange(len(one.ops))
    before = type(one.ops[place])
    one.ops[place] = rng.choice(_SWAPS.get(before, (ast.Lt,)))()  # type: ignore[call-overload]
    return f"{before.__name__} → {type(one.ops[place]).__name__}"


def _swapped_binary(one: ast.BinOp, rng: random.Random) -> str:
    before = type(one.op)
    one.op = rng.choice(_SWAPS[before])()  # type: ignore[assignment]
    return f"{before.__name__} → {type(one.op).__name__}"


def _swapped_call(one: ast.Call) -> str:
    assert isinstance(one.func, ast.Name)
    before, one.func.id = one.func.id, _PAIRS[one.func.id]
    return f"{before} → {one.func.id}"


def _add_term(tree: ast.Module, rng: random.Random) -> str:
    """Combine a value with a multiple of another: e → e + k·v, max(e, k·v), min(e, k·v) or e·(1 + k·v)."""
    targets = _values(tree)
    if not targets:
        return "nothing"
    statement = rng.choice(targets)
    term = ast.BinOp(ast.Constant(_short(math.exp(rng.gauss(-1.0, 1.5)))), ast.Mult(), _leaf(tree, rng))
    shape = rng.choice(("+", "-", "max", "min"))
    old = statement.value
    assert old is not None
    if shape in "+-":
        statement.value = ast.BinOp(old, ast.Add() if shape == "+" else ast.Sub(), term)
    else:
        statement.value = ast.Call(ast.Name(shape, ast.Load()), [old, term], [])
    return f"{shape} {ast.unparse(ast.fix_missing_locations(term))}"


def _leaf(tree: ast.Module, rng: random.Random) -> ast.expr:
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    indexed = {
        one.value.id for one in ast.walk(tree) if isinstance(one, ast.Subscript) and isinstance(one.value, ast.Name)
    }
    name = rng.choice([one.arg for one in function.args.args])
    plain = ast.Name(name, ast.Load())
    if name in indexed:
        return ast.Subscript(plain, ast.Constant(int(rng.expovariate(1 / 20))), ast.Load())
    return plain


def _drop(tree: ast.Module, rng: random.Random) -> str:
    """Leave something out: a statement, or one side of an operation."""
    blocks = [block for one in ast.walk(tree) for block in (getattr(one, "body", None), getattr(one, "orelse", None))]
    lists = [block for block in blocks if isinstance(block, list) and len(block) > 1]
    if lists and rng.random() < 0.5:
        block = rng.choice(lists)
        place = rng.randrange(len(block) - 1)  # the last one may be a return
        return "without " + ast.unparse(block.pop(place)).splitlines()[0]
    sides = [one for one in _values(tree) if isinstance(one.value, ast.BinOp)]
    if not sides:
        return _move_number(tree, rng)
    chosen = rng.choice(sides)
    assert isinstance(chosen.value, ast.BinOp)
    chosen.value = rng.choice((chosen.value.left, chosen.value.right))
    return "only " + ast.unparse(chosen.value)


def _borrow(tree: ast.Module, other: ast.Module, rng: random.Random) -> str:
    """Take the value of an assignment or return from another program."""
    mine, theirs = _values(tree), _values(other)
    if not mine or not theirs:
        return _move_number(tree, rng)
    target = rng.choice(mine)
    same = [one for one in theirs if type(one) is type(target)]
    source = rng.choice(same or theirs)
    assert source.value is not None
    target.value = copy.deepcopy(source.value)
    return "borrowed " + ast.unparse(target.value)


def _values(tree: ast.Module) -> list[ast.Assign | ast.AugAssign | ast.Return]:
    return [one for one in ast.walk(tree) if isinstance(one, (ast.Assign, ast.AugAssign, ast.Return)) and one.value]


def _calls(tree: ast.Module, name: str) -> list[ast.Call]:
    found = [one for one in ast.walk(tree) if isinstance(one, ast.Call)]
    return [one for one in found if isinstance(one.func, ast.Name) and one.func.id == name]


def _is_number(one: ast.AST) -> TypeGuard[ast.Constant]:
    return isinstance(one, ast.Constant) and type(one.value) in (int, float)
