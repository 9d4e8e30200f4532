"""Policy programs as native code: one type of function for all of them, so that a simulator compiles once for all.

Compiling runs nothing of a program; what a program does when called is bounded by its reading. Programs that nobody has
reviewed are compiled and called in a confined child process all the same (`adapters/sandbox`).
"""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numba
import numpy as np
import numpy.typing as npt
from numba import types

from trimtab.adapters.programs.language import read_program
from trimtab.adapters.programs.signature import LARGEST, Signature

Policy: TypeAlias = Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], float]
FLOATS = types.float64[::1]
POLICY = types.FunctionType(types.float64(FLOATS, FLOATS))
"""The numba type of every policy: (inputs (width,), state (slots,)) → float. Take it in a simulator's signature."""


@functools.lru_cache(maxsize=4096)
def compile_program(source: str, signature: Signature) -> Policy:
    """Compile a program: about 50 ms, then about 5 ns a call within compiled code. Raises ProgramFault.

    The result takes (inputs, state), float64 and contiguous, of `signature.width` and `signature.state` (at least 1).
    """
    program = read_program(source, signature)
    module = ast.Module([program.tree], [])
    names: dict[str, Any] = {**_FUNCTIONS, "answer_": _answer_for(signature.when_nan), "__builtins__": {"range": range}}
    exec(compile(module, f"<{signature.name}>", "exec"), names)  # the normal form, not the text
    typed = numba.njit(types.float64(FLOATS, FLOATS), error_model="numpy", boundscheck=True)
    return typed(names["program"])


@functools.cache
def _answer_for(when_nan: float) -> Any:
    @numba.njit(error_model="numpy", inline="always")
    def answer(value: float) -> float:
        if value != value:
            return when_nan
        return min(max(value, -LARGEST), LARGEST)

    return answer


@numba.njit(error_model="numpy")
def _kept(value: float) -> float:
    """What a state slot keeps: 0 for NaN, cut to ±LARGEST."""
    if value != value:
        return 0.0
    return min(max(value, -LARGEST), LARGEST)


@numba.njit(error_model="numpy")
def _place(index: float, start: int, size: int) -> int:
    """The place of an index, cut to its window; NaN is the first."""
    if not index > 0.0:
        return start
    return start + int(min(index, size - 1.0))


@numba.njit(error_model="numpy")
def _least(first: float, second: float) -> float:
    return second if second < first or first != first else first


@numba.njit(error_model="numpy")
def _most(first: float, second: float) -> float:
    return second if second > first or first != first else first


@numba.njit(error_model="numpy")
def _mod(value: float, by: float) -> float:
    """Python's remainder; NaN for a division by 0."""
    return math.nan if by == 0.0 or math.isinf(value) else value - math.floor(value / by) * by


@numba.njit(error_model="numpy")
def _whole(value: float, by: float) -> float:
    return math.floor(value / by) * 1.0 if by != 0.0 else math.nan


@numba.njit(error_model="numpy")
def _floor(value: float) -> float:
    return float(np.floor(value))


@numba.njit(error_model="numpy")
def _ceil(value: float) -> float:
    return float(np.ceil(value))


@numba.njit(error_model="numpy")
def _log(value: float) -> float:
    """NaN below 0, -inf at 0, without an exception."""
    return float(np.log(value))


@numba.njit(error_model="numpy")
def _power(base: float, exponent: float) -> float:
    return float(np.power(base, exponent))


_FUNCTIONS: dict[str, Any] = {
    "abs": numba.njit(error_model="numpy")(lambda value: np.abs(value)),
    "exp": numba.njit(error_model="numpy")(lambda value: np.exp(value)),
    "expm1": numba.njit(error_model="numpy")(lambda value: np.expm1(value)),
    "log1p": numba.njit(error_model="numpy")(lambda value: np.log1p(value)),
    "sqrt": numba.njit(error_model="numpy")(lambda value: np.sqrt(value)),
    "tanh": numba.njit(error_model="numpy")(lambda value: np.tanh(value)),
    "log": _log, "pow": _power, "floor": _floor, "ceil": _ceil, "min_": _least, "max_": _most,
    "mod_": _mod, "whole_": _whole, "kept_": _kept, "place_": _place, "float": float,
}  # fmt: skip
