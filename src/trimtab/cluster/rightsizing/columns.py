"""Which column of a usage table is what, by its name, and its values as numbers and times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.cluster.rightsizing.looks import Series
from trimtab.core.errors import InputError

TIMES = ("time", "timestamp", "ts", "second", "seconds", "date", "datetime")
PODS = ("pod", "pod_name", "instance", "name", "container")
USED = {
    "cpu": ("cpu", "cpu_cores", "cpu_usage", "cores"),
    "memory": ("memory", "memory_bytes", "memory_share", "memory_usage", "value", "used", "usage"),
    "gpu_memory": ("gpu_memory", "gpu_memory_bytes", "gpu_memory_share", "gpu_memory_usage"),
}
REQUESTED = ("{}_request", "{}_requested", "{}_requests")
LABELS = ("workload", "kind", "namespace", "container")


@dataclass(frozen=True)
class Columns:
    """Names of columns: of the time, the pod, the use and today's request of each resource, and of labels."""

    time: str
    pod: str
    used: Mapping[str, str]
    requested: Mapping[str, str]
    labels: Mapping[str, str]
    ignored: tuple[str, ...]


def columns_of(table: pa.Table, path: str) -> Columns:
    """What each column is. Raises InputError when there is no time, pod or use."""
    known = {name.strip().lower(): name for name in table.column_names}
    time = next((known[name] for name in known if name in TIMES or name.startswith("time")), None)
    pod = next((known[name] for name in PODS if name in known), None)
    used = {
        resource: known[name]
        for resource, names in USED.items()
        for name in [next((one for one in names if one in known), "")]
        if name
    }
    for what, found, names in (("times", time, TIMES), ("pods", pod, PODS)):
        if found is None:
            raise InputError(f"{path}: no column of {what}", hint=f"call it {' or '.join(names[:3])}; {_has(table)}")
    if not used:
        raise InputError(
            f"{path}: no column of use",
            hint=f"call it cpu (cores), memory or gpu_memory (bytes, or a share of 1); {_has(table)}",
        )
    requested = {
        resource: known[form.format(resource)]
        for resource in used
        for form in REQUESTED
        if form.format(resource) in known
    }
    labels = {key: known[key] for key in LABELS if key in known and known[key] != pod}
    taken = {time, pod, *used.values(), *requested.values(), *labels.values()}
    ignored = tuple(name for name in table.column_names if name not in taken)
    return Columns(str(time), str(pod), used, requested, labels, ignored)


def numbers(column: pa.ChunkedArray, name: str, path: str) -> Series:
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


def _has(table: pa.Table) -> str:
    return f"it has {', '.join(table.column_names[:20])}"
