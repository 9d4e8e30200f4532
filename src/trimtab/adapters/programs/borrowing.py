"""Arrays for compiled loops that call much: without a count of references, which costs such a loop half its time."""

from __future__ import annotations

from typing import Any

from numba.extending import intrinsic


@intrinsic
def _borrowed(context: Any, array: Any) -> Any:
    """An array without its count of references: calls with it are then free of atomic instructions.

    For the arguments of a kernel only: whoever calls it holds them.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(array)(context, builder, arguments[0])
        made.meminfo = made.meminfo.type(None)
        return made._getvalue()

    return array(array), code


borrowed: Any = _borrowed
