"""Patches that change loops."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst
from libcst import matchers as m

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
LSTM = (
    "_outs, _h, _c = torch.lstm({x}[:, :{count}], ({h}.unsqueeze(0), {c}.unsqueeze(0)), "
    "[{cell}.weight_ih, {cell}.weight_hh, {cell}.bias_ih, {cell}.bias_hh], True, 1, 0.0, False, False, True)"
)


def load_once(module: cst.Module) -> cst.Module:
    """Reading the same file or data set in each turn of a loop goes before the loop."""
    return module.visit(_LoadOnce())


def fused_lstm(module: cst.Module) -> cst.Module:
    """A loop of LSTMCell over time becomes one call on the same parameters."""
    if "LSTMCell" not in module.code:
        return module
    return module.visit(_FusedLstm())


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


class _FusedLstm(cst.CSTTransformer):
    def leave_For(
        self, original_node: cst.For, updated_node: cst.For
    ) -> cst.For | cst.FlattenSentinel[cst.BaseStatement]:
        found = _cell_loop(updated_node)
        return updated_node if found is None else cst.FlattenSentinel(found)


def _cell_loop(loop: cst.For) -> list[cst.BaseStatement] | None:
    """The statements that do the work of `for t in range(n): h, c = cell(x[:, t], (h, c)); outs.append(h)`."""
    code = cst.Module([]).code_for_node
    if not isinstance(loop.target, cst.Name) or not isinstance(loop.body, cst.IndentedBlock):
        return None
    if not m.matches(loop.iter, m.Call(func=m.Name("range"), args=[m.Arg()])):
        return None
    count = code(cst.ensure_type(loop.iter, cst.Call).args[0].value)
    step, rest = loop.body.body[0], loop.body.body[1:]
    call = m.Call(args=[m.Arg(value=m.Subscript()), m.Arg(value=m.Tuple(elements=[m.Element(), m.Element()]))])
    target = m.AssignTarget(target=m.Tuple(elements=[m.Element(), m.Element()]))
    if not m.matches(step, m.SimpleStatementLine(body=[m.Assign(targets=[target], value=call)])):
        return None
    assign = cst.ensure_type(cst.ensure_type(step, cst.SimpleStatementLine).body[0], cst.Assign)
    cell = cst.ensure_type(assign.value, cst.Call)
    states = [code(one.value) for one in cst.ensure_type(assign.targets[0].target, cst.Tuple).elements]
    given = [code(one.value) for one in cst.ensure_type(cell.args[1].value, cst.Tuple).elements]
    over = cst.ensure_type(cell.args[0].value, cst.Subscript)
    places = [code(one).strip(", ") for one in over.slice]
    if states != given or places[:2] != [":", loop.target.value] or set(places[2:]) - {":"}:
        return None
    lines = [LSTM.format(x=code(over.value), count=count, h=states[0], c=states[1], cell=code(cell.func)).strip()]
    if rest:
        append = m.SimpleStatementLine(
            body=[m.Expr(value=m.Call(func=m.Attribute(attr=m.Name("append")), args=[m.Arg()]))]
        )
        if len(rest) != 1 or not m.matches(rest[0], append):
            return None
        call_node = cst.ensure_type(
            cst.ensure_type(cst.ensure_type(rest[0], cst.SimpleStatementLine).body[0], cst.Expr).value, cst.Call
        )
        if code(call_node.args[0].value) != states[0]:
            return None
        lines.append(f"{code(cst.ensure_type(call_node.func, cst.Attribute).value)}.extend(_outs.unbind(1))")
    lines.append(f"{states[0]}, {states[1]} = _h[0], _c[0]")
    return [cst.parse_statement(one) for one in lines]


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
