"""Nodes and pods from tables: cores, GiB, GPUs and shares of one; refused where they cannot be."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from trimtab.adapters.sources.tables import read_table
from trimtab.adapters.sources.values import numbers, stamps
from trimtab.cluster.packing.simulator import GPUS, Ints, Table
from trimtab.core.errors import InputError

LEAST_PODS = 200
MOST_KINDS = 2000
MOST_NODES = 20_000
COVERED = 0.95  # of the pods: the usual mix is made of the most frequent kinds (as in Weng et al. 2023)
UNITS: Mapping[str, Mapping[str, float]] = {
    "cpu": {"cpu_milli": 1e-3, "cpu": 1.0, "cores": 1.0, "cpus": 1.0},
    "memory": {"memory_mib": 1 / 1024, "memory_gib": 1.0, "memory_bytes": 2.0**-30, "memory": 2.0**-30},
    "gpus": {"num_gpu": 1.0, "gpus": 1.0, "gpu": 1.0, "num_gpus": 1.0},
    "share": {"gpu_milli": 1e-3, "gpu_share": 1.0},
}
TIMES = ("creation_time", "created", "submit_s", "submit_time", "time", "timestamp")


@dataclass(frozen=True, eq=False)
class Fleet:
    """sizes (nodes, 3), kinds (kinds, 4), as `simulator` has them; codes: each pod's kind, in the order of time."""

    sizes: Table
    kinds: Table
    codes: Ints

    @property
    def gpus(self) -> float:
        """Of all nodes."""
        return float(self.sizes[:, 2].sum())

    def asked(self, codes: Ints) -> Table:
        """GPUs that pods ask for."""
        return np.asarray(self.kinds[codes, 2] * self.kinds[codes, 3])

    def mix(self, codes: Ints) -> tuple[Table, Table]:
        """(kinds, weights) of the most frequent kinds among pods."""
        counts = np.bincount(codes, minlength=len(self.kinds))
        order = np.argsort(-counts, kind="stable")
        enough = int(np.searchsorted(np.cumsum(counts[order]) / counts.sum(), COVERED)) + 1
        kept = order[:enough]
        return self.kinds[kept].copy(), counts[kept] / counts[kept].sum()


@functools.lru_cache(maxsize=4)
def read_fleet(pods: str, nodes: str, fingerprint: str = "") -> Fleet:
    """The fleet of two files. Raises InputError."""
    sizes = _sizes(read_table(Path(nodes)), nodes)
    table = read_table(Path(pods))
    if table.num_rows < LEAST_PODS:
        raise InputError(f"{pods}: {table.num_rows:,} pods", hint=f"{LEAST_PODS} at least, of both halves of a history")
    cpu, memory = (_values(table, what, pods) for what in ("cpu", "memory"))
    count = _values(table, "gpus", pods, default=0.0)
    share = _values(table, "share", pods, default=1.0)
    share = np.where(count == 1, np.where(share > 0, share, 1.0), np.where(count > 0, 1.0, 0.0))
    _refuse(count != np.round(count), "GPUs are whole numbers: a share of one stands in gpu_share", pods)
    _refuse(share > 1 + 1e-9, "shares of a GPU above 1", pods)
    rows = np.round(np.stack([cpu, memory, count, share], axis=1), 6)
    kinds, codes = np.unique(rows, axis=0, return_inverse=True)
    if len(kinds) > MOST_KINDS:
        raise InputError(f"{pods}: {len(kinds):,} kinds of pods", hint=f"round requests: at most {MOST_KINDS:,} kinds")
    return Fleet(sizes, np.ascontiguousarray(kinds), codes.reshape(-1)[_order(table, pods)].astype(np.int64))


def _sizes(table: pa.Table, path: str) -> Table:
    columns = [_values(table, what, path) for what in ("cpu", "memory", "gpus")]
    sizes = np.ascontiguousarray(np.stack([np.nan_to_num(one) for one in columns], axis=1))
    if len(sizes) > MOST_NODES:
        raise InputError(f"{path}: {len(sizes):,} nodes", hint=f"at most {MOST_NODES:,}")
    _refuse(sizes[:, 2] > GPUS, f"nodes with more than {GPUS} GPUs", path)
    if not sizes[:, 2].sum() > 0:
        raise InputError(f"{path}: no node has a GPU", hint="a column gpu or gpus says how many")
    return sizes


def _values(table: pa.Table, what: str, path: str, default: float | None = None) -> Table:
    known = {name.strip().lower(): name for name in table.column_names}
    name = next((one for one in UNITS[what] if one in known), None)
    if name is None:
        if default is not None:
            return np.full(table.num_rows, default)
        raise InputError(
            f"{path}: no column of {what}",
            hint=f"call it {' or '.join(UNITS[what])}; it has {', '.join(table.column_names[:20])}",
        )
    values = np.nan_to_num(numbers(table[known[name]], known[name], path)) * UNITS[what][name]
    _refuse(values < 0, f"negative values of {name}", path)
    return values


def _refuse(wrong: np.ndarray, what: str, path: str) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        raise InputError(f"{path}: {what}: {len(rows):,}, the first in row {rows[0] + 2:,}", hint="mend or drop them")


def _order(table: pa.Table, path: str) -> Ints:
    known = {name.strip().lower(): name for name in table.column_names}
    name = next((known[one] for one in TIMES if one in known), None)
    if name is None:
        return np.arange(table.num_rows)
    return np.argsort(stamps(table[name], name, path), kind="stable")
