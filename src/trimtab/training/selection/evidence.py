"""What a proposer may know of a table: sizes, types, balance, how hard single columns are. At most 8 kB."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from trimtab.adapters.models.learn_encoding import kind_of
from trimtab.adapters.sources.dataset import QUANTITIES, Dataset
from trimtab.core.model import Json

MOST_COLUMNS = 60
LONGEST_NAME = 40


def facts(rows: Dataset, metric: str, time: str) -> dict[str, Json]:
    """The facts of rows that may be searched on."""
    shown = list(rows.names[:MOST_COLUMNS])
    columns: list[Json] = [_column(rows, name) for name in shown]
    return {
        "rows": len(rows),
        "columns": columns,
        "columns_left_out": len(rows.names) - len(shown),
        "task": rows.task,
        "target": _target(rows),
        "metric": metric,
        "is_ordered_by_time": bool(time),
    }


def _column(rows: Dataset, name: str) -> Json:
    values = rows.table.column(name)
    return {
        "name": name[:LONGEST_NAME],
        "kind": kind_of(values.type),
        "distinct": int(pc.count_distinct(values).as_py()),
        "missing_share": round(values.null_count / len(values), 4),
    }


def _target(rows: Dataset) -> Json:
    if rows.task in QUANTITIES:
        low, middle, high = np.quantile(rows.y, [0.01, 0.5, 0.99]).tolist()
        return {"q01": low, "median": middle, "q99": high, "deviation": float(rows.y.std())}
    counts = np.bincount(rows.y.astype(int), minlength=len(rows.classes))
    shares = {
        name[:LONGEST_NAME]: round(count / len(rows), 4) for name, count in zip(rows.classes, counts, strict=True)
    }
    rarest_first = sorted(shares.items(), key=lambda one: one[1])
    return {"classes": len(shares), "shares": dict(rarest_first[:10])}
