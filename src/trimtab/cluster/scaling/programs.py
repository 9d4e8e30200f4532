"""Replica policies as programs: the known rules to be read, and what the search for better ones starts from."""

from __future__ import annotations

from typing import Any

FOLLOW = """
def desired(rate, busy, capacity, expected, ready, coming):
    now = 0
    before = 0
    for i in range(12):
        now += rate[i] / 12
        before += rate[i + 60] / 12
    ahead = now + max(0, now - before)
    want = 1.05 * max(ahead, 0.6 * expected)
    count = 0
    for n in range(513):
        if capacity[n] < want:
            count = n + 1
    return count
"""
"""Size for the recent rate and its trend, or for a share of the forecast, whichever is more."""

TRACK = """
def desired(rate, busy, capacity, expected, ready, coming):
    used = 0
    for i in range(12):
        used += busy[i] / 12
    total = ready + coming
    ratio = min(used, ready) / max(1, ready) / 0.7
    if ratio > 1:
        ratio = max(1, ratio * ready / max(1, total))
    if abs(ratio - 1) <= 0.1:
        return total
    return min(ceil(total * ratio), max(2 * total, total + 4))
"""
"""Kubernetes' horizontal pod autoscaler: keep the utilisation at 70 %."""

STAFF = """
def desired(rate, busy, capacity, expected, ready, coming):
    now = 0
    peak = 0
    for i in range(6):
        now += rate[i] / 6
    for i in range(60):
        peak = max(peak, rate[i])
    want = max(now, 0.9 * peak)
    load = want / max(0.000001, capacity[512]) * 512
    return load + 0.5 * sqrt(load) + 1
"""
"""Square-root staffing (Halfin and Whitt, 1981): the load, and a multiple of its root against chance."""

RISING = """
def desired(rate, busy, capacity, expected, ready, coming):
    now = 0
    slope = 0
    for i in range(6):
        now += rate[i] / 6
        slope += (rate[i] - rate[i + 12]) / 6
    state[0] = 0.8 * state[0] + 0.2 * slope
    want = 1.02 * now + 1.2 * max(0, state[0])
    count = 0
    for n in range(513):
        if capacity[n] < want:
            count = n + 1
    if count < ready + coming and slope > 0:
        count = ready + coming
    return count
"""
"""Size for the recent rate carried on along its smoothed slope; never shrink while the rate rises."""

LIBRARY: dict[str, str] = {"follow": FOLLOW, "track": TRACK, "staff": STAFF, "rising": RISING}


def written(plan: Any, service_seconds: float, replicas: int) -> str:
    """A plan of any kind as the text of a program: what runs, and what can be read. `replicas`: of a static plan."""
    if plan.kind == "program":
        return str(plan.program).strip() + "\n"
    steps = max(1, int(max(1.0, plan.window_seconds / 5)))
    body = {
        "static": _STATIC, "hpa": _HPA, "keda": _KEDA, "knative": _KNATIVE, "forecast": _FORECAST,
    }[plan.kind]  # fmt: skip
    return "def desired(rate, busy, capacity, expected, ready, coming):\n" + body.format(
        steps=steps,
        panic_steps=max(1, steps // 10),
        target=plan.target,
        panic=plan.panic,
        margin=1.0 + plan.margin,
        weight=plan.weight,
        trend=plan.trend,
        service=service_seconds,
        replicas=replicas,
        syncs=steps / 3,
    )


_STATIC = "    return {replicas}\n"
_HPA = """    used = 0
    for i in range({steps}):
        used += busy[i]
    total = max(1, ready + coming)
    ratio = min(used / {steps}, ready) / max(1, ready) / {target!r}
    if ratio > 1:
        ratio = max(1, ratio * ready / total)
    if abs(ratio - 1) <= 0.1:
        return total
    return min(ceil(total * ratio), max(2 * total, total + 4))
"""
_KEDA = """    asked = 0
    for i in range({steps}):
        asked += rate[i]
    total = max(1, ready + coming)
    needed = asked / {steps} * {service!r} / {target!r}
    if abs(needed / total - 1) <= 0.1:
        return total
    return min(ceil(needed), max(2 * total, total + 4))
"""
_KNATIVE = """    used = 0
    burst = 0
    for i in range({steps}):
        used += busy[i]
        if i < {panic_steps}:
            burst += busy[i]
    total = max(1, ready + coming)
    stable = ceil(used / {steps} / {target!r})
    panic = ceil(burst / {panic_steps} / {target!r})
    state[0] -= 1
    if panic >= {panic!r} * max(1, ready):
        state[0] = {syncs!r}
    if state[0] > 0:
        return max(panic, stable, total)
    return max(stable, floor(total / 2))
"""
_FORECAST = """    now = 0
    before = 0
    for i in range({steps}):
        now += rate[i] / {steps}
        before += rate[i + 60] / {steps}
    ahead = now + max(0, {trend!r} * (now - before))
    hoped = expected if expected >= 0 else ahead
    want = {margin!r} * max({weight!r} * hoped, ahead)
    count = 0
    for n in range(513):
        if capacity[n] < want:
            count = n + 1
    return count
"""
