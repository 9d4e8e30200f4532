"""Walks the syntax tree of a program once: refuses what is not in the language, makes all else explicit floats."""

from __future__ import annotations

import ast

from trimtab.adapters.programs.signature import LARGEST, ProgramFault, Signature

MOST_TURNS = 1000  # of one loop
FUNCTIONS = {
    "abs": (1, 1), "exp": (1, 1), "expm1": (1, 1), "floor": (1, 1), "ceil": (1, 1), "log": (1, 1), "log1p": (1, 1),
    "sqrt": (1, 1), "tanh": (1, 1), "pow": (2, 2), "min": (2, 8), "max": (2, 8),
}  # fmt: skip
OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)


class Reader:
    """Reads one function. `work`: its operations at worst; `locals`: the names that it sets."""

    def __init__(self, signature: Signature, function: ast.FunctionDef) -> None:
        self.signature = signature
        self.windows = {one.name: one.window for one in signature.inputs if one.window}
        if signature.state:
            self.windows["state"] = signature.state
        self.inputs = {one.name for one in signature.inputs if not one.window}
        self.locals = sorted(_assigned(function) - self.inputs)
        self.work = 0
        self._turns = 1
        self._loops = 0
        for name in self.locals:
            self._name_fault(name, function)

    def block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """A block in normal form."""
        made = [new for one in statements for new in self._statement(one)]
        return made or [ast.Pass()]

    def _statement(self, one: ast.stmt) -> list[ast.stmt]:
        self.work += self._turns
        match one:
            case ast.Expr(value=ast.Constant(value=str())) | ast.Pass():
                return []
            case ast.Return(value=ast.expr() as value):
                return [ast.Return(call("answer_", self._number(value)))]
            case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
                return [self._assign(target, self._number(value))]
            case ast.AugAssign(target=target, op=op, value=value):
                read = name_of(target.id) if isinstance(target, ast.Name) else target
                binary = ast.copy_location(ast.BinOp(read, op, value), one)
                return [self._assign(target, self._number(binary))]
            case ast.If(test=test, body=body, orelse=orelse):
                return [ast.If(self._truth(test), self.block(body), self.block(orelse) if orelse else [])]
            case ast.For(target=ast.Name(id=name), iter=turns, body=body, orelse=[]):
                return self._loop(name, self._count(turns), body)
            case ast.Break() | ast.Continue() if self._loops:
                return [one]
        raise self._refused(one)

    def _loop(self, name: str, count: int, body: list[ast.stmt]) -> list[ast.stmt]:
        if self._loops == 2:
            raise ProgramFault("loops are nested more than two deep")
        outer, self._turns = self._turns, self._turns * max(1, count)
        self._loops += 1
        inside = self.block(body)
        self._turns, self._loops = outer, self._loops - 1
        turn = f"turn{self._loops}_"
        first: ast.stmt = ast.Assign([ast.Name(name, ast.Store())], call("float", name_of(turn)))
        return [ast.For(ast.Name(turn, ast.Store()), call("range", ast.Constant(count)), [first, *inside], [])]

    def _count(self, turns: ast.expr) -> int:
        match turns:
            case ast.Call(func=ast.Name(id="range"), args=[ast.Constant(value=int() as count)], keywords=[]) if (
                not isinstance(count, bool) and 0 <= count <= MOST_TURNS
            ):
                return count
        raise ProgramFault(f"line {turns.lineno}: loops are `for i in range(N)`, N a number of at most {MOST_TURNS}")

    def _assign(self, target: ast.expr, value: ast.expr) -> ast.stmt:
        if isinstance(target, ast.Name) and target.id in (*self.locals, *self.inputs):
            return ast.Assign([ast.Name(target.id, ast.Store())], value)
        if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name) and target.value.id == "state":
            place = self._element(target)
            return ast.Assign([ast.Subscript(place.value, place.slice, ast.Store())], call("kept_", value))
        raise ProgramFault(f"line {target.lineno}: only local names and state slots can be set")

    def _number(self, one: ast.expr) -> ast.expr:
        """An expression as a float."""
        self.work += self._turns
        match one:
            case ast.Constant(value=bool() as truth):
                return ast.Constant(float(truth))
            case ast.Constant(value=int() | float() as value):
                return ast.Constant(_bounded(value, one))
            case ast.Name(id=name) if name in self.inputs or name in self.locals:
                return name_of(name)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=value):
                return ast.UnaryOp(sign, self._number(value))
            case ast.BinOp(left=left, op=op, right=right) if isinstance(op, OPERATORS):
                return self._binary(left, op, right)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return ast.IfExp(self._truth(test), self._number(body), self._number(orelse))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS or name == "float":
                return self._called(name, arguments, one)
            case ast.Subscript():
                return self._element(one)
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                return ast.IfExp(self._truth(one), ast.Constant(1.0), ast.Constant(0.0))
        raise self._refused(one)

    def _binary(self, left: ast.expr, op: ast.operator, right: ast.expr) -> ast.expr:
        first, second = self._number(left), self._number(right)
        names = {ast.Pow: "pow", ast.Mod: "mod_", ast.FloorDiv: "whole_"}
        return call(names[type(op)], first, second) if type(op) in names else ast.BinOp(first, op, second)

    def _called(self, name: str, arguments: list[ast.expr], one: ast.Call) -> ast.expr:
        least, most = FUNCTIONS.get(name, (1, 1))
        if not least <= len(arguments) <= most or any(isinstance(value, ast.Starred) for value in arguments):
            wanted = str(least) if least == most else f"{least} to {most}"
            raise ProgramFault(f"line {one.lineno}: {name} takes {wanted} numbers")
        values = [self._number(value) for value in arguments]
        if name == "float":
            return values[0]
        if name not in ("min", "max"):
            return call(name, *values)
        total = values[0]
        for value in values[1:]:
            total = call(f"{name}_", total, value)
        return total

    def _element(self, one: ast.Subscript) -> ast.Subscript:
        if not isinstance(one.value, ast.Name) or one.value.id not in self.windows:
            known = ", ".join(f"{name}[0] … {name}[{size - 1}]" for name, size in self.windows.items())
            raise ProgramFault(f"line {one.lineno}: only these can be indexed: {known or 'none'}")
        name, size = one.value.id, self.windows[one.value.id]
        start = 0 if name == "state" else self.signature.starts()[name]
        place = call("place_", self._number(one.slice), ast.Constant(start), ast.Constant(size))
        return ast.Subscript(name_of("state" if name == "state" else "x"), place, ast.Load())

    def _truth(self, one: ast.expr) -> ast.expr:
        """An expression as a truth value."""
        self.work += self._turns
        match one:
            case ast.Compare(left=left, ops=ops, comparators=others) if all(isinstance(op, COMPARISONS) for op in ops):
                return ast.Compare(self._number(left), ops, [self._number(other) for other in others])
            case ast.BoolOp(op=op, values=values):
                return ast.BoolOp(op, [self._truth(value) for value in values])
            case ast.UnaryOp(op=ast.Not(), operand=value):
                return ast.UnaryOp(ast.Not(), self._truth(value))
            case ast.Compare():
                raise self._refused(one)
        return ast.Compare(self._number(one), [ast.NotEq()], [ast.Constant(0.0)])

    def _name_fault(self, name: str, function: ast.FunctionDef) -> None:
        if name in FUNCTIONS or name in self.windows or name in ("x", "state", "range", "float") or name.endswith("_"):
            raise ProgramFault(f"the name {name!r} is taken: choose another for the local")
        if name.startswith("_") or not name.isascii():
            raise ProgramFault(f"local names are plain ASCII words without a leading underscore, not {name!r}")

    def _refused(self, one: ast.AST) -> ProgramFault:
        line = f"line {getattr(one, 'lineno', '?')}: "
        if isinstance(one, ast.Name):
            whole = " (it is a series: index it)" if one.id in self.windows else ""
            return ProgramFault(f"{line}the name {one.id!r} is no input, no local and no number{whole}")
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name):
            if one.func.id in FUNCTIONS:
                return ProgramFault(f"{line}{one.func.id} takes its numbers by position")
            return ProgramFault(f"{line}{one.func.id!r} cannot be called; allowed: {', '.join(FUNCTIONS)}")
        return ProgramFault(f"{line}{_KINDS.get(type(one), type(one).__name__)} is not part of the language")


