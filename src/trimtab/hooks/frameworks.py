"""What tells a session of a training, with no change to the user's code: LightGBM, XGBoost, torch, scikit-learn, tqdm.

Each is looked at through its own hooks where it has some. A hook that fails must not fail the training: it is dropped.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from trimtab.hooks.imports import when_imported
from trimtab.hooks.loaders import hook_loaders
from trimtab.hooks.session import Session

Current = Callable[[], Session | None]

AS_MANY = ("num_threads", "num_thread", "nthread", "nthreads", "n_jobs")  # LightGBM's names for it


def hook_in(current: Current) -> None:
    """Have the current session, if there is one, told of trainings. Once a process: the hooks stay."""

    def hooked(action: Callable[[ModuleType, Current], None]) -> Callable[[ModuleType], None]:
        return lambda module: action(module, current)

    when_imported(
        {
            "lightgbm": hooked(_lightgbm),
            "xgboost": hooked(_xgboost),
            "torch.optim.optimizer": hooked(_torch),
            "torch.utils.data.dataloader": hooked(hook_loaders),
            "tqdm.std": hooked(_tqdm),
            "sklearn.base": hooked(_sklearn),
            "sklearn.metrics": hooked(_scores),
        }
    )


class TorchThreads:
    """Of torch's operations, in this process."""

    name = "torch"

    def __init__(self, torch: Any) -> None:
        self._torch = torch

    def get(self) -> int:
        """Within an operation."""
        return int(self._torch.get_num_threads())

    def set(self, count: int) -> None:
        """From the next operation on."""
        self._torch.set_num_threads(count)


class PoolThreads:
    """Of the OpenMP and BLAS libraries that are loaded, by threadpoolctl."""

    name = "pools"

    def __init__(self) -> None:
        import threadpoolctl

        self._pools = threadpoolctl.ThreadpoolController()

    def get(self) -> int:
        """The largest pool's."""
        return max((int(one["num_threads"]) for one in self._pools.info()), default=1)

    def set(self, count: int) -> None:
        """For all pools, from the next call on."""
        self._pools.limit(limits=count)


def _lightgbm(module: ModuleType, current: Current) -> None:
    inner = module.engine.train

    @functools.wraps(inner)
    def train(params: Any, train_set: Any, *args: Any, **options: Any) -> Any:
        session = current()
        if session is None:
            return inner(params, train_set, *args, **options)
        with _heeded():
            session.parameters("lightgbm", dict(params))
        given, rounds = list(args), list[int]()
        at = 5  # of callbacks, behind params and train_set
        if len(given) > at:
            given[at] = [*(given[at] or ()), _after_round(session, rounds)]
        else:
            options["callbacks"] = [*(options.get("callbacks") or ()), _after_round(session, rounds)]
        with _threads_of_fit(session, module, dict(params), rounds):
            return inner(params, train_set, *given, **options)

    _replace((module, module.engine, getattr(module, "sklearn", None)), "train", inner, train)


@contextlib.contextmanager
def _threads_of_fit(session: Session, module: ModuleType, params: dict[str, Any], rounds: list[int]) -> Iterator[None]:
    """The process's limit of LightGBM's threads, for one training."""
    if session.fits is None:
        yield
        return
    asked = next((int(params[one]) for one in AS_MANY if params.get(one)), 0)
    own = asked if asked > 0 else _openmp_threads()
    library = None
    with _heeded():
        library = module.basic._LIB
        count = session.fits.begin("lightgbm", own)
        if count < own:
            library.LGBM_SetMaxThreads(ctypes.c_int(count))
    try:
        yield
    finally:
        with _heeded():
            session.fits.end(len(rounds))
            if library is not None:
                library.LGBM_SetMaxThreads(ctypes.c_int(-1))


def _after_round(session: Session, rounds: list[int]) -> Any:
    def after_round(env: Any) -> None:
        with _heeded():
            if not rounds:
                session.training(env.end_iteration - env.begin_iteration)
                session.table(env.model.train_set.num_data(), env.model.train_set.num_feature())
            rounds.append(env.iteration)
            for one in env.evaluation_result_list or ():
                session.log(f"{one[0]} {one[1]}", one[2], env.iteration)
            session.step()

    after_round.order = 25  # type: ignore[attr-defined]  # before early stopping, which leaves by an exception
    return after_round


