"""Fills nodes with pods that arrive one by one, by the score of a policy program, compiled.

A pod asks for CPU, memory, and a share of one GPU or several whole ones. A pod that fits nowhere is turned away; nobody
leaves, as in the "workload inflation" of Weng et al. (ATC 2023), whose measure of fragmentation a program is told: how
much of a node's free GPU a pod drawn from the usual mix cannot use.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from trimtab.adapters.programs import POLICY, Input, Policy, Signature

Table = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FIT = Signature(
    "fit",
    (
        Input("cpu", "cores that the pod asks for"),
        Input("memory", "GiB that it asks for"),
        Input("gpu", "GPUs that it asks for; below 1 a share of one"),
        Input("cpu_free", "cores free on the node"),
        Input("memory_free", "GiB free on the node"),
        Input("gpu_free", "GPUs free on the node, shares included"),
        Input("cpu_all", "cores of the node"),
        Input("memory_all", "GiB of the node"),
        Input("gpu_all", "GPUs of the node"),
        Input("left", "share that stays free of the GPU that it would share; 0 for whole ones, and without a GPU"),
        Input("waste", "part of `left` that no usual pods, put together, would fill"),
        Input("whole", "GPUs of the node that stay wholly free"),
        Input("lost", "GPUs of the node that fragmentation loses for the usual pods, before"),
        Input("change", "by how much that grows if the pod goes there"),
    ),
    "the score of the place: the lowest is taken",
)
GPUS = 8  # of a node, at most
CPU, MEMORY, COUNT, SHARE = range(4)
"""Of a kind of pod: cores, GiB, GPUs, and the share of each (1, or less when it shares one)."""
_SMALL = 1e-9
_STEPS = 1000  # of a GPU, in which it is shared


@numba.njit(cache=True)
def _lost(cpu: float, memory: float, free: Any, gpus: int, kinds: Any, weights: Any) -> float:
    """GPUs of a node in the mean that pods of the usual mix cannot use."""
    total = 0.0
    for gpu in range(gpus):
        total += free[gpu]
    if total <= _SMALL:
        return 0.0
    lost = 0.0
    for kind in range(len(kinds)):
        count, share, unusable, fitting = kinds[kind, COUNT], kinds[kind, SHARE] - _SMALL, 0.0, 0
        if count > 0 and kinds[kind, CPU] <= cpu + _SMALL and kinds[kind, MEMORY] <= memory + _SMALL:
            for gpu in range(gpus):
                if free[gpu] >= share:
                    fitting += 1
                else:
                    unusable += free[gpu]
        lost += weights[kind] * (unusable if count > 0 and fitting >= count else total)
    return lost


@numba.njit(cache=True)
def _wastes(kinds: Any) -> Any:
    """Of each share that may be left of a GPU, in steps: what stays free however usual pods fill it."""
    wastes = np.arange(_STEPS + 1) / _STEPS
    for left in range(1, _STEPS + 1):
        for kind in range(len(kinds)):
            share = int(np.ceil(kinds[kind, SHARE] * _STEPS - 1e-6))
            if kinds[kind, COUNT] == 1 and 0 < share <= left:
                wastes[left] = min(wastes[left], wastes[left - share])
    return wastes


@numba.njit(cache=True)
def _take(free: Any, gpus: int, pod: Any, gpu: int) -> None:
    """Take a pod's GPUs on a node: the share of one, or the first whole ones."""
    if pod[COUNT] > 0 and pod[SHARE] < 1.0 - _SMALL:
        free[gpu] = max(0.0, free[gpu] - pod[SHARE])
        return
    left = int(pod[COUNT])
    for one in range(gpus):
        if left > 0 and free[one] > 1.0 - _SMALL:
            free[one] = 0.0
            left -= 1


@numba.njit(cache=True)
def _fits(room: Any, free: Any, gpus: int, pod: Any) -> bool:
    if room[0] < pod[CPU] - _SMALL or room[1] < pod[MEMORY] - _SMALL:
        return False
    fitting = 0
    for gpu in range(gpus):
        fitting += free[gpu] >= pod[SHARE] - _SMALL
    return bool(fitting >= pod[COUNT])


@numba.njit(cache=True)
def _change(room: Any, free: Any, gpus: int, pod: Any, gpu: int, before: float, kinds: Any, weights: Any) -> float:
    """By how much the loss of a node grows with a pod on it."""
    if gpus == 0:
        return 0.0
    after = free.copy()
    _take(after, gpus, pod, gpu)
    return float(_lost(room[0] - pod[CPU], room[1] - pod[MEMORY], after, gpus, kinds, weights) - before)


