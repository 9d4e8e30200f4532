"""Which GPUs are free: nodes in buckets by their free GPUs, compiled.

A job of fewer GPUs than a node has gets them on one node, the fullest that holds it (best fit); a larger one gets whole
nodes. A group of one node is a pool: every job that is not larger than what is free fits.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from trimtab.cluster.scheduling.jobs import AT, AWAY, GPUS, SPREAD, WHERE

SIZE, COUNT, FIRST_NODE, FIRST_BUCKET = range(4)
"""Of a group of equal nodes: GPUs of each, nodes, its first node, its first bucket."""
FREE, OWNER, NEXT, BEFORE, GROUP = range(5)
"""Of a node: free GPUs, the job that has it whole or -1, its neighbours in its bucket, its group."""


@numba.njit(cache=True)
def empty_nodes(groups: Any) -> Any:
    """(nodes, buckets) of a cluster on which nothing runs."""
    count, levels = 0, 0
    for group in range(len(groups)):
        count += groups[group, COUNT]
        levels += groups[group, SIZE] + 1
    nodes, buckets = np.full((count, 5), -1, np.int64), np.full(levels, -1, np.int64)
    for group in range(len(groups)):
        size, first = groups[group, SIZE], groups[group, FIRST_NODE]
        for node in range(first + groups[group, COUNT] - 1, first - 1, -1):
            nodes[node, FREE], nodes[node, GROUP] = size, group
            _link(node, nodes, buckets, groups)
    return nodes, buckets


@numba.njit(cache=True)
def _link(node: int, nodes: Any, buckets: Any, groups: Any) -> None:
    at = groups[nodes[node, GROUP], FIRST_BUCKET] + nodes[node, FREE]
    following = buckets[at]
    nodes[node, NEXT], nodes[node, BEFORE] = following, -1
    if following >= 0:
        nodes[following, BEFORE] = node
    buckets[at] = node


@numba.njit(cache=True)
def _unlink(node: int, nodes: Any, buckets: Any, groups: Any) -> None:
    before, following = nodes[node, BEFORE], nodes[node, NEXT]
    if before >= 0:
        nodes[before, NEXT] = following
    else:
        buckets[groups[nodes[node, GROUP], FIRST_BUCKET] + nodes[node, FREE]] = following
    if following >= 0:
        nodes[following, BEFORE] = before


@numba.njit(cache=True)
def change_free(node: int, by: int, nodes: Any, buckets: Any, groups: Any) -> None:
    """Free GPUs of a node, or take them."""
    _unlink(node, nodes, buckets, groups)
    nodes[node, FREE] += by
    _link(node, nodes, buckets, groups)


@numba.njit(cache=True)
def whole_nodes(gpus: int, size: int) -> int:
    """Nodes that a job takes whole; 0: it shares one."""
    return 0 if gpus < size or size == 0 else -(-gpus // size)


@numba.njit(cache=True)
def group_for(gpus: int, wanted: int, nodes: Any, buckets: Any, groups: Any) -> int:
    """The first group (or the wanted one) with room now, or -1."""
    for group in range(len(groups)):
        if (wanted in (-1, group)) and _has_room(gpus, group, nodes, buckets, groups):
            return group
    return -1


@numba.njit(cache=True)
def _has_room(gpus: int, group: int, nodes: Any, buckets: Any, groups: Any) -> bool:
    size, base = groups[group, SIZE], groups[group, FIRST_BUCKET]
    if groups[group, COUNT] == 1:
        return bool(nodes[groups[group, FIRST_NODE], FREE] >= gpus)
    needed = whole_nodes(gpus, size)
    if needed == 0:
        level = size
        while level >= gpus and buckets[base + level] < 0:
            level -= 1
        return bool(level >= gpus)
    node = buckets[base + size]
    while node >= 0 and needed > 0:
        needed -= 1
        node = nodes[node, NEXT]
    return needed == 0


@numba.njit(cache=True)
def place(job: int, group: int, ints: Any, nodes: Any, buckets: Any, groups: Any) -> None:
    """Give a job its GPUs in a group that has room."""
    gpus, size, base = ints[job, GPUS], groups[group, SIZE], groups[group, FIRST_BUCKET]
    ints[job, AT] = group
    if groups[group, COUNT] == 1 or gpus < size:
        node = groups[group, FIRST_NODE]
        if groups[group, COUNT] > 1:
            level = gpus
            while buckets[base + level] < 0:
                level += 1
            node = buckets[base + level]
        change_free(node, -gpus, nodes, buckets, groups)
        ints[job, WHERE] = node
        return
    for _ in range(whole_nodes(gpus, size)):
        node = buckets[base + size]
        change_free(node, -size, nodes, buckets, groups)
        nodes[node, OWNER] = job
    ints[job, WHERE] = SPREAD


@numba.njit(cache=True)
def release(job: int, ints: Any, nodes: Any, buckets: Any, groups: Any) -> None:
    """Take a job's GPUs back."""
    node = ints[job, WHERE]
    if node >= 0:
        change_free(node, ints[job, GPUS], nodes, buckets, groups)
    else:
        for one in range(len(nodes)):
            if nodes[one, OWNER] == job:
                nodes[one, OWNER] = -1
                change_free(one, groups[nodes[one, GROUP], SIZE], nodes, buckets, groups)
    ints[job, WHERE] = AWAY


@numba.njit(cache=True)
def add_gain(job: int, gain: Any, ints: Any, nodes: Any, groups: Any, sign: int) -> None:
    """Count a running job's GPUs as free on its nodes, or no more."""
    node = ints[job, WHERE]
    if node >= 0:
        gain[node] += sign * ints[job, GPUS]
        return
    for one in range(len(nodes)):
        if nodes[one, OWNER] == job:
            gain[one] += sign * groups[nodes[one, GROUP], SIZE]


@numba.njit(cache=True)
def would_fit(gpus: int, wanted: int, last: int, gain: Any, nodes: Any, groups: Any) -> bool:
    """Whether a job would have room if `gain` GPUs more were free on each node; `last`: the only node that changed."""
    for group in range(len(groups)):
        if wanted not in (-1, group):
            continue
        size, first, count = groups[group, SIZE], groups[group, FIRST_NODE], groups[group, COUNT]
        needed = 0 if count == 1 else whole_nodes(gpus, size)
        low, high = first, first + count
        if needed == 0 and last >= 0:
            low, high = max(low, last), min(high, last + 1)
        whole = 0
        for node in range(low, high):
            free = nodes[node, FREE] + gain[node]
            if needed == 0 and free >= gpus:
                return True
            whole += free == size
        if needed > 0 and whole >= needed:
            return True
    return False
