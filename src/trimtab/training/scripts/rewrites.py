"""Patches that change calls and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import libcst as cst
from libcst import matchers as m

LOADER_ONLY = ("prefetch_factor", "persistent_workers", "multiprocessing_context", "timeout", "worker_init_fn")
OPTIMIZERS = ("Adam", "AdamW", "SGD", "Adagrad")
SEARCHES = (
    "GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "cross_val_score", "cross_validate",
    "cross_val_predict", "learning_curve", "BaggingClassifier", "BaggingRegressor", "OneVsRestClassifier",
)  # fmt: skip
EVALUATION = ("eval", "valid", "test", "predict", "accuracy", "score", "infer")
ALIASES = {"float": "float", "int": "int", "bool": "bool", "object": "object", "str": "str", "complex": "complex"}
RENAMED: Mapping[str, Mapping[str, str]] = {
    "OneHotEncoder": {"sparse": "sparse_output"},
    "AdaBoostClassifier": {"base_estimator": "estimator"},
    "AdaBoostRegressor": {"base_estimator": "estimator"},
    "BaggingClassifier": {"base_estimator": "estimator"},
    "BaggingRegressor": {"base_estimator": "estimator"},
    "AgglomerativeClustering": {"affinity": "metric"},
}
THREADS = """
import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "{count}"
"""


def one_thread(module: cst.Module) -> cst.Module:
    """One thread for every numeric library, set before any is imported."""
    return _threads(module, "1")


def half_the_threads(module: cst.Module) -> cst.Module:
    """Half of the cores that the process may use."""
    return _threads(module, "' + str(max(1, len(os.sched_getaffinity(0)) // 2)) + '")


def one_job(module: cst.Module) -> cst.Module:
    """No worker processes: n_jobs=1 everywhere."""
    return _changed(module, lambda call: _with_keyword(call, "n_jobs", "1", only_if_there=True))


def jobs_outside_only(module: cst.Module) -> cst.Module:
    """Only searches and cross-validations keep their jobs; the estimators within them have one."""
    if not m.findall(module, m.Call(func=_named(*SEARCHES))):
        return module

    def change(call: cst.Call) -> cst.Call:
        is_outer = m.matches(call, m.Call(func=_named(*SEARCHES)))
        return call if is_outer else _with_keyword(call, "n_jobs", "1", only_if_there=True)

    return _changed(module, change)


def loader_in_process(module: cst.Module) -> cst.Module:
    """DataLoader without workers."""

    def change(call: cst.Call) -> cst.Call:
        if not m.matches(call, m.Call(func=_named("DataLoader"))) or not _has(call, "num_workers"):
            return call
        kept = [one for one in call.args if one.keyword is None or one.keyword.value not in LOADER_ONLY]
        return _with_keyword(call.with_changes(args=_commas(kept)), "num_workers", "0")

    return _changed(module, change)


def pipeline_memory(module: cst.Module) -> cst.Module:
    """Fitted steps of a pipeline are kept while a search tries the later ones."""
    if not m.findall(module, m.Call(func=_named(*SEARCHES))):
        return module
    kind = m.Call(func=_named("Pipeline", "make_pipeline"))

    def change(call: cst.Call) -> cst.Call:
        if not m.matches(call, kind) or _has(call, "memory"):
            return call
        return _with_keyword(call, "memory", "__import__('tempfile').mkdtemp()")

    return _changed(module, change)


def no_gradients(module: cst.Module) -> cst.Module:
    """@torch.no_grad() on functions that evaluate, and never go backward."""
    if "torch" not in module.code:
        return module
    return module.visit(_NoGradients())


def fused_optimizer(module: cst.Module) -> cst.Module:
    """torch's fused optimizers."""
    kind = m.Call(func=m.Attribute(value=m.OneOf(_named("optim"), m.Attribute(attr=m.Name("optim"))),
                                   attr=m.OneOf(*map(m.Name, OPTIMIZERS))))  # fmt: skip

    def change(call: cst.Call) -> cst.Call:
        is_set = _has(call, "fused") or _has(call, "foreach")
        return _with_keyword(call, "fused", "True") if m.matches(call, kind) and not is_set else call

    return _changed(module, change)


def repaired(module: cst.Module) -> cst.Module:
    """Names that newer libraries have changed: numpy's old aliases, scikit-learn's renamed arguments."""

    def change(call: cst.Call) -> cst.Call:
        for name, arguments in RENAMED.items():
            if m.matches(call, m.Call(func=_named(name))):
                return call.with_changes(args=[_renamed(one, arguments) for one in call.args])
        if m.matches(call, m.Call(func=m.Attribute(attr=m.Name("iteritems")))):
            attribute = cst.ensure_type(call.func, cst.Attribute)
            return call.with_changes(func=attribute.with_changes(attr=cst.Name("items")))
        return call

    return _changed(module, change).visit(_Aliases())


