"""Replays a job log against a scheduling policy, event by event, compiled.

A policy program gives every job a priority, the lowest first. Jobs are gangs: they hold all of their GPUs, or none. A
job that is preempted keeps its work and loses `restart` seconds when it comes back. Nothing is random.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from trimtab.adapters.programs import POLICY
from trimtab.cluster.scheduling.dispatch import C_BASE, C_SIZE, fill, preempt, stop, wait
from trimtab.cluster.scheduling.jobs import FINISH, SCORE, SUBMIT, sift_down
from trimtab.cluster.scheduling.nodes import empty_nodes
from trimtab.cluster.scheduling.priority import (
    AGES,
    EVENTS,
    NOW,
    PREEMPTS,
    PRIORITY,
    REVIEW,
    RUNNING,
    WAITING,
    scored,
)


@numba.njit(cache=True)
def _review(world: Any, classes: Any, queue: Any, policy: Any, floats: Any, ints: Any) -> None:
    """Ask for the priority of every job again that may have changed."""
    for at in range(int(world[0][RUNNING])):
        job = queue[1][at]
        floats[job, SCORE] = scored(job, world, policy, floats, ints)
    if world[3][AGES] == 0:
        return
    for one in classes:
        base, size = one[C_BASE], one[C_SIZE]
        for at in range(base, base + size):
            job = queue[0][at]
            floats[job, SCORE] = queue[2][at] = scored(job, world, policy, floats, ints)
        for at in range(size // 2 - 1, -1, -1):
            sift_down(queue[0], queue[2], queue[4][:0], base, at, size)


_WIDTH = PRIORITY.width
_F1, _F2, _I1, _I2 = numba.f8[::1], numba.f8[:, ::1], numba.i8[::1], numba.i8[:, ::1]


@numba.njit(numba.f8[::1](_F2, _I2, numba.f4[:, :, ::1], _F1, _I2, _I2, _F1, _F1, _F1, _F2, POLICY), cache=True)
def run_jobs(
    floats: Any, ints: Any, looks: Any, edges: Any, classes: Any, groups: Any, speeds: Any, quotas: Any, options: Any,
    segments: Any, policy: Any,
) -> Any:  # fmt: skip
    """Run all jobs (rows of `floats` and `ints`, in the order of submission) to their end; the rows are written to.

    looks: (2, jobs, edges) work left and rank by work done; edges: seconds; segments: rows to write (job, from, until,
    group) into, as many as there is room for. Returns the clock (`priority.NOW` …).
    """
    count = len(floats)
    clock, tenants = np.zeros(7), np.zeros(len(quotas) + 1)
    nodes, buckets = empty_nodes(groups)
    for group in groups:
        tenants[0] += group[0] * group[1]
    inputs, state = np.zeros(_WIDTH), np.zeros(1)
    world = (clock, edges, looks, options, tenants, inputs, state)
    cluster = (groups, nodes, buckets, speeds, quotas)
    # Of what waits and of what runs: jobs and keys; and where a running job is in its heap.
    queue = (
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.zeros(count),
        np.zeros(count),
        np.zeros(count, np.int64),
    )
    tried = np.zeros(len(classes), np.bool_)
    arrived, review = 0, options[REVIEW] if options[REVIEW] > 0 else np.inf
    while arrived < count or clock[RUNNING] > 0:
        now = floats[arrived, SUBMIT] if arrived < count else np.inf
        if clock[RUNNING] > 0:
            now = min(now, queue[3][0])
        if clock[WAITING] > 0 and review < now:
            now = review
        clock[NOW] = now
        while clock[RUNNING] > 0 and queue[3][0] <= now:
            job = queue[1][0]
            stop(job, world, cluster, queue, segments, floats, ints)
            floats[job, FINISH] = now
            clock[EVENTS] += 1
        while arrived < count and floats[arrived, SUBMIT] <= now:
            floats[arrived, SCORE] = scored(arrived, world, policy, floats, ints)
            wait(arrived, world, classes, queue, floats, ints)
            arrived += 1
            clock[EVENTS] += 1
        if clock[WAITING] > 0:
            fill(world, cluster, classes, queue, tried, policy, floats, ints)
        if clock[WAITING] == 0:
            continue
        if now >= review:
            review = (np.floor(now / options[REVIEW]) + 1.0) * options[REVIEW]
            _review(world, classes, queue, policy, floats, ints)
            fill(world, cluster, classes, queue, tried, policy, floats, ints)
        if options[PREEMPTS]:
            while clock[WAITING] > 0 and preempt(world, cluster, classes, queue, segments, policy, floats, ints):
                clock[EVENTS] += 1
                fill(world, cluster, classes, queue, tried, policy, floats, ints)
    return clock
