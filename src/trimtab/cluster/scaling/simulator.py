"""Replays a rate series against a replica policy, second by second, compiled.

The queue is followed as a fluid (its backlog decides who is late while replicas are too few), the randomness within a
replica by the steady-state formulas of `queueing` (who is late while there are enough): the queue settles within a
second or so, the step is five. `requests.py` simulates single requests; the tests hold the two against each other.
Replicas are billed from the moment that they are asked for; they serve after the cold start. A controller sees the
means of past steps only, `LAG` seconds late, and acts every 15 s, as Kubernetes' does. Where measurements are lost, it
sees the last one, and after half a minute none of them changes anything (Kubernetes' autoscaler does not, either).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from trimtab.adapters.programs import POLICY, Input, Signature
from trimtab.cluster.scaling.queueing import late_share, least_servers

Series = npt.NDArray[np.float64]

STEP = 5.0  # seconds
SYNC_STEPS = 3
LAG_STEPS = 3
STALE_STEPS = 6  # without a measurement, after which the number of replicas stays
TOLERANCE = 0.1  # of Kubernetes' autoscaler: smaller deviations change nothing
STATIC, HPA, KEDA, KNATIVE, FORECAST, PROGRAM = range(6)

RECENT = 240  # steps of the recent past that a program sees: 20 minutes
SIZED = 513  # a program sees the highest rates of 0 … 512 replicas
DESIRED = Signature(
    "desired",
    (
        Input("rate", "requests/s in steps of 5 s, the newest first, which is 15 s old", RECENT),
        Input("busy", "replicas that were at work, with the work that waited, in the same steps", RECENT),
        Input("capacity", "the highest rate, in requests/s, that 0, 1, 2 … replicas serve within the promise", SIZED),
        Input("expected", "requests/s: the highest forecast of the next three minutes; -1 where there is none"),
        Input("ready", "replicas that serve"),
        Input("coming", "replicas that were asked for and do not serve yet"),
    ),
    "replicas to have, rounded up; below 0: as many as there are",
    state=8,
    when_nan=-1.0,
)


@dataclass(frozen=True)
class Service:
    """What serves: one request's CPU seconds on a replica, and what is promised."""

    service_seconds: float  # wall time of one request on an idle replica
    allowed_seconds: float  # that a request may wait on top of it
    cold_start_seconds: float = 60.0
    spread: float = 1.0  # squared coefficient of variation of the service time
    most: int = 2000  # replicas


_MEMORY = 720  # steps that are remembered: an hour


@numba.njit(cache=True)
def _look(inputs: Any, step: int, rate: Any, busy: Any, forecast: float, ready: int, coming: int) -> None:
    """What a program may know at a step."""
    for back in range(RECENT):
        then = max(0, step - LAG_STEPS - back)
        inputs[back] = rate[then % _MEMORY]
        inputs[RECENT + back] = busy[then % _MEMORY]
    inputs[2 * RECENT + SIZED] = forecast if forecast == forecast else -1.0
    inputs[2 * RECENT + SIZED + 1] = ready
    inputs[2 * RECENT + SIZED + 2] = coming


@numba.njit(cache=True)
def _steadied(desired: int, total: int, wanted: Any, syncs: int, window: int) -> int:
    """The replicas to have: before going down, the highest number wanted in the last `window` syncs counts."""
    target = desired
    if desired < total:
        for back in range(min(syncs, max(1, window))):
            target = max(target, wanted[(syncs - 1 - back) % _MEMORY])
    return target


@numba.njit(cache=True)
def _serve(rate: float, ready: int, backlog: float, service: Any, steady: float) -> Any:
    """One step of the queue: (share of its arrivals that are late, backlog at its end, busy replicas)."""
    if ready < 1:
        return 1.0, backlog + rate * STEP, 0.0
    arrivals, capacity = rate * STEP, ready * STEP / service[0]
    first = backlog * service[0] / ready
    left = max(0.0, backlog + arrivals - capacity)
    last = left * service[0] / ready
    busy = min(float(ready), (backlog + arrivals) * service[0] / STEP)
    if first <= 0.0 and last <= 0.0:
        return steady, left, busy
    # The wait of an arrival runs linearly from `first` to `last` within the step.
    low, high = min(first, last), max(first, last)
    if high <= service[1]:
        fluid = 0.0
    elif low >= service[1]:
        fluid = 1.0
    else:
        fluid = (high - service[1]) / (high - low)
    return max(fluid, steady), left, busy


@numba.njit(cache=True)
def _mean(past: Any, step: int, window: int) -> float:
    newest = step - LAG_STEPS
    window = max(1, min(window, newest + 1))
    total = 0.0
    if newest < 0:
        return float(past[0])
    for back in range(window):
        total += past[(newest - back) % _MEMORY]
    return total / window


