"""Waiting in a service of several replicas: Erlang's formulas, and how many replicas a rate needs."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.float64]


@numba.njit(cache=True)
def erlang_c(load: float, servers: int) -> float:
    """Chance that a request waits, M/M/k: `load` is arrivals × service time. 1 when overloaded. (Erlang 1917)"""
    if load >= servers:
        return 1.0
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    return servers * blocked / (servers - load * (1 - blocked))


@numba.njit(cache=True)
def late_share(rate: float, servers: int, service: float, allowed: float, spread: float) -> float:
    """Share of requests that wait longer than `allowed` seconds, in a steady state; at least what overload leaves over.

    `service`: seconds of work a request; `spread`: its squared coefficient of variation (1: exponential, exact; for
    others the exponent is scaled by 2/(1+spread), the usual two-moment approximation).
    """
    if rate <= 0.0:
        return 0.0
    load = rate * service
    if servers < 1 or load >= servers:
        return 1.0 if servers < 1 else max(1.0 - servers / load, 0.5)
    return erlang_c(load, servers) * math.exp(-(servers - load) / service * allowed * 2.0 / (1.0 + spread))


@numba.njit(cache=True)
def highest_rates(most: int, service: float, allowed: float, spread: float, late: float, enough: float = np.inf) -> Any:
    """For each number of replicas 0 … most, the highest rate at which at most a share `late` waits too long.

    Beyond the rate `enough`, nobody asks: from there on each replica counts as one more that is never idle.
    """
    rates = np.zeros(most + 1)
    for servers in range(1, most + 1):
        if rates[servers - 1] >= enough:
            rates[servers] = rates[servers - 1] + 1.0 / service
            continue
        low, high = rates[servers - 1], servers / service
        for _ in range(30):
            middle = (low + high) / 2
            if late_share(middle, servers, service, allowed, spread) <= late:
                low = middle
            else:
                high = middle
        rates[servers] = low
    return rates


@numba.njit(cache=True)
def least_servers(rate: float, rates: Any) -> int:
    """The fewest replicas whose highest rate (see `highest_rates`) covers `rate`."""
    return min(int(np.searchsorted(rates, rate)), len(rates) - 1)
