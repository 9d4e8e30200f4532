"""Policies for deferrable work as programs: the known ones to be read, and what the search for better ones starts from.

Spot (`spot.MARKET`): on demand only; greedy spot; uniform progress (Wu et al., "Can't Be Late", NSDI 2024); and ours,
which keeps of the slack what the changeovers still to come will need, and idles with the rest. Windows
(`windows.DEFER`): at once; the lowest steps of a forecast; the lowest piece; below a quantile of the last days.
"""

from __future__ import annotations

from trimtab.cluster.deferring.spot import MARKET
from trimtab.cluster.deferring.windows import DEFER

ON_DEMAND = f"{MARKET.head}\n    return 2\n"
"""Never wait, never be preempted."""

GREEDY = f"{MARKET.head}\n    return 1\n"
"""Spot whenever there is any; the shield goes on demand when the slack is used up."""

UNIFORM = f"""{MARKET.head}
    pace = elapsed * (done + remaining) / (elapsed + left)
    if slack < 2 * overhead:
        return 2
    if spot:
        return 1
    if running == 2 and done < pace + 2 * overhead:
        return 2
    if done < pace:
        return 2
    return 0
"""
"""Uniform progress: spot when there is any, on demand while behind an even pace, with a hysteresis of two changeovers.

As in Wu et al. (NSDI 2024): the slack that is left is never spent on what a changeover back would need.
"""

RESERVE = f"""{MARKET.head}
    need = pow(overhead, 0.8) * (0.8 * left + 1.2 * sqrt(left))
    free = max(0, slack - need)
    scarce = need / max(slack, overhead)
    if spot:
        if running == 2 and lasts > 0 and lasts < overhead * (3 + scarce):
            return 2
        return 1
    if running == 2 and free < 0.7 * (1 - share) * left + 30 * overhead:
        return 2
    if slack > overhead and lasted <= free * (50 / left + 0.6):
        return 0
    return 2
"""
"""Keep of the slack what the changeovers still to come will need; idle with the rest, at the beginning of each stretch
without spot, since most are short. On demand stays there while the slack is scarce and spot is not expected to last.

The constants were chosen on the first halves of the markets of "Can't Be Late" and on nine others of 2023.
"""

SPOT_POLICIES: dict[str, str] = {
    "on demand": ON_DEMAND,
    "greedy": GREEDY,
    "uniform progress": UNIFORM,
    "reserve": RESERVE,
}

AT_ONCE = f"{DEFER.head}\n    return 1\n"
"""Do not wait."""

LOWEST = f"""{DEFER.head}
    lower = 0
    for i in range(96):
        if i >= left:
            break
        if expected[i] < expected[0]:
            lower += 1
    return lower < remaining
"""
"""Run when fewer of the steps left are expected to be lower than there is work, looking again at every step."""

PIECE = f"""{DEFER.head}
    size = remaining
    now = 0
    for i in range(96):
        if i < size:
            now += expected[i]
    total = now
    for i in range(96):
        if i + size >= left:
            break
        total += expected[i + size] - expected[i]
        if total < now:
            return 0
    return 1
"""
"""Begin when no later piece of the window is expected to be lower, looking again at every step."""

QUANTILE = f"""{DEFER.head}
    lower = 0
    for i in range(168):
        if past[i] < past[0]:
            lower += 1
    return lower / 168 <= remaining / left
"""
"""Run when the last step was lower than the share of the last week that the work needs of its window."""

LEVELLED = f"""{DEFER.head}
    gap = past[0] - state[0]
    state[0] = expected[0]
    fade = 1
    size = 0.6 * gap
    lower = 0
    for i in range(96):
        if i >= left:
            break
        if expected[i] + size * (fade - 1) < expected[0]:
            lower += 1
        fade = 0.8 * fade
    return lower < remaining
"""
"""The lowest steps of a forecast that is moved by its last error, which fades."""

WINDOW_POLICIES: dict[str, str] = {
    "at once": AT_ONCE,
    "quantile": QUANTILE,
    "lowest": LOWEST,
    "piece": PIECE,
    "levelled": LEVELLED,
}
