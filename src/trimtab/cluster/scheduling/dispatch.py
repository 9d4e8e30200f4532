"""Who runs: starting, stopping, filling the cluster, backfilling and preempting, compiled.

Jobs that wait are kept in one heap for each class (GPUs, the group of nodes asked for, the tenant if it has a quota),
so that the best job that fits is found without walking the queue.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from trimtab.cluster.scheduling.jobs import (
    AT,
    ATTAINED,
    CLASS,
    END,
    EVICTED,
    FIRST,
    GPUS,
    LOST,
    PREDICTED,
    RUNS,
    SCORE,
    SPEED,
    STARTED,
    TENANT,
    WHERE,
    WORK,
    is_before,
    push,
    remove,
    sift_down,
)
from trimtab.cluster.scheduling.nodes import add_gain, group_for, place, release, would_fit
from trimtab.cluster.scheduling.priority import (
    AGES,
    EASY,
    HOLD,
    MOST,
    NOW,
    ORDER,
    RESTART,
    RUNNING,
    SEGMENTS,
    SKIP,
    USED,
    WAITING,
    between,
    scored,
    work_done,
)

C_GPUS, C_GROUP, C_TENANT, C_BASE, C_SIZE = range(5)
"""Of a class: GPUs, group or -1, tenant with a quota or -1, where its heap begins, jobs in it."""
FEW = 8  # victims that are looked for one by one
DEPTH = 128  # jobs that EASY looks at for one that may pass


@numba.njit(cache=True)
def start(job: int, group: int, world: Any, cluster: Any, queue: Any, floats: Any, ints: Any) -> None:
    """Start a job that was taken out of its heap."""
    clock, _, _, options, tenants, _, _ = world
    groups, nodes, buckets, speeds, _ = cluster
    place(job, group, ints, nodes, buckets, groups)
    now, speed = clock[NOW], speeds[group]
    lost = options[RESTART] if ints[job, RUNS] > 0 else 0.0
    floats[job, STARTED], floats[job, LOST], floats[job, SPEED] = now, lost, speed
    floats[job, END] = now + lost + (floats[job, WORK] - floats[job, ATTAINED]) / speed
    if ints[job, RUNS] == 0:
        floats[job, FIRST] = now
    ints[job, RUNS] += 1
    clock[USED] += ints[job, GPUS]
    tenants[1 + ints[job, TENANT]] += ints[job, GPUS]
    push(queue[1], queue[3], queue[4], 0, int(clock[RUNNING]), job, floats[job, END])
    clock[RUNNING] += 1


@numba.njit(cache=True)
def stop(job: int, world: Any, cluster: Any, queue: Any, segments: Any, floats: Any, ints: Any) -> None:
    """Take a running job off its GPUs, for good or not."""
    clock, _, _, _, tenants, _, _ = world
    groups, nodes, buckets, _, _ = cluster
    remove(queue[1], queue[3], queue[4], 0, int(clock[RUNNING]), queue[4][job])
    clock[RUNNING] -= 1
    if clock[SEGMENTS] < len(segments):
        row = segments[int(clock[SEGMENTS])]
        row[0], row[1], row[2], row[3] = job, floats[job, STARTED], clock[NOW], ints[job, AT]
        clock[SEGMENTS] += 1
    floats[job, ATTAINED] = work_done(job, clock[NOW], floats, ints)
    release(job, ints, nodes, buckets, groups)
    clock[USED] -= ints[job, GPUS]
    tenants[1 + ints[job, TENANT]] -= ints[job, GPUS]


@numba.njit(cache=True)
def wait(job: int, world: Any, classes: Any, queue: Any, floats: Any, ints: Any) -> None:
    """Put a job, scored before, into the heap of its class."""
    mine = classes[ints[job, CLASS]]
    push(queue[0], queue[2], queue[4][:0], mine[C_BASE], mine[C_SIZE], job, floats[job, SCORE])
    mine[C_SIZE] += 1
    world[0][WAITING] += 1


@numba.njit(cache=True)
def _leave(job: int, world: Any, classes: Any, queue: Any, floats: Any, ints: Any) -> None:
    """Take a job, the first of its class, out of its heap."""
    mine = classes[ints[job, CLASS]]
    remove(queue[0], queue[2], queue[4][:0], mine[C_BASE], mine[C_SIZE], 0)
    mine[C_SIZE] -= 1
    world[0][WAITING] -= 1


@numba.njit(cache=True)
def _is_allowed(one: Any, tenants: Any, quotas: Any) -> bool:
    """Whether the quota of a class's tenant has room for one more of its jobs."""
    return bool(one[C_TENANT] < 0 or tenants[1 + one[C_TENANT]] + one[C_GPUS] <= quotas[one[C_TENANT]])