@numba.njit(cache=True)
def _desired(
    step: int, kind: int, knobs: Any, needs: Any, service: Any, past_rate: Any, past_busy: Any,
    ready: int, coming: int, forecast: float, panic_until: int,
) -> Any:  # fmt: skip
    """What the policy wants now, and until when Knative's panic lasts."""
    window, target = int(knobs[2]), knobs[1]
    total = max(1, ready + coming)
    if kind == STATIC:
        return math.ceil(knobs[0]), panic_until
    if kind == HPA:
        # Replicas that are not ready yet count as idle, so that one rise is not answered twice.
        ratio = min(_mean(past_busy, step, window), float(ready)) / max(1, ready) / target
        if ratio > 1.0:
            ratio = max(1.0, ratio * ready / total)
        if abs(ratio - 1.0) <= TOLERANCE:
            return total, panic_until
        return min(math.ceil(total * ratio), max(2 * total, total + 4)), panic_until
    if kind == KEDA:
        needed = _mean(past_rate, step, window) * service[0] / target
        if abs(needed / total - 1.0) <= TOLERANCE:
            return total, panic_until
        return min(math.ceil(needed), max(2 * total, total + 4)), panic_until
    if kind == KNATIVE:
        stable = math.ceil(_mean(past_busy, step, window) / target)
        panic = math.ceil(_mean(past_busy, step, max(1, window // 10)) / target)
        if panic >= knobs[6] * max(1, ready):
            panic_until = step + window
        if step < panic_until:
            return max(panic, stable, total), panic_until
        return max(stable, total // 2), panic_until
    now = _mean(past_rate, step, window)
    before = _mean(past_rate, max(0, step - 60), window)
    ahead = now + max(0.0, knobs[5] * (now - before))
    expected = forecast if forecast == forecast else ahead  # NaN: no week has passed yet
    return least_servers((1.0 + knobs[4]) * max(knobs[0] * expected, ahead), needs), panic_until


@numba.njit(cache=True)
def _shrink(count: int, ready: int, coming: int, pending: Any) -> Any:
    """Take away replicas: those that are still starting first, the youngest before the older."""
    for place in range(len(pending)):
        taken = min(count, pending[place])
        pending[place] -= taken
        coming -= taken
        count -= taken
    return ready - count, coming


_FLOATS = numba.f8[::1]
_SERIES = numba.types.UniTuple(_FLOATS, 3)  # type: ignore[no-untyped-call]


@numba.njit(_SERIES(_FLOATS, _FLOATS, numba.b1[::1], numba.i8, _FLOATS, _FLOATS, _FLOATS, numba.i8, POLICY), cache=True)
def replay(
    rates: Any, forecast: Any, heard: Any, kind: int, knobs: Any, needs: Any, service: Any, start: int, policy: Any
) -> Any:  # fmt: skip
    """Replay minutes of `rates` (requests/s). Returns (replicas billed, share late, requests late), each by minute.

    knobs: [level, target, window steps, stabilisation steps, margin, trend, panic]; needs: `highest_rates` for the
    forecast policy; service: [service s, allowed s, cold start steps, spread, most]; `policy` is asked if the kind is
    PROGRAM, else it is not. heard: for each step whether what was measured in it arrived; empty: all did.
    """
    minutes = len(rates)
    per_minute = int(60 / STEP)
    cold, most = int(service[2]), int(service[4])
    billed, late, late_requests = np.zeros(minutes), np.zeros(minutes), np.zeros(minutes)
    pending = np.zeros(cold + 1, np.int64)
    past_rate, past_busy = np.zeros(_MEMORY), np.zeros(_MEMORY)
    wanted = np.ones(_MEMORY, np.int64)
    ready, coming, backlog = start, 0, 0.0
    known_rate, known_ready, steady, panic_until, syncs, deaf = -1.0, -1, 0.0, -1, 0, 0
    inputs, state = np.zeros(2 * RECENT + SIZED + 3), np.zeros(8)
    inputs[2 * RECENT : 2 * RECENT + SIZED] = needs[len(needs) - 1]
    inputs[2 * RECENT : 2 * RECENT + min(SIZED, len(needs))] = needs[:SIZED]
    for step in range(minutes * per_minute):
        minute = step // per_minute
        rate = rates[minute]
        due = pending[step % (cold + 1)]
        if due:
            pending[step % (cold + 1)] = 0
            ready, coming = ready + due, coming - due
        if rate != known_rate or ready != known_ready:
            steady = late_share(rate, ready, service[0], service[1], service[3])
            known_rate, known_ready = rate, ready
        share, backlog, busy = _serve(rate, ready, backlog, service, steady)
        billed[minute] += (ready + coming) / per_minute
        late[minute] += share / per_minute
        late_requests[minute] += share * rate * STEP
        if step == 0 or len(heard) == 0 or heard[step]:
            past_rate[step % _MEMORY], past_busy[step % _MEMORY], deaf = rate, busy + backlog * service[0] / STEP, 0
        else:
            before = (step - 1) % _MEMORY
            past_rate[step % _MEMORY], past_busy[step % _MEMORY], deaf = past_rate[before], past_busy[before], deaf + 1
        if step % SYNC_STEPS:
            continue
        if deaf > STALE_STEPS:
            desired = ready + coming
        elif kind == PROGRAM:
            _look(inputs, step, past_rate, past_busy, forecast[minute], ready, coming)
            answer = policy(inputs, state)
            desired = ready + coming if answer < 0.0 else int(min(np.ceil(answer), float(most)))
        else:
            desired, panic_until = _desired(
                step, kind, knobs, needs, service, past_rate, past_busy, ready, coming, forecast[minute], panic_until
            )
        wanted[syncs % _MEMORY] = desired
        syncs += 1
        total = ready + coming
        target = max(1, min(most, _steadied(desired, total, wanted, syncs, int(knobs[3]) // SYNC_STEPS)))
        if target > total:
            pending[(step + cold) % (cold + 1)] += target - total
            coming += target - total
        elif target < total:
            ready, coming = _shrink(total - target, ready, coming, pending)
    return billed, late, late_requests
