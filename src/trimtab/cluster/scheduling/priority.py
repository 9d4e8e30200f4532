"""What a scheduling policy is given and asked for, and the priority of a job by it, compiled."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from trimtab.adapters.programs import Input, Signature
from trimtab.cluster.scheduling.jobs import (
    ATTAINED,
    AWAY,
    GPUS,
    LOST,
    PREDICTED,
    RUNS,
    SPEED,
    STARTED,
    SUBMIT,
    TENANT,
    WHERE,
    WORK,
)

PRIORITY = Signature(
    "priority",
    (
        Input("gpus", "GPUs that the job asks for"),
        Input("predicted", "median of its predicted duration, seconds"),
        Input("left", "seconds of work that it still has, on average, by what is predicted and what it has done"),
        Input("rank", "its Gittins index, seconds: the least mean work for each chance that it ends; low is good"),
        Input("attained", "seconds of work done"),
        Input("waited", "seconds since it was submitted, less those of work done"),
        Input("submitted", "when it was submitted, seconds from the beginning of the log"),
        Input("running", "1 while it runs, else 0"),
        Input("runs", "how often it was started"),
        Input("restart", "seconds that a job loses when it is preempted and starts again"),
        Input("busy", "share of the cluster's GPUs that are in use"),
        Input("queue", "jobs that wait"),
        Input("tenant", "share of the cluster's GPUs that its tenant uses"),
    ),
    "its priority: the job with the lowest goes first; 1e15 or more: it is not started now, unless nothing runs",
    state=1,
)
AGING = ("waited", "busy", "queue", "tenant")
"""Inputs that change while a job waits: programs that use them are asked again at every review."""

HOLD = 1e15
STRICT, SKIP, EASY = range(3)
"""What happens when the first job in the queue does not fit: all wait; others may pass; others may pass that, by their
predicted durations, do not delay it (EASY backfill: Lifka 1995)."""
ORDER, PREEMPTS, REVIEW, RESTART, MOST, CLAIRVOYANT, AGES, LOOKS = range(8)
"""Options: the order above; whether running jobs may be preempted; seconds between reviews of priorities (0: none);
seconds a restart loses; how often a job may be preempted; whether `left` and `rank` are the truth (for the optimum);
whether priorities change while jobs wait; whether the program looks at `left` or `rank`."""
NOW, RUNNING, WAITING, USED, EVENTS, SEGMENTS, HOPELESS = range(7)
"""Of the clock: the time, jobs that run and wait, GPUs in use, events so far, segments written."""


@numba.njit(cache=True)
def work_done(job: int, now: float, floats: Any, ints: Any) -> float:
    """Seconds of work that a job has done."""
    ran = 0.0
    if ints[job, WHERE] != AWAY:
        ran = max(0.0, now - floats[job, STARTED] - floats[job, LOST]) * floats[job, SPEED]
    return float(floats[job, ATTAINED] + ran)


@numba.njit(cache=True)
def between(edges: Any, row: Any, value: float) -> float:
    """A table's row at a value, linear between the edges."""
    at = np.searchsorted(edges, value, side="right") - 1
    if at >= len(edges) - 1:
        return float(row[len(edges) - 1])
    share = (value - edges[at]) / (edges[at + 1] - edges[at])
    return float(row[at] * (1.0 - share) + row[at + 1] * share)


@numba.njit(cache=True)
def scored(job: int, world: Any, policy: Any, floats: Any, ints: Any) -> float:
    """The priority of a job now."""
    clock, edges, looks, options, tenants, inputs, state = world
    now, done = clock[NOW], work_done(job, clock[NOW], floats, ints)
    inputs[0], inputs[4] = ints[job, GPUS], done
    if options[CLAIRVOYANT]:
        inputs[1], inputs[2] = floats[job, WORK], floats[job, WORK] - done
        inputs[3] = inputs[2]
    elif options[LOOKS]:
        inputs[1] = floats[job, PREDICTED]
        inputs[2], inputs[3] = between(edges, looks[0, job], done), between(edges, looks[1, job], done)
    else:
        inputs[1] = floats[job, PREDICTED]
    inputs[5], inputs[6] = now - floats[job, SUBMIT] - done, floats[job, SUBMIT]
    inputs[7], inputs[8] = (1.0 if ints[job, WHERE] != AWAY else 0.0), ints[job, RUNS]
    inputs[9], inputs[11] = options[RESTART], clock[WAITING]
    inputs[10] = clock[USED] / tenants[0]
    inputs[12] = tenants[1 + ints[job, TENANT]] / tenants[0]
    return float(policy(inputs, state))