_KINDS: dict[type[ast.AST], str] = {
    ast.While: "`while`", ast.Expr: "an expression alone", ast.Slice: "a slice",
    ast.Import: "`import`", ast.ImportFrom: "`import`", ast.Attribute: "an attribute",
    ast.Call: "this call", ast.Lambda: "`lambda`", ast.FunctionDef: "a function within the function",
    ast.ClassDef: "a class", ast.Try: "`try`", ast.With: "`with`", ast.Raise: "`raise`", ast.Global: "`global`",
    ast.Nonlocal: "`nonlocal`", ast.JoinedStr: "a format string", ast.ListComp: "a comprehension", ast.List: "a list",
    ast.Tuple: "a tuple", ast.Dict: "a dict", ast.Set: "a set", ast.Yield: "`yield`", ast.Await: "`await`",
    ast.NamedExpr: "`:=`", ast.Delete: "`del`", ast.Assert: "`assert`", ast.Match: "`match`",
    ast.Constant: "this constant", ast.GeneratorExp: "a generator", ast.DictComp: "a comprehension",
    ast.SetComp: "a comprehension", ast.BinOp: "this operator", ast.Compare: "this comparison",
    ast.UnaryOp: "this operator", ast.Starred: "`*`", ast.Return: "`return` without a number",
    ast.Break: "`break` outside a loop", ast.Continue: "`continue` outside a loop",
    ast.For: "a loop that is not `for name in range(N):`", ast.Assign: "an assignment to several names",
}  # fmt: skip


def _assigned(function: ast.FunctionDef) -> set[str]:
    return {one.id for one in ast.walk(function) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}


def _bounded(value: float, one: ast.Constant) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not abs(number) <= LARGEST:
        raise ProgramFault(f"line {one.lineno}: numbers lie within ±{LARGEST:g}")
    return number


def call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(name_of(name), list(arguments), [])


def name_of(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())
