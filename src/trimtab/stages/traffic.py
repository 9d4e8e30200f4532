"""The traffic of a pipeline, as the configuration names it: what tuning prices and scaling replays."""

from __future__ import annotations

from trimtab.adapters.sources.tables import fingerprint
from trimtab.cluster.scaling.problem import Traffic
from trimtab.core.errors import InputError
from trimtab.workplace import Workplace


def traffic_of(workplace: Workplace) -> Traffic:
    """The traffic that the configuration names. Raises InputError when it names none."""
    traffic = workplace.config.traffic
    if not traffic.times:
        raise InputError("traffic.times is not set", hint="name a column of times, or a .csv of (time, rate) rows")
    if traffic.times.endswith(".csv"):
        file = workplace.folder / traffic.times
        return Traffic(str(file), fingerprint=fingerprint(file))
    return Traffic(
        workplace.data.table,
        traffic.times,
        traffic.requests_per_row,
        traffic.spread_minutes,
        workplace.data.fingerprint,
    )