class _Aliases(cst.CSTTransformer):
    """np.float and its like were removed in NumPy 1.24: Python's own types are meant."""

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        is_numpy = m.matches(updated_node.value, m.OneOf(m.Name("np"), m.Name("numpy")))
        alias = ALIASES.get(updated_node.attr.value)
        return cst.Name(alias) if is_numpy and alias is not None else updated_node


class _NoGradients(cst.CSTTransformer):
    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        name = updated_node.name.value.lower()
        code = cst.Module([updated_node]).code
        is_evaluation = any(one in name for one in EVALUATION) and not name.startswith("train")
        if not is_evaluation or "backward(" in code or "no_grad" in code or "inference_mode" in code:
            return updated_node
        decorator = cst.Decorator(cst.parse_expression("torch.no_grad()"))
        return updated_node.with_changes(decorators=[*updated_node.decorators, decorator])


class _Calls(cst.CSTTransformer):
    def __init__(self, change: Callable[[cst.Call], cst.Call]) -> None:
        super().__init__()
        self._change = change

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        return self._change(updated_node)


def _changed(module: cst.Module, change: Callable[[cst.Call], cst.Call]) -> cst.Module:
    return module.visit(_Calls(change))


def _threads(module: cst.Module, count: str) -> cst.Module:
    """The environment set at the top, and every count that the script sets itself."""
    header = cst.parse_module(THREADS.replace('"{count}"', f"'{count}'")).body
    places = {"torch.set_num_threads": 0, "set_num_threads": 0}

    def change(call: cst.Call) -> cst.Call:
        for name in ("num_threads", "nthread", "thread_count"):
            call = _with_keyword(call, name, "1", only_if_there=True)
        name = cst.Module([]).code_for_node(call.func)
        return call.with_changes(args=[]) if name in places and not call.args else call

    module = _changed(module, change).visit(_SetThreads())
    start = next((at for at, one in enumerate(module.body) if not _is_preamble(one)), len(module.body))
    return module.with_changes(body=[*module.body[:start], *header, *module.body[start:]])


class _SetThreads(cst.CSTTransformer):
    """torch.set_num_threads(n) would undo it: it goes."""

    def leave_Expr(self, original_node: cst.Expr, updated_node: cst.Expr) -> cst.Expr | cst.RemovalSentinel:
        is_setting = m.matches(updated_node.value, m.Call(func=_named("set_num_threads")))
        return cst.Expr(cst.parse_expression("None")) if is_setting else updated_node


def _is_preamble(statement: cst.BaseStatement | cst.BaseSmallStatement) -> bool:
    """The docstring and imports from the future must stay first."""
    small = m.SimpleStatementLine(body=[m.OneOf(
        m.Expr(value=m.OneOf(m.SimpleString(), m.ConcatenatedString())), m.ImportFrom(module=m.Name("__future__"))
    )])  # fmt: skip
    return m.matches(statement, small)


def _named(*names: str) -> m.OneOf[m.BaseExpressionMatchType]:
    """A name, alone or as the end of a dotted one."""
    return m.OneOf(*(m.Name(one) for one in names), *(m.Attribute(attr=m.Name(one)) for one in names))


def _has(call: cst.Call, name: str) -> bool:
    return any(one.keyword is not None and one.keyword.value == name for one in call.args)


def _with_keyword(call: cst.Call, name: str, value: str, *, only_if_there: bool = False) -> cst.Call:
    if only_if_there and not _has(call, name):
        return call
    expression = cst.parse_expression(value)
    if _has(call, name):
        args = [
            one.with_changes(value=expression) if one.keyword is not None and one.keyword.value == name else one
            for one in call.args
        ]
        return call.with_changes(args=args)
    tight = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
    return call.with_changes(args=_commas([*call.args, cst.Arg(expression, cst.Name(name), equal=tight)]))


def _renamed(argument: cst.Arg, names: Mapping[str, str]) -> cst.Arg:
    if argument.keyword is None or argument.keyword.value not in names:
        return argument
    return argument.with_changes(keyword=cst.Name(names[argument.keyword.value]))


def _commas(args: list[cst.Arg]) -> list[cst.Arg]:
    """A comma behind each argument but the last, where one is missing."""
    comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    made = [one.with_changes(comma=comma) if isinstance(one.comma, cst.MaybeSentinel) else one for one in args[:-1]]
    return [*made, args[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)] if args else []
