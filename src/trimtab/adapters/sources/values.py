"""Columns of an Arrow table as plain numbers and as times in seconds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.core.errors import InputError


def numbers(column: pa.ChunkedArray, name: str, path: str) -> npt.NDArray[np.float64]:
    """A column as floats, NaN for what is missing. Raises InputError."""
    try:
        return np.asarray(column.cast(pa.float64()).to_numpy(), float)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(
            f"{path}: {name!r} holds no numbers but {column.type}", hint="plain numbers, no units"
        ) from None


def stamps(column: pa.ChunkedArray, name: str, path: str) -> npt.NDArray[np.int64]:
    """A column as whole seconds; ISO times with offsets are brought to UTC. Raises InputError."""
    kind = column.type
    try:
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            zone = "UTC" if pc.all(pc.match_substring_regex(column, r"(Z|[+-]\d\d:?\d\d)$")).as_py() else None
            column = pc.cast(column, pa.timestamp("us", zone))
        if pa.types.is_temporal(column.type):
            column = pc.cast(column, pa.timestamp("s", getattr(column.type, "tz", None)), safe=False)
            return np.asarray(column.cast(pa.int64()).to_numpy())
        seconds = np.asarray(column.cast(pa.float64()).to_numpy(), float)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = str(error).splitlines()[0]
        hint = "seconds, or ISO times that all have a zone or all have none"
        raise InputError(f"{path}: {name!r} holds no times: {reason}", hint=hint) from None
    if not np.isfinite(seconds).all() or np.abs(seconds).max() > 1e14:
        raise InputError(f"{path}: {name!r} holds no times in seconds", hint="seconds, or ISO times")
    # Seconds since 1970 have ten digits for the next centuries, milliseconds thirteen.
    return (seconds / 1000 if np.abs(seconds).max() > 1e11 else seconds).astype(np.int64)
