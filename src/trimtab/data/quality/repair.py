"""Carries out repairs on a table."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from trimtab.data.quality.plan import Action


def dropped(actions: Sequence[Action]) -> tuple[str, ...]:
    """The columns that are left out."""
    return tuple(one.column for one in actions if one.kind == "drop")


def repaired(table: pa.Table, actions: Sequence[Action]) -> pa.Table:
    """The table with its impossible values missing. Columns that are dropped stay: they are only not used."""
    for action in actions:
        if action.kind == "void" and action.column in table.column_names:
            place = table.column_names.index(action.column)
            field = table.schema.field(place)
            table = table.set_column(place, field, _voided(table.column(place), action))
    return table


def _voided(values: pa.ChunkedArray, action: Action) -> pa.ChunkedArray:
    number = values.cast(pa.float64())
    wrong = pc.is_inf(number)
    if action.low is not None:
        wrong = pc.or_(wrong, pc.less(number, action.low))
    if action.high is not None:
        wrong = pc.or_(wrong, pc.greater(number, action.high))
    return pc.if_else(pc.fill_null(wrong, False), pa.scalar(None, values.type), values)