@numba.njit(cache=True)
def _first(world: Any, cluster: Any, classes: Any, queue: Any, tried: Any, fitting: bool) -> int:
    """The waiting job that goes first, of the classes not tried; only of those with room now, if `fitting`."""
    groups, nodes, buckets, _, quotas = cluster
    best, lowest, may_all = -1, np.inf, world[0][RUNNING] == 0  # nobody is held back for nobody's sake
    for at in range(len(classes)):
        one = classes[at]
        if one[C_SIZE] == 0 or tried[at]:
            continue
        job, key = queue[0][one[C_BASE]], queue[2][one[C_BASE]]
        if (key >= HOLD and not may_all) or (best >= 0 and not is_before(key, job, lowest, best)):
            continue
        if not _is_allowed(one, world[4], quotas):
            continue
        if fitting and group_for(one[C_GPUS], one[C_GROUP], nodes, buckets, groups) < 0:
            continue
        best, lowest = job, key
    return int(best)


@numba.njit(cache=True)
def _asked_again(job: int, world: Any, classes: Any, queue: Any, policy: Any, floats: Any, ints: Any) -> bool:
    """Whether the job, at the top of its class, stays as good as it was when it was scored; if not it is moved."""
    fresh = scored(job, world, policy, floats, ints)
    stays = fresh <= floats[job, SCORE]
    floats[job, SCORE] = fresh
    if not stays:
        one = classes[ints[job, CLASS]]
        queue[2][one[C_BASE]] = fresh
        sift_down(queue[0], queue[2], queue[4][:0], one[C_BASE], 0, one[C_SIZE])
    return bool(stays)


@numba.njit(cache=True)
def fill(world: Any, cluster: Any, classes: Any, queue: Any, tried: Any, policy: Any, floats: Any, ints: Any) -> None:
    """Start what may be started without preempting."""
    groups, nodes, buckets, _, _ = cluster
    order, ages = world[3][ORDER], world[3][AGES] > 0
    tried[:] = False
    while world[0][WAITING] > 0:
        job = _first(world, cluster, classes, queue, tried, order == SKIP)
        if job < 0:
            return
        one = classes[ints[job, CLASS]]
        group = group_for(one[C_GPUS], one[C_GROUP], nodes, buckets, groups)
        if group < 0:
            if order == EASY:
                _backfill(job, world, cluster, classes, queue, tried, floats, ints)
            return
        if ages and not _asked_again(job, world, classes, queue, policy, floats, ints):
            continue
        _leave(job, world, classes, queue, floats, ints)
        start(job, group, world, cluster, queue, floats, ints)


@numba.njit(cache=True)
def _shadow(head: int, world: Any, cluster: Any, classes: Any, queue: Any, floats: Any, ints: Any) -> Any:
    """(when the first job will have room by the predicted ends, GPUs that end by then on each node)."""
    clock, edges, looks, _, _, _, _ = world
    groups, nodes, _, _, _ = cluster
    running, one = int(clock[RUNNING]), classes[ints[head, CLASS]]
    ends = np.zeros(running)
    for at in range(running):
        job = queue[1][at]
        left = between(edges, looks[0, job], work_done(job, clock[NOW], floats, ints)) / floats[job, SPEED]
        ends[at] = clock[NOW] + left
    gain = np.zeros(len(nodes), np.int64)
    for at in np.argsort(ends):
        job = queue[1][at]
        add_gain(job, gain, ints, nodes, groups, 1)
        if would_fit(one[C_GPUS], one[C_GROUP], ints[job, WHERE], gain, nodes, groups):
            return ends[at], gain
    return np.inf, gain


@numba.njit(cache=True)
def _leaves_room(job: int, group: int, head: int, gain: Any, cluster: Any, classes: Any, ints: Any) -> bool:
    """Whether the first job will still have room then if this one has its GPUs for longer."""
    groups, nodes, buckets, _, _ = cluster
    one = classes[ints[head, CLASS]]
    place(job, group, ints, nodes, buckets, groups)
    fits = would_fit(one[C_GPUS], one[C_GROUP], -1, gain, nodes, groups)
    release(job, ints, nodes, buckets, groups)
    return bool(fits)


@numba.njit(cache=True)
def _backfill(
    head: int, world: Any, cluster: Any, classes: Any, queue: Any, tried: Any, floats: Any, ints: Any
) -> None:
    """Start jobs behind the first that end before it can begin, or leave it its GPUs."""
    groups, nodes, buckets, speeds, _ = cluster
    until, gain = _shadow(head, world, cluster, classes, queue, floats, ints)
    passed, count = np.empty(DEPTH, np.int64), 0
    while count < DEPTH and world[0][WAITING] > 0:
        job = _first(world, cluster, classes, queue, tried, True)
        if job < 0:
            break
        _leave(job, world, classes, queue, floats, ints)
        one = classes[ints[job, CLASS]]
        group = group_for(one[C_GPUS], one[C_GROUP], nodes, buckets, groups)
        ends = world[0][NOW] + (floats[job, PREDICTED] - floats[job, ATTAINED]) / speeds[group]
        if ends <= until or _leaves_room(job, group, head, gain, cluster, classes, ints):
            start(job, group, world, cluster, queue, floats, ints)
        else:
            passed[count] = job
            count += 1
    for at in range(count):
        wait(passed[at], world, classes, queue, floats, ints)


