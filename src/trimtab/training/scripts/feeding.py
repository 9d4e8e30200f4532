"""Patches of what goes on around the steps: how rows are fed, what is waited for, when to stop."""

from __future__ import annotations

import re

import libcst as cst
from libcst import matchers as m

from trimtab.training.scripts.calls import (
    after_imports,
    assigns_in,
    calls_in,
    changed,
    code,
    imported,
    keyword,
    name_of,
    named,
    names_in,
    with_keyword,
    without_keywords,
)

ROWS = """
class _RowsAtOnce({base}):
    def __getitems__(self, places):
        return [one[places] for one in self.tensors]

"""
DEBUGGING = ("gc.collect", "torch.cuda.empty_cache", "torch.cuda.synchronize")
PATIENCE = 30  # rounds without a better score
STOPS = {
    "GradientBoostingClassifier": ("n_iter_no_change", "10"), "GradientBoostingRegressor": ("n_iter_no_change", "10"),
    "MLPClassifier": ("early_stopping", "True"), "MLPRegressor": ("early_stopping", "True"),
    "SGDClassifier": ("early_stopping", "True"), "SGDRegressor": ("early_stopping", "True"),
    "HistGradientBoostingClassifier": ("early_stopping", "True"),
    "HistGradientBoostingRegressor": ("early_stopping", "True"),
}  # fmt: skip
SCORING = re.compile("score|predict|evaluat|error|loss|accuracy|auc|metric|mse|mae|decision_function", re.IGNORECASE)


def rows_at_once(module: cst.Module) -> cst.Module:
    """A TensorDataset gives a whole batch in one look-up, and the loader has nothing to collate."""
    sets = m.findall(module, m.Call(func=named("TensorDataset")))
    if not sets:
        return module
    base = code(cst.ensure_type(sets[0], cst.Call).func)
    held = {code(one.targets[0].target) for one in assigns_in(module) if _is_rows(one.value)}

    def change(call: cst.Call) -> cst.Call:
        if _is_rows(call):
            return call.with_changes(func=cst.Name("_RowsAtOnce"))
        given = call.args[0].value if call.args else None
        is_fed = given is not None and (m.matches(given, m.Call(func=m.Name("_RowsAtOnce"))) or code(given) in held)
        if name_of(call) != "DataLoader" or not is_fed or keyword(call, "collate_fn") is not None:
            return call
        return with_keyword(call, "collate_fn", "lambda rows: rows")

    made = changed(module, change)
    return after_imports(made, ROWS.format(base=base)) if "collate_fn=lambda rows: rows" in made.code else module


def no_debugging(module: cst.Module) -> cst.Module:
    """Collecting garbage, emptying caches, waiting for a GPU in each step; anomaly detection; flushed prints."""

    def change(call: cst.Call) -> cst.Call:
        name = name_of(call)
        if name == "set_detect_anomaly" and call.args:
            return call.with_changes(args=[cst.Arg(cst.Name("False"))])
        return without_keywords(call, "flush") if name == "print" and keyword(call, "flush") is not None else call

    return changed(module.visit(_NoDebugging()), change)


def no_waiting_for_sums(module: cst.Module) -> cst.Module:
    """`total += loss.item()` waits for the step; the tensor itself can be summed."""
    if "torch" not in module.code:
        return module
    return module.visit(_TensorSums())


def early_stopping(module: cst.Module) -> cst.Module:
    """Boosting with a validation set, and estimators that can, stop when their score no longer improves.

    Not where the rows that would stop it are scored as well: the score would be the best of all rounds.
    """
    scored = _scored(module)
    is_leaking = any(_watched(call, module) & scored for call in calls_in(module))
    is_xgboost = "import xgboost" in module.code and "eval_set" in module.code
    stop = f"[__import__('lightgbm').early_stopping({PATIENCE}, verbose=False)]"

    def change(call: cst.Call) -> cst.Call:
        name = name_of(call)
        if name in STOPS:
            return call if keyword(call, STOPS[name][0]) is not None else with_keyword(call, *STOPS[name])
        if name in ("XGBClassifier", "XGBRegressor") and is_xgboost and not is_leaking:
            is_set = keyword(call, "early_stopping_rounds") is not None
            return call if is_set else with_keyword(call, "early_stopping_rounds", str(PATIENCE))
        watched = _watched(call, module)
        if (
            name in ("fit", "train")
            and watched
            and not watched & scored
            and not is_xgboost
            and keyword(call, "callbacks") is None
        ):
            return with_keyword(call, "callbacks", stop)
        return call

    return changed(module, change)


def _scored(module: cst.Module) -> set[str]:
    """The names that are given to what predicts or scores."""
    calls = [one for one in calls_in(module) if SCORING.search(name_of(one))]
    found = {name for call in calls for arg in call.args for name in names_in(arg.value)}
    return found - {"self", *imported(module)}


def _watched(call: cst.Call, module: cst.Module) -> set[str]:
    """The names of the rows that a fit looks at in each round, as tables and as the data sets made of them."""
    given = [rows for name in ("eval_set", "valid_sets") if (rows := keyword(call, name)) is not None]
    if not given:
        return set()
    found: set[str] = set().union(*map(names_in, given))
    assigns = [one for one in assigns_in(module) if isinstance(one.targets[0].target, cst.Name)]
    for one in [*assigns, *assigns]:  # a list of data sets may be named as well
        if names_in(one.targets[0].target) & found:
            found |= _held(one.value)
    return found


def _held(node: cst.BaseExpression) -> set[str]:
    """The names of the rows in a list or a data set; nothing of other expressions."""
    if isinstance(node, cst.List | cst.Tuple):
        return names_in(node)
    if not m.matches(node, m.Call(func=named("Dataset", "Pool"))):
        return set()
    args = cst.ensure_type(node, cst.Call).args
    return {
        name for arg in args if arg.keyword is None or arg.keyword.value != "reference" for name in names_in(arg.value)
    }


class _NoDebugging(cst.CSTTransformer):
    """Statements in loops that only wait or clean up."""

    def __init__(self) -> None:
        super().__init__()
        self._loops = 0

    def visit_For(self, node: cst.For) -> None:
        self._loops += 1

    def leave_For(self, original_node: cst.For, updated_node: cst.For) -> cst.For:
        self._loops -= 1
        return updated_node

    def leave_Expr(self, original_node: cst.Expr, updated_node: cst.Expr) -> cst.BaseSmallStatement:
        call = updated_node.value
        is_idle = isinstance(call, cst.Call) and not call.args and code(call.func) in DEBUGGING
        return cst.Pass() if is_idle and self._loops else updated_node


class _TensorSums(cst.CSTTransformer):
    def leave_AugAssign(self, original_node: cst.AugAssign, updated_node: cst.AugAssign) -> cst.BaseSmallStatement:
        item = m.Call(func=m.Attribute(value=m.Name(), attr=m.Name("item")), args=[])
        total = updated_node.target
        is_sum = isinstance(updated_node.operator, cst.AddAssign) and m.matches(updated_node.value, item)
        if not is_sum or m.findall(total, m.Call()):
            return updated_node
        call = cst.ensure_type(updated_node.value, cst.Call)
        function = cst.ensure_type(call.func, cst.Attribute).with_changes(attr=cst.Name("detach"))
        # `+=` on a tensor is in place: sums that were kept before would change with it.
        made = cst.BinaryOperation(total, cst.Add(), call.with_changes(func=function))
        return cst.Assign([cst.AssignTarget(total)], made, semicolon=updated_node.semicolon)


def _is_rows(node: cst.CSTNode) -> bool:
    return m.matches(node, m.Call(func=named("TensorDataset")))
