"""Replays a job log against a scheduling policy, event by event, compiled.

A policy program gives every job a priority, the lowest first. Jobs are gangs: they hold all of their GPUs, or none. A
job that is preempted keeps its work and loses `restart` seconds when it comes back. Nothing is random.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from trimtab.adapters.programs import POLICY, Policy, borrowed
from trimtab.cluster.scheduling.dispatch import C_BASE, C_SIZE, fill, preempt, stop, wait
from trimtab.cluster.scheduling.jobs import FINISH, SCORE, SUBMIT, sift_down
from trimtab.cluster.scheduling.nodes import COUNT, SIZE, empty_nodes
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


_F1, _F2, _I1, _I2 = numba.f8[::1], numba.f8[:, ::1], numba.i8[::1], numba.i8[:, ::1]
_LOOKS, _TRIED = numba.f4[:, :, ::1], numba.b1[::1]
_WORLD = numba.types.Tuple((_F1, _F1, _LOOKS, _F1, _F1, _F1, _F1))  # type: ignore[no-untyped-call]
_CLUSTER = numba.types.Tuple((_I2, _I2, _I1, _F1, _F1))  # type: ignore[no-untyped-call]
_QUEUE = numba.types.Tuple((_I1, _I1, _F1, _F1, _I1))  # type: ignore[no-untyped-call]


# numba's cache looks at the time of this file only: touch it when a kernel of another file has changed.
@numba.njit(numba.void(_F2, _I2, _I2, _F2, _TRIED, _WORLD, _CLUSTER, _QUEUE, POLICY), cache=True)
def _run(
    floats: Any, ints: Any, classes: Any, segments: Any, tried: Any, world: Any, cluster: Any, queue: Any, policy: Any
) -> None:  # fmt: skip
    """Run all jobs to their end; the tables are written to."""
    floats, ints, classes, segments, tried = (
        borrowed(floats), borrowed(ints), borrowed(classes), borrowed(segments), borrowed(tried),
    )  # fmt: skip
    clock, edges, looks, options, tenants, inputs, state = world
    clock, options = borrowed(clock), borrowed(options)
    world = (
        clock, borrowed(edges), borrowed(looks), options, borrowed(tenants), borrowed(inputs), borrowed(state),
    )  # fmt: skip
    groups, nodes, buckets, speeds, quotas = cluster
    cluster = (borrowed(groups), borrowed(nodes), borrowed(buckets), borrowed(speeds), borrowed(quotas))
    waiting, running, scores, ends, places = queue
    queue = (borrowed(waiting), borrowed(running), borrowed(scores), borrowed(ends), borrowed(places))
    count = len(floats)
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


def run_jobs(jobs: Any, predicted: Any, cluster: Any, options: Any, segments: Any, policy: Policy) -> Any:
    """Run all jobs to their end. Returns the clock (`priority.NOW` …).

    jobs: floats, integers (rows in the order of submission, which are written to) and classes. predicted: (2, jobs,
    edges) work left and rank by work done, and the edges in seconds. cluster: groups, speeds, quotas. segments: rows to
    write (job, from, until, group) into, as many as there is room for.
    """
    (floats, ints, classes), (looks, edges), (groups, speeds, quotas) = jobs, predicted, cluster
    count, clock, tenants = len(floats), np.zeros(7), np.zeros(len(quotas) + 1)
    tenants[0] = (groups[:, SIZE] * groups[:, COUNT]).sum()
    nodes, buckets = empty_nodes(groups)
    world = (clock, edges, looks, options, tenants, np.zeros(PRIORITY.width), np.zeros(1))
    # Of what waits and of what runs: jobs and keys; and where a running job is in its heap.
    waiting, running, places = (np.zeros(count, np.int64) for _ in range(3))
    queue = (waiting, running, np.zeros(count), np.zeros(count), places)
    tried = np.zeros(len(classes), np.bool_)
    _run(floats, ints, classes, segments, tried, world, (groups, nodes, buckets, speeds, quotas), queue, policy)
    return clock