def _xgboost(module: ModuleType, current: Current) -> None:
    inner = module.training.train

    class AfterRound(module.callback.TrainingCallback):  # type: ignore[misc, name-defined]
        """Tells the session of each round."""

        def __init__(self, session: Session) -> None:
            super().__init__()
            self._session = session

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            with _heeded():
                for of, metrics in evals_log.items():
                    for name, values in metrics.items():
                        self._session.log(f"{of} {name}", values[-1], epoch)
                self._session.step()
            return False

    @functools.wraps(inner)
    def train(params: Any, dtrain: Any, num_boost_round: int = 10, **options: Any) -> Any:
        session = current()
        if session is not None:
            with _heeded():
                session.parameters("xgboost", dict(params))
                session.table(dtrain.num_row(), dtrain.num_col())
                session.training(num_boost_round)
                options["callbacks"] = [*(options.get("callbacks") or ()), AfterRound(session)]
        return inner(params, dtrain, num_boost_round, **options)

    _replace((module, module.training, getattr(module, "sklearn", None)), "train", inner, train)


def _torch(module: ModuleType, current: Current) -> None:
    control: list[TorchThreads] = []

    def after_step(optimizer: Any, *_: Any) -> None:
        session = current()
        if session is None:
            return
        with _heeded():
            if not control:
                control.append(TorchThreads(sys.modules["torch"]))
            if session.is_leader("optimizer", id(optimizer)):  # of several optimizers, one counts
                session.parameters(type(optimizer).__name__, dict(optimizer.defaults))
                session.step(control[0])
            session.stepped(optimizer)

    module.register_optimizer_step_post_hook(after_step)


def _tqdm(module: ModuleType, current: Current) -> None:
    inner = module.tqdm.display

    @functools.wraps(inner)
    def display(self: Any, *args: Any, **options: Any) -> Any:
        session = current()
        if session is not None:
            with _heeded():
                if not self.pos:  # the outermost bar
                    session.bar(self.n, self.total)
        return inner(self, *args, **options)

    module.tqdm.display = display


def _sklearn(module: ModuleType, current: Current) -> None:
    validated = module.BaseEstimator._validate_params

    @functools.wraps(validated)
    def validate(self: Any) -> Any:  # every fit begins with it; the first is the outermost
        session = current()
        if session is not None:
            with _heeded():
                name = type(self).__name__
                if session.is_leader("estimator", name):
                    session.parameters(name, self.get_params(deep=False))
        return validated(self)

    module.BaseEstimator._validate_params = validate
    for kind, metric in (("ClassifierMixin", "accuracy"), ("RegressorMixin", "r2")):
        mixin = getattr(module, kind)
        mixin.score = _telling(mixin.score, metric, current)


def _scores(module: ModuleType, current: Current) -> None:
    for name in module.__all__:
        if name.endswith(("_score", "_error", "_loss")):
            inner = getattr(module, name)
            _replace((module, *_own_modules(inner, name)), name, inner, _telling(inner, name, current))


def _telling(inner: Any, name: str, current: Current) -> Any:
    @functools.wraps(inner)
    def metric(*args: Any, **options: Any) -> Any:
        value = inner(*args, **options)
        session = current()
        if session is not None and getattr(value, "ndim", 0) == 0:
            with _heeded():
                session.log(name.removesuffix("_score"), float(value))
        return value

    return metric


def _replace(places: Iterable[Any], name: str, inner: Any, outer: Any) -> None:
    for place in places:
        if place is not None and getattr(place, name, None) is inner:
            setattr(place, name, outer)


def _own_modules(inner: Any, name: str) -> Iterator[ModuleType]:
    """The user's modules that have imported it by its name already."""
    for key, module in list(sys.modules.items()):
        is_other = key.split(".")[0] in ("sklearn", "trimtab")
        if not is_other and isinstance(module, ModuleType) and vars(module).get(name) is inner:
            yield module


@contextlib.contextmanager
def _heeded() -> Iterator[None]:
    """What watches must never break what it watches."""
    with contextlib.suppress(Exception):
        yield


def _openmp_threads() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