@numba.njit(cache=True)
def _look(inputs: Any, size: Any, room: Any, free: Any, pod: Any, gpu: int, wastes: Any) -> None:
    """What a program is told of a place, but for what is lost."""
    total, whole = 0.0, 0.0
    for one in range(int(size[2])):
        total += free[one]
        whole += free[one] > 1.0 - _SMALL
    inputs[0], inputs[1], inputs[2] = pod[CPU], pod[MEMORY], pod[COUNT] * pod[SHARE]
    inputs[3], inputs[4], inputs[5] = room[0], room[1], total
    inputs[6], inputs[7], inputs[8] = size[0], size[1], size[2]
    inputs[9], inputs[10], inputs[11] = 0.0, 0.0, whole
    if pod[COUNT] > 0:
        if pod[SHARE] < 1.0 - _SMALL:
            inputs[9] = free[gpu] - pod[SHARE]
            inputs[10] = wastes[int(max(0.0, inputs[9]) * _STEPS + 1e-6)]
            inputs[11] = whole - (1.0 if free[gpu] > 1.0 - _SMALL else 0.0)
        else:
            inputs[11] = whole - pod[COUNT]


@numba.njit(cache=True)
def _is_new(free: Any, gpu: int) -> bool:
    """Whether no GPU before this one is as free: equal ones are looked at once."""
    before = 0
    while before < gpu and abs(free[before] - free[gpu]) >= _SMALL:
        before += 1
    return bool(before == gpu)


@numba.njit(cache=True)
def _best(size: Any, room: Any, free: Any, pod: Any, lost: float, mix: Any, policy: Any) -> Any:
    """(score, GPU) of the best place for a pod on a node; (inf, 0): there is none."""
    usual, weights, wastes, looks, inputs, state = mix
    gpus, best, which = int(size[2]), np.inf, 0
    if not _fits(room, free, gpus, pod):
        return best, which
    is_shared = pod[COUNT] > 0 and pod[SHARE] < 1.0 - _SMALL
    for gpu in range(gpus if is_shared else 1):
        if is_shared and (free[gpu] < pod[SHARE] - _SMALL or not _is_new(free, gpu)):
            continue
        _look(inputs, size, room, free, pod, gpu, wastes)
        inputs[12] = lost
        inputs[13] = _change(room, free, gpus, pod, gpu, lost, usual, weights) if looks else 0.0
        score = policy(inputs, state)
        if score < best:
            best, which = score, gpu
    return best, which


_WIDTH = FIT.width
_F1, _F2 = numba.f8[::1], numba.f8[:, ::1]


@numba.njit(numba.i8[::1](_F2, _F2, numba.i8[::1], _F2, _F1, numba.b1, POLICY), cache=True)
def fill(sizes: Any, kinds: Any, arrivals: Any, usual: Any, weights: Any, looks: Any, policy: Any) -> Any:
    """The node of each arrival, -1: turned away.

    sizes: (nodes, 3) cores, GiB, GPUs. kinds: (kinds, 4) as above; arrivals: the kind of each pod. usual, weights: the
    mix by which loss is measured; looks: whether the policy asks for it. A node's score for a kind of pod is kept until
    something is put on the node.
    """
    nodes, most = len(sizes), len(kinds)
    rooms, free, lost = sizes[:, :2].copy(), np.zeros((nodes, GPUS)), np.zeros(nodes)
    version, known = np.zeros(nodes, np.int64), np.full((most, nodes), -1, np.int64)
    scores, places = np.zeros((most, nodes)), np.zeros((most, nodes), np.int8)
    mix = (usual, weights, _wastes(usual), looks, np.zeros(_WIDTH), np.zeros(1))
    for node in range(nodes):
        gpus = int(sizes[node, 2])
        free[node, :gpus] = 1.0
        lost[node] = _lost(rooms[node, 0], rooms[node, 1], free[node], gpus, usual, weights) if looks else 0.0
    placed = np.full(len(arrivals), -1, np.int64)
    for at in range(len(arrivals)):
        kind, best, where = arrivals[at], np.inf, -1
        for node in range(nodes):
            if known[kind, node] != version[node]:
                known[kind, node] = version[node]
                scores[kind, node], places[kind, node] = _best(
                    sizes[node], rooms[node], free[node], kinds[kind], lost[node], mix, policy
                )
            if scores[kind, node] < best:
                best, where = scores[kind, node], node
        placed[at] = where
        if where >= 0:
            rooms[where, 0] -= kinds[kind, CPU]
            rooms[where, 1] -= kinds[kind, MEMORY]
            gpus = int(sizes[where, 2])
            _take(free[where], gpus, kinds[kind], int(places[kind, where]))
            version[where] += 1
            if looks:
                lost[where] = _lost(rooms[where, 0], rooms[where, 1], free[where], gpus, usual, weights)
    return placed


def filled(sizes: Table, kinds: Table, arrivals: Ints, mix: tuple[Table, Table], policy: Policy, looks: bool) -> Ints:
    """`fill`, with a mix of (kinds, weights)."""
    usual, weights = (np.ascontiguousarray(one) for one in mix)
    return np.asarray(fill(sizes, kinds, arrivals, usual, weights, looks, policy))
