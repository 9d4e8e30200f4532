"""Patches that turn element-by-element loops into whole-array operations.

What an element is, a list's, an array's or a tensor's, the source does not say: a version that guesses wrong fails, or
comes out otherwise, and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import libcst as cst
from libcst import matchers as m

from trimtab.training.scripts.calls import changed, code

STACKS: Mapping[str, str] = {
    "torch.stack": "{x}[torch.as_tensor({at})[:, None] + torch.arange({low}, {high})]",
    "np.stack": "{x}[np.asarray({at})[:, None] + np.arange({low}, {high})]",
    "np.array": "{x}[np.asarray({at})[:, None] + np.arange({low}, {high})]",
    "np.asarray": "{x}[np.asarray({at})[:, None] + np.arange({low}, {high})]",
}
FUNCTIONS: Mapping[str, str] = {
    **{f"math.{one}": f"np.{one}" for one in ("sqrt", "exp", "log", "sin", "cos", "tanh", "log1p", "floor", "ceil")},
    **{f"np.{one}": f"np.{one}" for one in ("sqrt", "exp", "log", "sin", "cos", "tanh", "log1p", "floor", "ceil")},
    "abs": "np.abs", "np.abs": "np.abs", "math.fabs": "np.abs", "float": "np.float64", "max": "np.maximum",
    "min": "np.minimum",
}  # fmt: skip
OF_TWO = ("max", "min")  # all others are of one; a ufunc would write into one argument more


def windows_at_once(module: cst.Module) -> cst.Module:
    """stack([x[i : i + n] for i in places]) becomes one look-up."""

    def change(call: cst.Call) -> cst.BaseExpression:
        return _windows(call) or call

    return changed(module, change)


def vectorised_loops(module: cst.Module) -> cst.Module:
    """`for i in range(n)` over elements, and rows of a data frame, become operations on whole arrays."""
    if "import numpy as np" not in module.code:
        return module
    return module.visit(_Vectorised(module))


def _windows(call: cst.Call) -> cst.BaseExpression | None:
    form = STACKS.get(code(call.func))
    if form is None or len(call.args) != 1 or not isinstance(call.args[0].value, cst.ListComp | cst.GeneratorExp):
        return None
    made = call.args[0].value
    turn = made.for_in
    window = m.Subscript(slice=[m.SubscriptElement(m.Slice(lower=m.DoNotCare(), upper=m.DoNotCare(), step=None))])
    if turn.ifs or turn.inner_for_in or not isinstance(turn.target, cst.Name) or not m.matches(made.elt, window):
        return None
    part = cst.ensure_type(made.elt, cst.Subscript)
    bounds = cst.ensure_type(part.slice[0].slice, cst.Slice)
    name = turn.target.value
    if bounds.lower is None or bounds.upper is None or name in _names(part.value):
        return None
    if not (_is_shift(bounds.lower, name) and _is_shift(bounds.upper, name)):
        return None
    low, high = (code(_at(one, name, "0")) for one in (bounds.lower, bounds.upper))
    text = form.format(x=code(part.value), at=code(turn.iter), low=low, high=high)
    return cst.parse_expression(text)


def _is_shift(node: cst.BaseExpression, name: str) -> bool:
    """Whether an expression is the name plus something that does not depend on it."""
    match node:
        case cst.Name(value=value):
            return value == name
        case cst.BinaryOperation(left=left, operator=cst.Add(), right=right):
            return (_is_shift(left, name) and name not in _names(right)) or (
                _is_shift(right, name) and name not in _names(left)
            )
        case cst.BinaryOperation(left=left, operator=cst.Subtract(), right=right):
            return _is_shift(left, name) and name not in _names(right)
    return False


def _at(node: cst.BaseExpression, name: str, value: str) -> cst.CSTNode:
    replaced = m.replace(node, m.Name(name), cst.parse_expression(value))
    assert isinstance(replaced, cst.CSTNode)
    return replaced


@dataclass(frozen=True)
class _Over:
    """What a loop goes over: elements `turn` of so many, or rows `turn` of a frame."""

    turn: str
    count: str
    frame: str = ""


@dataclass(frozen=True)
class _Known:
    """Names in a loop's body, as far as it is read: what must not be read, and what differs from turn to turn."""

    barred: set[str]
    varying: set[str]


class _CannotVectorise(ValueError):
    pass


class _Vectorised(cst.CSTTransformer):
    def __init__(self, module: cst.Module) -> None:
        super().__init__()
        loose = _LooseNames()
        module.visit(loose)
        self._loose = loose.found

    def leave_For(
        self, original_node: cst.For, updated_node: cst.For
    ) -> cst.For | cst.FlattenSentinel[cst.BaseStatement]:
        over = _over(updated_node)
        if over is None or updated_node.orelse is not None or not isinstance(updated_node.body, cst.IndentedBlock):
            return updated_node
        try:
            lines = _lines(updated_node.body, over)
        except _CannotVectorise:
            return updated_node
        if self._loose & {over.turn, *_plain_targets(updated_node)}:
            return updated_node  # what the last turn left in them is used elsewhere
        return cst.FlattenSentinel([cst.parse_statement(one) for one in lines])


