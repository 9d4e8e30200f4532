"""The foresight optimum: the least replica-hours that keep the promise, for one who knows the whole future.

A lower bound: each minute may choose its replicas freely (no cold start, no cost of switching, no backlog carried
over), and the late requests that the promise allows are spent where they save most. By Lagrange's dual, the bound
holds for every policy of this simulator, whatever it knows.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from trimtab.cluster.scaling.queueing import Series, late_share
from trimtab.cluster.scaling.simulator import Service

LEVELS = 2000  # rates are rounded down to so many levels: less load, so the bound stays one


def foresight_hours(rates: Series, service: Service, late_allowed: float) -> float:
    """Replica-hours of the optimum for `rates` (requests/s by minute) with a share `late_allowed` of late requests."""
    levels, counts = _levels(rates)
    requests = float((levels * counts).sum()) * 60.0
    if requests == 0.0:
        return len(rates) / 60.0  # one replica stays
    high = 1e-9
    best = 0.0
    args = (service.service_seconds, service.allowed_seconds, service.spread, service.most)
    for _ in range(200):
        minutes, late = _cheapest(levels, counts, high, *args)
        best = max(best, minutes - high * late_allowed * requests + high * late)
        if late <= late_allowed * requests:
            break
        high *= 2.0
    low = high / 2.0
    for _ in range(30):
        price = (low + high) / 2.0
        minutes, late = _cheapest(levels, counts, price, *args)
        best = max(best, minutes + price * (late - late_allowed * requests))
        low, high = (price, high) if late > late_allowed * requests else (low, price)
    return best / 60.0


def _levels(rates: Series) -> tuple[Series, Series]:
    step = max(float(rates.max()) / LEVELS, 1e-9)
    places, counts = np.unique(np.floor(rates / step), return_counts=True)
    return places * step, counts.astype(float)


@numba.njit(cache=True)
def _cheapest(levels: Any, counts: Any, price: float, service: float, allowed: float, spread: float, most: int) -> Any:
    """Replica-minutes and late requests when a late request costs `price` replica-minutes."""
    minutes, late = 0.0, 0.0
    for i in range(len(levels)):
        rate = levels[i]
        first = max(1, int(rate * service * 0.5))
        best, best_late, best_servers = np.inf, 0.0, first
        for servers in range(first, most + 1):
            share = late_share(rate, servers, service, allowed, spread)
            cost = servers + price * share * rate * 60.0
            if cost < best:
                best, best_late, best_servers = cost, share * rate * 60.0, servers
            if share < 1e-9 or servers > best:
                break
        minutes += best_servers * counts[i]
        late += best_late * counts[i]
    return minutes, late
