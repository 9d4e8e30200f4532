"""How much memory a training needs and how many threads it should have, said before it begins."""

from __future__ import annotations

import math
import os

import psutil

from trimtab.adapters.cgroups import Groups
from trimtab.training.selection.network import MOST_ONE_HOT
from trimtab.training.selection.plan import ModelPlan
from trimtab.training.selection.symmetric import DEPTH, MOST_PLACES

DEFAULT_LEAVES, DEFAULT_BINS = 31, 255
BIN_BYTES = 16  # of a histogram: a sum of gradients and one of hessians; LightGBM keeps one histogram a leaf
# What CatBoost takes beside; with these the measured peak was 73 to 97 % of what is predicted for 20,000 rows × 50
# columns to 500,000 × 20 and 5,000 × 2,000.
CATBOOST_BYTES, CATBOOST_ROW_BYTES = 16_000_000, 120
SHARE_OF_FREE = 0.8  # that one training may take
CELLS_A_THREAD = 4_000_000  # rows × columns, below which another thread costs more CPU than it saves time


def predicted_bytes(rows: int, columns: int, classes: int, plan: ModelPlan) -> int:
    """An upper bound of what training one plan takes beside its data.

    For large histograms the measured peak was 81 to 96 % of it (20,000 rows × 50 columns to 5,000 × 2,000).
    """
    return max(_predicted(rows, columns, classes, one) for one in plan.members)


def _predicted(rows: int, columns: int, classes: int, plan: ModelPlan) -> int:
    if not plan.family.startswith("lightgbm"):
        return rows * columns * (24 + (4 * MOST_ONE_HOT if plan.hidden else 0))
    is_default = plan.family == "lightgbm-default"
    leaves = min(rows, DEFAULT_LEAVES if is_default else plan.leaves)
    bins = min(rows, DEFAULT_BINS if is_default else plan.max_bin)
    values = 12 * columns if plan.leaf == "linear" else 0  # that leaves' models are fitted to, and a copy, drawn in
    scores = 24 * (classes if classes > 2 else 1)  # in double precision, gradients and hessians, their copies
    if plan.trees == "symmetric":  # a copy of the values, and one of their bins
        histograms = (1 << DEPTH) * columns * MOST_PLACES * BIN_BYTES
        return CATBOOST_BYTES + histograms + rows * (8 * columns + CATBOOST_ROW_BYTES + scores)
    return leaves * columns * bins * BIN_BYTES + rows * (columns * math.ceil(bins / 256) + values + scores)


def free_bytes() -> int:
    """What this process may still take, by the machine and by its control group."""
    free = int(psutil.virtual_memory().available)
    allowed = Groups(os.getpid()).read()
    return free if allowed.memory_bytes is None else min(free, max(0, allowed.memory_bytes - allowed.memory_used))


def require_memory(needed: int, free: int) -> None:
    """Raise MemoryError, before anything is trained, where a training would not fit."""
    if needed > SHARE_OF_FREE * free:
        raise MemoryError(f"not trained: it would need about {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free")


def threads_for(cells: int, cores: int, busy: float) -> int:
    """How many threads pay: those that the table is large enough for, on cores that others leave free.

    A thread that waits for a core makes all others spin: on a busy host one costs least, and takes no longer.
    """
    return max(1, min(cores, math.floor(cores - busy), cells // CELLS_A_THREAD))


def busy_cores() -> float:
    """Cores that were in use over the last minute, by whoever."""
    return os.getloadavg()[0]