class _LooseNames(cst.CSTVisitor):
    """Names that are used outside of all loops that set them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self._set: list[set[str]] = []

    def visit_For(self, node: cst.For) -> None:
        self._set.append({*_names(node.target), *_plain_targets(node)})

    def leave_For(self, original_node: cst.For) -> None:
        self._set.pop()

    def visit_Name(self, node: cst.Name) -> None:
        if not any(node.value in one for one in self._set):
            self.found.add(node.value)


def _over(loop: cst.For) -> _Over | None:
    match loop.target, loop.iter:
        case cst.Name(value=turn), cst.Call(func=cst.Name(value="range"), args=[cst.Arg(value=count, star="")]):
            return _Over(turn, code(count))
        case (
            cst.Tuple(elements=[cst.Element(value=cst.Name()), cst.Element(value=cst.Name(value=turn))]),
            cst.Call(func=cst.Attribute(value=frame, attr=cst.Name(value="iterrows")), args=[]),
        ):
            return _Over(turn, "", code(frame))
    return None


def _lines(block: cst.IndentedBlock, over: _Over) -> list[str]:
    """The statements that do the same at once. Raises _CannotVectorise."""
    lines: list[str] = []
    # What a turn hands on to the next, or has not made yet, must not be read.
    sums = {name for one in block.body if (name := _sum_target(one))}
    plain = {name for one in block.body if (name := _plain_target(one))}
    if sums & plain:
        raise _CannotVectorise  # a sum that each turn begins anew
    known = _Known(sums | plain, {over.turn})
    for statement in block.body:
        if not isinstance(statement, cst.SimpleStatementLine) or len(statement.body) != 1:
            raise _CannotVectorise
        match statement.body[0]:
            case cst.AugAssign(target=cst.Name(value=name), operator=cst.AddAssign(), value=value):
                if not known.varying.intersection(_names(value)):
                    raise _CannotVectorise  # the same in each turn: not an array to sum
                lines.append(f"{name} += np.sum({_whole(value, over, known)}, axis=0)")
            case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))], value=value):
                text = _whole(value, over, known)
                known.barred.discard(name)
                is_varying = bool(known.varying.intersection(_names(value)))
                (known.varying.add if is_varying else known.varying.discard)(name)
                # A view would change with its array, which an element did not.
                lines.append(f"{name} = {text}{'.copy()' if is_varying and isinstance(value, cst.Subscript) else ''}")
            case cst.Assign(targets=[cst.AssignTarget(target=cst.Subscript() as place)], value=value) if over.count:
                name = _element(place, over)
                known.barred.add(name)
                lines.append(f"{name}[:{over.count}] = {_whole(value, over, known)}")
            case _:
                raise _CannotVectorise
    return lines


def _element(place: cst.Subscript, over: _Over) -> str:
    """The array of which exactly this turn's element is meant. Raises _CannotVectorise."""
    name = code(place.value)
    if [code(one) for one in place.slice] != [over.turn] or not isinstance(place.value, cst.Name):
        raise _CannotVectorise
    return name


def _plain_targets(loop: cst.For) -> set[str]:
    return {name for one in loop.body.body if (name := _plain_target(one))}


def _plain_target(statement: cst.CSTNode) -> str:
    match statement:
        case cst.SimpleStatementLine(body=[cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))])]):
            return name
    return ""


def _sum_target(statement: cst.CSTNode) -> str:
    match statement:
        case cst.SimpleStatementLine(body=[cst.AugAssign(target=cst.Name(value=name))]):
            return name
    return ""


def _whole(node: cst.BaseExpression, over: _Over, known: _Known) -> str:
    """An expression of one element as one of all elements. Raises _CannotVectorise."""

    def of(inner: cst.BaseExpression) -> str:
        return _whole(inner, over, known)

    match node:
        case cst.Name(value=name):
            if name in known.barred or (over.frame and name == over.turn):
                raise _CannotVectorise
            return f"np.arange({over.count})" if name == over.turn else name
        case cst.Integer() | cst.Float():
            return code(node)
        case cst.UnaryOperation(operator=cst.Minus(), expression=inner):
            return f"(-{of(inner)})"
        case cst.BinaryOperation(left=left, operator=operator, right=right):
            return f"({of(left)}{code(operator)}{of(right)})"
        case cst.Call(func=func, args=args) if code(func) in FUNCTIONS:
            is_plain = all(one.keyword is None and not one.star for one in args)
            if not is_plain or len(args) != (2 if code(func) in OF_TWO else 1):
                raise _CannotVectorise
            return f"{FUNCTIONS[code(func)]}({', '.join(of(one.value) for one in args)})"
        case cst.Subscript():
            return _elements(node, over, known)
        case cst.Attribute() if not (known.barred | known.varying).intersection(_names(node)):
            return code(node)
    raise _CannotVectorise


def _elements(node: cst.Subscript, over: _Over, known: _Known) -> str:
    """All elements of which a subscript names one. Raises _CannotVectorise."""
    name, places = code(node.value), [code(one) for one in node.slice]
    if known.barred.intersection(_names(node)):
        raise _CannotVectorise
    if not known.varying.intersection(_names(node)):
        return code(node)
    if over.frame and name == over.turn and len(places) == 1 and places[0][0] in "'\"":
        return f"{over.frame}[{places[0]}].to_numpy()"
    if isinstance(node.value, cst.Name) and name not in known.varying and len(places) == 1:
        if places == [over.turn] and not over.frame:
            return f"np.asarray({name})[:{over.count}]"
        if places[0] in known.varying - {over.turn}:
            return code(node)
    raise _CannotVectorise


def _names(node: cst.CSTNode) -> list[str]:
    found = [node] if isinstance(node, cst.Name) else m.findall(node, m.Name())
    return [cst.ensure_type(one, cst.Name).value for one in found]
