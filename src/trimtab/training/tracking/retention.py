"""Which runs a list can do without: old ones that another beats in the metric and in cost.

Only the index lets them go. What the ledger recorded of them stays, as all that it records, and `runs show` finds them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

import sqlalchemy as sa

from trimtab.adapters.ledger import SqlLedger
from trimtab.adapters.ledger_rows import RUN_VALUES, RUNS


def superfluous(ledger: SqlLedger, metric: str, goal: Literal["min", "max"], newest: int) -> list[str]:
    """Runs with the metric that are neither among the newest of their name nor on its front of metric and CPU time."""
    sign = 1.0 if goal == "min" else -1.0
    measured = sa.select(RUN_VALUES.c.run, RUN_VALUES.c.number).where(
        (RUN_VALUES.c.name == metric) & RUN_VALUES.c.is_metric & RUN_VALUES.c.number.is_not(None)
    )
    values = {row.run: sign * row.number for row in ledger.select(measured)}
    by_name: dict[str, list[tuple[str, float]]] = defaultdict(list)
    facts = sa.select(RUNS.c.run, RUNS.c.name, RUNS.c.cpu_seconds).order_by(RUNS.c.began.desc())
    for row in ledger.select(facts):
        by_name[row.name].append((row.run, row.cpu_seconds))
    found: list[str] = []
    for runs in by_name.values():
        kept = front((values[run], cpu, run) for run, cpu in runs if run in values)
        found += [run for run, _ in runs[newest:] if run in values and run not in kept]
    return found


def front(points: Iterable[tuple[float, float, str]]) -> set[str]:
    """Of (metric, cost, name), less of both being better: those that no other beats in both."""
    kept, least = set(), float("inf")
    for _, cost, name in sorted(points):
        if cost < least:
            kept.add(name)
            least = cost
    return kept
