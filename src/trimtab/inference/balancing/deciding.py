"""One decision of a router: its candidates, what the policy is told of each, and the lowest score. Compiled."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from trimtab.inference.balancing.backends import (
    AFTER,
    ANSWERING,
    CAME,
    HEAD,
    LEFT,
    ROUTER,
    SAID,
    SLOTS,
    SPEED,
    bring,
    report,
    true_wait,
)
from trimtab.inference.balancing.views import (
    LAST,
    LATENCY,
    NEXT,
    OUTSTANDING,
    PEAK,
    POOL,
    POOLED,
    QUIET,
    REMEMBERED,
    SENT,
    SENT_WORK,
    TAKEN,
    TOLD,
    answer,
    hear,
)

# The rules beside the policy, floats: routers, seed; what a router sees (OWN … TRUTH); candidates (ALL …), how many of
# a SAMPLE; whom a probe asks (RANDOM …), whether requests wait for it, what carries reports (PROBES …); probes a
# request, uses of one in the pool, removals from the pool a request; round trip (s), memory of the averages (s).
ROUTERS, SEED, SEES, CANDIDATES, CHOICES, TARGET, WAITS, CARRIES, PROBES_EACH, REUSE, REMOVED, RTT, MEMORY = range(13)
OWN, FRESH, TRUTH = range(3)  # the router's own; the backends' own reports, now; their true unfinished work
ALL, SAMPLE, POOLS = range(3)
RANDOM, STALEST, BEST = range(3)
PROBES, ANSWERS = range(2)  # the second includes the first
# What a decision works with, whole numbers: the backend that the request's prefix is hashed to, the one that its router
# sent it to last; then the candidates of a sample.
HOME, PRIOR, CHOSEN = range(3)


@numba.njit(cache=True, error_model="numpy", inline="always")
def mixed(value: Any) -> Any:
    """SplitMix64 (Steele, Lea and Flood, 2014)."""
    z = np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(cache=True, error_model="numpy", inline="always")
def chance(dice: Any) -> float:
    """The next random number from 0 to 1."""
    dice[0] += np.uint64(0x9E3779B97F4A7C15)
    return float(mixed(dice[0]) >> np.uint64(11)) * 1.1102230246251565e-16


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def settle(
    asked: Any, links: Any, numbers: Any, wholes: Any, views: Any, rules: Any, b: int, now: float
) -> None:  # fmt: skip
    """Let a backend run until now, and its answers arrive."""
    is_reporting = rules[CARRIES] >= ANSWERS
    bring(asked, links, numbers, wholes, b, now, is_reporting)
    i = wholes[b, ANSWERING]
    while i >= 0 and i != wholes[b, HEAD] and asked[i, LEFT] + rules[RTT] <= now:
        r, at = links[i, ROUTER], asked[i, LEFT] + rules[RTT]
        answer(views, r, b, at, at - asked[i, CAME], rules[MEMORY])
        if is_reporting:
            hear(views, r, b, asked[i, LEFT], asked, i, SAID)
        i = wholes[b, ANSWERING] = links[i, AFTER]


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def _fill(
    x: Any, views: Any, desks: Any, wholes: Any, r: int, b: int, now: float
) -> None:  # fmt: skip
    """What the policy is told of one candidate by its router's own view."""
    x[0] = views[r, b, OUTSTANDING]
    x[1], x[2], x[3] = views[r, b, TOLD], views[r, b, TOLD + 1], views[r, b, TOLD + 2]
    x[4] = min(1e9, now - views[r, b, TAKEN])
    x[5], x[6] = min(float(REMEMBERED), views[r, b, SENT]), views[r, b, SENT_WORK]
    x[7], x[8] = views[r, b, TOLD + 3], views[r, b, TOLD + 4]
    x[9], x[10], x[11] = views[r, b, LATENCY], views[r, b, PEAK], min(1e9, now - views[r, b, QUIET])
    x[12] = wholes[b, SLOTS]
    turn = b - int(desks[r, NEXT])
    x[17] = turn if turn >= 0 else turn + len(wholes)


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def _look(
    x: Any, fresh: Any, asked: Any, links: Any, numbers: Any, wholes: Any, b: int, now: float, sees: float
) -> None:  # fmt: skip
    """What a reference view adds: the backend's report of this moment, or the truth."""
    report(numbers, wholes, b, now, fresh, 0, 0)
    x[1], x[2], x[3], x[7], x[8] = fresh[0, 0], fresh[0, 1], fresh[0, 2], fresh[0, 3], fresh[0, 4]
    x[4], x[5], x[6] = 0.0, 0.0, 0.0
    if sees == TRUTH:
        x[2], x[8] = true_wait(asked, links, numbers, wholes, b, now), 1.0 / numbers[b, SPEED]


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def _candidate(desks: Any, rules: Any, dice: Any, chosen: Any, r: int, turn: int, count: int) -> int:
    """The next candidate of a decision; `count`: backends."""
    if rules[CANDIDATES] == ALL:
        return turn
    if rules[CANDIDATES] == POOLS and desks[r, POOLED] >= 2:
        return int(desks[r, POOL + turn])
    while True:
        b = int(chance(dice) * count)
        is_new = True
        for other in range(CHOSEN, CHOSEN + turn):
            is_new = is_new and chosen[other] != b
        if is_new:
            chosen[CHOSEN + turn] = b
            return b


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def pick(
    x: Any, fresh: Any, asked: Any, links: Any, numbers: Any, wholes: Any, views: Any, desks: Any, state: Any,
    rules: Any, dice: Any, chosen: Any, r: int, now: float, hit: float, policy: Any, sign: float,
) -> int:  # fmt: skip
    """The candidate with the lowest score; with sign -1 the highest."""
    backends = len(wholes)
    count = backends
    if rules[CANDIDATES] == SAMPLE:
        count = min(count, int(rules[CHOICES]))
    elif rules[CANDIDATES] == POOLS:
        count = int(desks[r, POOLED]) if desks[r, POOLED] >= 2 else 1
    best, lowest, ties = 0, np.inf, 1
    mine = state[r]
    for turn in range(count):
        b = _candidate(desks, rules, dice, chosen, r, turn, backends)
        settle(asked, links, numbers, wholes, views, rules, b, now)
        _fill(x, views, desks, wholes, r, b, now)
        if rules[SEES] != OWN:
            _look(x, fresh, asked, links, numbers, wholes, b, now, rules[SEES])
        x[13], x[14] = hit if b == chosen[PRIOR] else 0.0, 1.0 if b == chosen[HOME] else 0.0
        x[18] = chance(dice)
        score = sign * policy(x, mine)
        if score < lowest:
            best, lowest, ties = b, score, 1
        elif score == lowest:
            ties += 1
            if chance(dice) * ties < 1.0:
                best = b
    return best


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def stalest(views: Any, r: int) -> int:
    """The backend that the router has heard of and asked least lately."""
    best, oldest = 0, np.inf
    for b in range(views.shape[1]):
        when = max(views[r, b, TAKEN], views[r, b, LAST])
        if when < oldest:
            best, oldest = b, when
    return best
