"""Which column of a usage table is what, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

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


def _has(table: pa.Table) -> str:
    return f"it has {', '.join(table.column_names[:20])}"
