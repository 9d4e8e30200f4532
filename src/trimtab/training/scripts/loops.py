"""Patches that change loops."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst
from libcst import matchers as m

from trimtab.training.scripts.calls import code

LOADERS = (
    "read_csv",
    "read_parquet",
    "read_json",
    "read_feather",
    "read_excel",
    "load",
    "loadtxt",
    "genfromtxt",
    "open_dataset",
)
WEIGHTS = "[{cell}.weight_ih, {cell}.weight_hh, {cell}.bias_ih, {cell}.bias_hh], True, 1, 0.0, False, False, True"
LSTM = f"_outs, _h, _c = torch.lstm({{x}}[:, :{{count}}], ({{h}}.unsqueeze(0), {{c}}.unsqueeze(0)), {WEIGHTS})"
ONE_STATE = f"_outs, _h = torch.{{kind}}({{x}}[:, :{{count}}], {{h}}.unsqueeze(0), {WEIGHTS})"
KINDS = {"LSTMCell": "lstm", "GRUCell": "gru", "RNNCell": "rnn_tanh"}


def load_once(module: cst.Module) -> cst.Module:
    """Reading the same file or data set in each turn of a loop goes before the loop."""
    return module.visit(_LoadOnce())


def fused_cells(module: cst.Module) -> cst.Module:
    """A loop of a recurrent cell over time becomes one call on the same parameters."""
    kinds = [kind for name, kind in KINDS.items() if name in module.code]
    return module.visit(_FusedCells(kinds[0])) if len(kinds) == 1 else module


class _LoadOnce(cst.CSTTransformer):
    def leave_For(
        self, original_node: cst.For, updated_node: cst.For
    ) -> cst.For | cst.FlattenSentinel[cst.BaseStatement]:
        body = updated_node.body
        if not isinstance(body, cst.IndentedBlock):
            return updated_node
        changing = _assigned(updated_node)
        hoisted = [one for one in body.body if _is_load(one, changing)]
        if not hoisted or len(hoisted) == len(body.body):
            return updated_node
        rest = [one for one in body.body if one not in hoisted]
        loop = updated_node.with_changes(body=body.with_changes(body=rest))
        return cst.FlattenSentinel([*hoisted, loop])


def _is_load(statement: cst.BaseStatement, changing: Sequence[str]) -> bool:
    """name = loader(arguments that stay the same), the name set once only."""
    line = m.SimpleStatementLine(body=[m.Assign(targets=[m.AtLeastN(n=1)], value=m.Call())])
    if not m.matches(statement, line):
        return False
    assign = cst.ensure_type(cst.ensure_type(statement, cst.SimpleStatementLine).body[0], cst.Assign)
    call = cst.ensure_type(assign.value, cst.Call)
    name = (
        call.func.value if isinstance(call.func, cst.Name) else getattr(getattr(call.func, "attr", None), "value", "")
    )
    if not (name in LOADERS or name.startswith(("load_", "fetch_"))):
        return False
    targets = _names(assign.targets[0].target)
    once = all(list(changing).count(one) == 1 for one in targets)
    used = {one for argument in call.args for one in _names(argument.value)} | set(_names(call.func))
    return bool(targets) and once and not used & set(changing)


class _FusedCells(cst.CSTTransformer):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def leave_For(
        self, original_node: cst.For, updated_node: cst.For
    ) -> cst.For | cst.FlattenSentinel[cst.BaseStatement]:
        found = _one_call(updated_node, self._kind)
        return updated_node if found is None else cst.FlattenSentinel(found)


def _one_call(loop: cst.For, kind: str) -> list[cst.BaseStatement] | None:
    """The statements that do the work of `for t in range(n): h, c = cell(x[:, t], (h, c)); outs.append(h)`."""
    if not isinstance(loop.target, cst.Name) or not isinstance(loop.body, cst.IndentedBlock):
        return None
    if not m.matches(loop.iter, m.Call(func=m.Name("range"), args=[m.Arg()])):
        return None
    count = code(cst.ensure_type(loop.iter, cst.Call).args[0].value)
    step, rest = loop.body.body[0], loop.body.body[1:]
    call = m.Call(args=[m.Arg(value=m.Subscript()), m.Arg()])
    if not m.matches(step, m.SimpleStatementLine(body=[m.Assign(targets=[m.AssignTarget()], value=call)])):
        return None
    assign = cst.ensure_type(cst.ensure_type(step, cst.SimpleStatementLine).body[0], cst.Assign)
    cell = cst.ensure_type(assign.value, cst.Call)
    states, given = _states(assign.targets[0].target), _states(cell.args[1].value)
    over = cst.ensure_type(cell.args[0].value, cst.Subscript)
    places = [code(one).strip(", ") for one in over.slice]
    is_over_time = places[:2] == [":", loop.target.value] and not set(places[2:]) - {":"}
    if states != given or len(states) != (2 if kind == "lstm" else 1) or not is_over_time:
        return None
    kept = _appended_to(rest, states[0])
    if kept is None:
        return None
    form = LSTM if kind == "lstm" else ONE_STATE
    facts = {"x": code(over.value), "count": count, "cell": code(cell.func), "kind": kind}
    lines = [form.format(**facts, **dict(zip("hc", states, strict=False))), *kept]
    lines.append(f"{', '.join(states)} = {', '.join(f'_{one}[0]' for one in 'hc'[: len(states)])}")
    return [cst.parse_statement(one) for one in lines]


def _states(node: cst.BaseExpression) -> list[str]:
    """A state, or a tuple of them, as written."""
    return [code(one.value) for one in node.elements] if isinstance(node, cst.Tuple) else [code(node)]


def _appended_to(rest: Sequence[cst.BaseStatement], state: str) -> list[str] | None:
    """What keeps the states of all steps where the loop kept them; None where it does anything else with them."""
    if not rest:
        return []
    append = m.SimpleStatementLine(body=[m.Expr(m.Call(func=m.Attribute(attr=m.Name("append")), args=[m.Arg()]))])
    if len(rest) != 1 or not m.matches(rest[0], append):
        return None
    expression = cst.ensure_type(cst.ensure_type(rest[0], cst.SimpleStatementLine).body[0], cst.Expr)
    call = cst.ensure_type(expression.value, cst.Call)
    if code(call.args[0].value) != state:
        return None
    return [f"{code(cst.ensure_type(call.func, cst.Attribute).value)}.extend(_outs.unbind(1))"]


def _assigned(node: cst.CSTNode) -> list[str]:
    """Names that are set anywhere in a loop, once for each time."""
    names: list[str] = []
    for one in m.findall(node, m.OneOf(m.AssignTarget(), m.AugAssign(), m.AnnAssign(), m.For(), m.NamedExpr())):
        names += _names(one.target)  # type: ignore[attr-defined]
    return names


def _names(node: cst.CSTNode) -> list[str]:
    if isinstance(node, cst.Name):
        return [node.value]
    return [cst.ensure_type(one, cst.Name).value for one in m.findall(node, m.Name())]
