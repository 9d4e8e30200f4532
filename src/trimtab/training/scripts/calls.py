"""Calls in a syntax tree: found by name, changed by keyword."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import libcst as cst
from libcst import matchers as m


class _Calls(cst.CSTTransformer):
    def __init__(self, change: Callable[[cst.Call], cst.BaseExpression]) -> None:
        super().__init__()
        self._change = change

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        return self._change(updated_node)


def changed(module: cst.Module, change: Callable[[cst.Call], cst.BaseExpression]) -> cst.Module:
    """The module with this done to each call, the inner ones first."""
    return module.visit(_Calls(change))


def named(*names: str) -> m.OneOf[m.BaseExpressionMatchType]:
    """A name, alone or as the end of a dotted one."""
    return m.OneOf(*(m.Name(one) for one in names), *(m.Attribute(attr=m.Name(one)) for one in names))


def name_of(call: cst.Call) -> str:
    """The last word of what is called."""
    match call.func:
        case cst.Name(value=name) | cst.Attribute(attr=cst.Name(value=name)):
            return name
    return ""


def keyword(call: cst.Call, name: str) -> cst.BaseExpression | None:
    """What a keyword is given."""
    return next((one.value for one in call.args if one.keyword is not None and one.keyword.value == name), None)


def with_keyword(call: cst.Call, name: str, value: str, *, only_if_there: bool = False) -> cst.Call:
    """With this value for a keyword, added as the last where it is not there."""
    expression = cst.parse_expression(value)
    if keyword(call, name) is not None:
        args = [
            one.with_changes(value=expression) if one.keyword is not None and one.keyword.value == name else one
            for one in call.args
        ]
        return call.with_changes(args=args)
    if only_if_there:
        return call
    tight = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
    return call.with_changes(args=commas([*call.args, cst.Arg(expression, cst.Name(name), equal=tight)]))


def without_keywords(call: cst.Call, *names: str) -> cst.Call:
    """Without these keywords."""
    kept = [one for one in call.args if one.keyword is None or one.keyword.value not in names]
    return call.with_changes(args=commas(kept))


def renamed(call: cst.Call, names: Mapping[str, str]) -> cst.Call:
    """With keywords called otherwise."""
    return call.with_changes(
        args=[
            one.with_changes(keyword=cst.Name(names[one.keyword.value]))
            if one.keyword is not None and one.keyword.value in names
            else one
            for one in call.args
        ]
    )


def names_in(node: cst.CSTNode) -> set[str]:
    """The names in an expression; an attribute's is one too."""
    return {cst.ensure_type(one, cst.Name).value for one in m.findall(node, m.Name())}


def calls_in(module: cst.Module) -> list[cst.Call]:
    """All calls."""
    return [cst.ensure_type(one, cst.Call) for one in m.findall(module, m.Call())]


def assigns_in(module: cst.Module) -> list[cst.Assign]:
    """All assignments."""
    return [cst.ensure_type(one, cst.Assign) for one in m.findall(module, m.Assign())]


def imported(module: cst.Module) -> dict[str, str]:
    """The library that each imported name comes from."""
    found = {}
    for one in m.findall(module, m.Import() | m.ImportFrom()):
        assert isinstance(one, cst.Import | cst.ImportFrom)
        source = code(one.module) if isinstance(one, cst.ImportFrom) and one.module is not None else ""
        for alias in () if isinstance(one.names, cst.ImportStar) else one.names:
            name = alias.evaluated_alias or alias.evaluated_name.split(".")[0]
            found[name] = (source or alias.evaluated_name).split(".")[0]
    return found


def commas(args: list[cst.Arg]) -> list[cst.Arg]:
    """A comma behind each argument but the last, where one is missing."""
    comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    made = [one.with_changes(comma=comma) if isinstance(one.comma, cst.MaybeSentinel) else one for one in args[:-1]]
    return [*made, args[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)] if args else []


def code(node: cst.CSTNode) -> str:
    """As it is written."""
    return cst.Module([]).code_for_node(node)


def after_imports(module: cst.Module, text: str) -> cst.Module:
    """The module with statements behind its last import."""
    kind = m.SimpleStatementLine(body=[m.OneOf(m.Import(), m.ImportFrom())])
    last = max((at for at, one in enumerate(module.body) if m.matches(one, kind)), default=-1)
    body = [*module.body[: last + 1], *cst.parse_module(text).body, *module.body[last + 1 :]]
    return module.with_changes(body=body)
