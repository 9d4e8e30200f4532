"""The closed subset of Python that policy programs are written in, read on the syntax tree.

    def score(gpus, predicted_s, waited_s):
        if waited_s > 3600:
            return -waited_s
        return gpus * predicted_s

A program is one function of floats, its inputs and its name fixed by a `Signature`. It may use numbers, local names,
the arithmetic, comparisons, `and or not`, `a if c else b`, `if`, `for i in range(N)` with a constant N, the functions
below, windows (`rate[3]`: an input that is a series, the newest first) and state slots (`state[0]`, zero at the
start, kept from call to call). Everything is a 64-bit float: numbers are made floats before anything runs, since
whole numbers squared in a loop grow until the process dies. Indices are cut to their range, a local that was never
set is 0, what is kept in `state` is finite, and so is the answer (`Signature.when_nan` for NaN). So every program
that is read ends, stays in its memory, and means the same everywhere. Nothing of the text is ever run here.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from trimtab.adapters.programs.reader import Reader, name_of
from trimtab.adapters.programs.signature import ProgramFault, Signature

MOST_BYTES = 8192
MOST_NODES = 800
MOST_DEPTH = 40
MOST_WORK = 50_000  # operations of one call, at worst
_BRACKETS = re.compile(r"[\[({]|[\])}]")


@dataclass(frozen=True)
class Program:
    """A program that was read: its normal form (a function of `x` and `state`), its operations at worst, its lines."""

    tree: ast.FunctionDef
    work: int
    lines: int


def fault(source: str, signature: Signature) -> str:
    """Why a text is no program of this signature; empty when it is one."""
    try:
        read_program(source, signature)
    except ProgramFault as found:
        return str(found)
    return ""


def read_program(source: str, signature: Signature) -> Program:
    """Read a text as a program. Raises ProgramFault with one clear reason."""
    function = _function(source, signature)
    reader = Reader(signature, function)
    body = reader.block(function.body)
    if not _returns(function.body):
        raise ProgramFault("not every way through the program ends in `return`")
    if reader.work > MOST_WORK:
        raise ProgramFault(
            f"one call may take {reader.work:,} operations, allowed are {MOST_WORK:,}: shorten the loops"
        )
    return Program(_normal_form(signature, reader.locals, body), reader.work, len(source.strip().splitlines()))


def _function(source: str, signature: Signature) -> ast.FunctionDef:
    tree = _parsed(source)
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef):
        raise ProgramFault(f"the text must be one function, `{signature.head}`, and nothing else")
    function = tree.body[0]
    _bound_size(function)
    arguments = function.args
    names = [one.arg for one in arguments.args]
    has_extras = (
        arguments.posonlyargs or arguments.kwonlyargs or arguments.vararg or arguments.kwarg or arguments.defaults
    )
    if function.name != signature.name or names != [one.name for one in signature.inputs] or has_extras:
        raise ProgramFault(f"the function must be `{signature.head}`")
    if function.decorator_list or getattr(function, "type_params", None):
        raise ProgramFault("decorators and type parameters are not part of the language")
    return function


def _parsed(source: str) -> ast.Module:
    size = len(source.encode("utf-8", "surrogatepass"))
    if size > MOST_BYTES:
        raise ProgramFault(f"the text has {size:,} bytes, allowed are {MOST_BYTES:,}")
    depth = deepest = 0
    for found in _BRACKETS.finditer(source):  # before the parser: it recurses
        depth += 1 if found.group() in "([{" else -1
        deepest = max(deepest, depth)
    if deepest > MOST_DEPTH:
        raise ProgramFault(f"brackets are nested {deepest} deep, allowed are {MOST_DEPTH}")
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise ProgramFault(f"line {error.lineno}: no Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ProgramFault(f"no Python: {str(error) or type(error).__name__}") from None


def _bound_size(function: ast.FunctionDef) -> None:
    nodes = 0
    level: list[ast.AST] = [function]
    for _ in range(MOST_DEPTH):
        nodes += len(level)
        level = [child for one in level for child in ast.iter_child_nodes(one)]
        if not level:
            break
    if level:
        raise ProgramFault(f"expressions or blocks are nested more than {MOST_DEPTH} deep")
    if nodes > MOST_NODES:
        raise ProgramFault(f"the program has {nodes:,} parts, allowed are {MOST_NODES:,}")


def _returns(block: list[ast.stmt]) -> bool:
    last = block[-1]
    if isinstance(last, ast.If):
        return bool(last.orelse) and _returns(last.body) and _returns(last.orelse)
    return isinstance(last, ast.Return)


def _normal_form(signature: Signature, names: list[str], body: list[ast.stmt]) -> ast.FunctionDef:
    """`def program(x, state):` that takes the inputs out of x, sets the locals to 0, then runs the body."""
    starts = signature.starts()
    first: list[ast.stmt] = [
        ast.Assign(
            [ast.Name(one.name, ast.Store())], ast.Subscript(name_of("x"), ast.Constant(starts[one.name]), ast.Load())
        )
        for one in signature.inputs
        if not one.window
    ]
    first += [ast.Assign([ast.Name(name, ast.Store())], ast.Constant(0.0)) for name in names]
    arguments = ast.arguments([], [ast.arg("x"), ast.arg("state")], None, [], [], None, [])
    made = ast.FunctionDef("program", arguments, [*first, *body], [], None)
    return ast.fix_missing_locations(made)