@numba.njit(cache=True)
def preempt(
    world: Any, cluster: Any, classes: Any, queue: Any, segments: Any, policy: Any, floats: Any, ints: Any
) -> bool:
    """Give the GPUs of running jobs to one that goes before them. True when something changed."""
    groups, nodes, _, _, _ = cluster
    running, count = queue[1], int(world[0][RUNNING])
    tried, gain = np.zeros(len(classes), np.bool_), np.zeros(len(nodes), np.int64)
    scores, held, last = np.empty(count), np.empty(count, np.int64), -np.inf
    for at in range(count):
        may = ints[running[at], EVICTED] < world[3][MOST]
        scores[at], held[at] = floats[running[at], SCORE] if may else -np.inf, ints[running[at], GPUS]
        last = max(last, scores[at])
    while True:
        job = _first(world, cluster, classes, queue, tried, False)
        if job < 0 or not last > floats[job, SCORE]:
            return False
        if _could_fit(job, scores, held, world, floats, ints):
            victims = _victims(job, world, cluster, classes, queue, scores, gain, policy, floats, ints)
            if len(victims) > 0:
                break
        tried[ints[job, CLASS]] = True
    for victim in victims:
        stop(victim, world, cluster, queue, segments, floats, ints)
        ints[victim, EVICTED] += 1
        floats[victim, SCORE] = scored(victim, world, policy, floats, ints)
        wait(victim, world, classes, queue, floats, ints)
    _leave(job, world, classes, queue, floats, ints)
    one = classes[ints[job, CLASS]]
    start(job, group_for(one[C_GPUS], one[C_GROUP], nodes, cluster[2], groups), world, cluster, queue, floats, ints)
    floats[job, SCORE] = scored(job, world, policy, floats, ints)
    return True


@numba.njit(cache=True)
def _could_fit(job: int, scores: Any, held: Any, world: Any, floats: Any, ints: Any) -> bool:
    """Whether what is free and what those behind a job hold is as much as it needs, wherever it is."""
    have = world[4][0] - world[0][USED]
    for at in range(len(scores)):
        if scores[at] > floats[job, SCORE]:
            have += held[at]
    return bool(have >= ints[job, GPUS])


@numba.njit(cache=True)
def _worst(scores: Any, above: float) -> int:
    """The place of the highest score above a number, or -1."""
    found, most = -1, above
    for at in range(len(scores)):
        if scores[at] > most:
            found, most = at, scores[at]
    return found


@numba.njit(cache=True)
def _victims(
    job: int,
    world: Any,
    cluster: Any,
    classes: Any,
    queue: Any,
    scores: Any,
    gain: Any,
    policy: Any,
    floats: Any,
    ints: Any,
) -> Any:
    """The running jobs that a job would go before and whose GPUs it needs; none when theirs are not enough.

    `scores` of what runs may be too high: what goes forward while it runs is scored when it is looked at.
    """
    groups, nodes, _, _, _ = cluster
    one, running = classes[ints[job, CLASS]], queue[1]
    taken, count, fits = np.empty(len(scores), np.int64), 0, False
    left, order, next_one = scores.copy(), taken[:0], 0
    gain[:] = 0
    while not fits:
        if count < FEW:
            at = _worst(left, floats[job, SCORE])
        else:  # many are needed: looking for each would take the square of their number
            if len(order) == 0:
                order = np.argsort(-left)
            at = order[next_one] if next_one < len(order) else -1
            next_one += 1
        if at < 0 or not left[at] > floats[job, SCORE]:
            return taken[:0]
        victim = running[at]
        fresh = scored(victim, world, policy, floats, ints)
        if fresh < left[at]:
            floats[victim, SCORE] = scores[at] = left[at] = fresh
            if count < FEW or not fresh > floats[job, SCORE]:
                continue
        left[at] = -np.inf
        if one[C_GROUP] >= 0 and ints[victim, AT] != one[C_GROUP]:
            continue
        taken[count] = victim
        count += 1
        add_gain(victim, gain, ints, nodes, groups, 1)
        fits = would_fit(one[C_GPUS], one[C_GROUP], ints[victim, WHERE], gain, nodes, groups)
    kept = 0
    for at in range(count - 1, -1, -1):  # those that go first are spared, where the rest is enough
        add_gain(taken[at], gain, ints, nodes, groups, -1)
        if would_fit(one[C_GPUS], one[C_GROUP], -1, gain, nodes, groups):
            continue
        add_gain(taken[at], gain, ints, nodes, groups, 1)
        taken[count - 1 - kept] = taken[at]
        kept += 1
    return taken[count - kept : count]
