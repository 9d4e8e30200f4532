"""Patches that change calls and settings."""

from __future__ import annotations

import libcst as cst
from libcst import matchers as m

from trimtab.training.scripts.calls import after_imports, changed, code, keyword, named, with_keyword, without_keywords

LOADER_ONLY = ("prefetch_factor", "persistent_workers", "multiprocessing_context", "timeout", "worker_init_fn")
OPTIMIZERS = ("Adam", "AdamW", "SGD", "Adagrad")
SEARCHES = (
    "GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "cross_val_score", "cross_validate",
    "cross_val_predict", "learning_curve", "BaggingClassifier", "BaggingRegressor", "OneVsRestClassifier",
)  # fmt: skip
EVALUATION = ("eval", "valid", "test", "predict", "accuracy", "score", "infer")
STREAMS = ("IterableDataset", "IterDataPipe")  # each worker would give all of one
WORKERS = "min(4, __import__('os').cpu_count())"
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
    return changed(module, lambda call: with_keyword(call, "n_jobs", "1", only_if_there=True))


def jobs_outside_only(module: cst.Module) -> cst.Module:
    """Only searches and cross-validations keep their jobs; the estimators within them have one."""
    if not m.findall(module, m.Call(func=named(*SEARCHES))):
        return module

    def change(call: cst.Call) -> cst.Call:
        is_outer = m.matches(call, m.Call(func=named(*SEARCHES)))
        return call if is_outer else with_keyword(call, "n_jobs", "1", only_if_there=True)

    return changed(module, change)


def loader_in_process(module: cst.Module) -> cst.Module:
    """DataLoader without workers."""

    def change(call: cst.Call) -> cst.Call:
        if not m.matches(call, m.Call(func=named("DataLoader"))) or keyword(call, "num_workers") is None:
            return call
        return with_keyword(without_keywords(call, *LOADER_ONLY), "num_workers", "0")

    return changed(module, change)


def loader_workers(module: cst.Module) -> cst.Module:
    """DataLoaders without workers get some, that stay from epoch to epoch, and memory from which a GPU copies."""

    if "cuda" not in module.code or any(one in module.code for one in STREAMS):
        return module

    def change(call: cst.Call) -> cst.Call:
        workers = keyword(call, "num_workers")
        has_some = workers is not None and code(workers) != "0"
        if not m.matches(call, m.Call(func=named("DataLoader"))) or has_some:
            return call
        call = with_keyword(with_keyword(call, "num_workers", WORKERS), "persistent_workers", "True")
        return call if keyword(call, "pin_memory") is not None else with_keyword(call, "pin_memory", "True")

    return changed(module, change)


def tf32(module: cst.Module) -> cst.Module:
    """Single precision by tensor cores."""
    if not _trains_on_gpu(module) or "set_float32_matmul_precision" in module.code:
        return module
    return after_imports(module, "torch.set_float32_matmul_precision('high')\n")


def bf16_forward(module: cst.Module) -> cst.Module:
    """Modules' forward passes in bfloat16, but for what torch's lists keep in single precision."""
    if not _trains_on_gpu(module) or "autocast" in module.code:
        return module
    return module.visit(_Bf16Forward())


def pipeline_memory(module: cst.Module) -> cst.Module:
    """Fitted steps of a pipeline are kept while a search tries the later ones."""
    if not m.findall(module, m.Call(func=named(*SEARCHES))):
        return module
    kind = m.Call(func=named("Pipeline", "make_pipeline"))

    def change(call: cst.Call) -> cst.Call:
        if not m.matches(call, kind) or keyword(call, "memory") is not None:
            return call
        return with_keyword(call, "memory", "__import__('tempfile').mkdtemp()")

    return changed(module, change)


def no_gradients(module: cst.Module) -> cst.Module:
    """@torch.no_grad() on functions that evaluate, and never go backward."""
    if "torch" not in module.code:
        return module
    return module.visit(_NoGradients())


def fused_optimizer(module: cst.Module) -> cst.Module:
    """torch's fused optimizers."""
    kind = m.Call(func=m.Attribute(value=m.OneOf(named("optim"), m.Attribute(attr=m.Name("optim"))),
                                   attr=m.OneOf(*map(m.Name, OPTIMIZERS))))  # fmt: skip

    def change(call: cst.Call) -> cst.Call:
        is_set = keyword(call, "fused") is not None or keyword(call, "foreach") is not None
        return with_keyword(call, "fused", "True") if m.matches(call, kind) and not is_set else call

    return changed(module, change)


def _trains_on_gpu(module: cst.Module) -> bool:
    return "import torch" in module.code and "cuda" in module.code


class _Bf16Forward(cst.CSTTransformer):
    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        if updated_node.name.value != "forward":
            return updated_node
        decorator = cst.Decorator(cst.parse_expression("torch.autocast('cuda', dtype=torch.bfloat16)"))
        return updated_node.with_changes(decorators=[*updated_node.decorators, decorator])


class _NoGradients(cst.CSTTransformer):
    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        name = updated_node.name.value.lower()
        body = code(updated_node)
        is_evaluation = any(one in name for one in EVALUATION) and not name.startswith("train")
        if not is_evaluation or "backward(" in body or "no_grad" in body or "inference_mode" in body:
            return updated_node
        decorator = cst.Decorator(cst.parse_expression("torch.no_grad()"))
        return updated_node.with_changes(decorators=[*updated_node.decorators, decorator])


def _threads(module: cst.Module, count: str) -> cst.Module:
    """The environment set at the top, and every count that the script sets itself."""
    header = cst.parse_module(THREADS.replace('"{count}"', f"'{count}'")).body
    places = {"torch.set_num_threads": 0, "set_num_threads": 0}

    def change(call: cst.Call) -> cst.Call:
        for name in ("num_threads", "nthread", "thread_count"):
            call = with_keyword(call, name, "1", only_if_there=True)
        name = code(call.func)
        return call.with_changes(args=[]) if name in places and not call.args else call

    module = changed(module, change).visit(_SetThreads())
    start = next((at for at, one in enumerate(module.body) if not _is_preamble(one)), len(module.body))
    return module.with_changes(body=[*module.body[:start], *header, *module.body[start:]])


class _SetThreads(cst.CSTTransformer):
    """torch.set_num_threads(n) would undo it: it goes."""

    def leave_Expr(self, original_node: cst.Expr, updated_node: cst.Expr) -> cst.Expr | cst.RemovalSentinel:
        is_setting = m.matches(updated_node.value, m.Call(func=named("set_num_threads")))
        return cst.Expr(cst.parse_expression("None")) if is_setting else updated_node


def _is_preamble(statement: cst.BaseStatement | cst.BaseSmallStatement) -> bool:
    """The docstring and imports from the future must stay first."""
    small = m.SimpleStatementLine(body=[m.OneOf(
        m.Expr(value=m.OneOf(m.SimpleString(), m.ConcatenatedString())), m.ImportFrom(module=m.Name("__future__"))
    )])  # fmt: skip
    return m.matches(statement, small)
