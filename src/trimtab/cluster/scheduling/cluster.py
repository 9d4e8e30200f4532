"""The cluster of `cluster.toml`: groups of equal nodes, quotas, what preempting costs, and today's policy."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.cluster.scheduling.jobs import Ints, Series
from trimtab.core.errors import InputError

MOST_GROUPS, MOST_NODES = 16, 100_000
HOURS_A_MONTH = 730.0


@dataclass(frozen=True)
class Group:
    """Equal nodes: `gpus` each, how fast they work beside the log's durations, dollars for an hour of a GPU."""

    name: str
    nodes: int
    gpus: int
    speed: float = 1.0
    dollars_an_hour: float = 0.0


@dataclass(frozen=True)
class Cluster:
    """Groups of nodes, in the order in which jobs without a `gpu_type` try them; quotas: (tenant, GPUs)."""

    groups: tuple[Group, ...]
    quotas: tuple[tuple[str, int], ...] = ()
    current: str = "fifo"  # a name of `policies.CLASSICAL`
    preemption: bool = True
    restart_seconds: float = 60.0
    most_preemptions: float = 1.5  # a job, in the mean

    @property
    def gpus(self) -> int:
        """All of them."""
        return sum(one.nodes * one.gpus for one in self.groups)

    @property
    def dollars_a_month(self) -> float:
        """What the nodes cost, busy or not."""
        return sum(one.nodes * one.gpus * one.dollars_an_hour for one in self.groups) * HOURS_A_MONTH

    def table(self) -> tuple[Ints, Series]:
        """The simulator's groups and speeds."""
        rows, node, bucket = [], 0, 0
        for one in self.groups:
            rows.append((one.gpus, one.nodes, node, bucket))
            node, bucket = node + one.nodes, bucket + one.gpus + 1
        return np.array(rows, np.int64), np.array([one.speed for one in self.groups])

    def resized(self, factor: float) -> Cluster:
        """Every group with more or fewer nodes (GPUs, where it is one node), at least one."""
        groups = [
            replace(one, nodes=max(1, round(one.nodes * factor)))
            if one.nodes > 1
            else replace(one, gpus=max(1, round(one.gpus * factor)))
            for one in self.groups
        ]
        return replace(self, groups=tuple(groups))


KEYS = {
    "nodes": {"name": str, "count": int, "gpus": int, "speed": float, "dollars_per_gpu_hour": float},
    "scheduler": {"current": str, "preemption": bool, "restart_seconds": float, "most_preemptions": float},
}
EXAMPLE = '[[nodes]]\nname = "v100"\ncount = 50\ngpus = 8'


def read_cluster(file: Path, policies: tuple[str, ...]) -> Cluster:
    """The cluster of a file; `policies`: names that `scheduler.current` may have. Raises InputError."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}", hint=f"write one:\n{EXAMPLE}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no TOML: {error}", hint=f"for example:\n{EXAMPLE}") from None
    unknown = set(content) - {"nodes", "scheduler", "quotas"}
    if unknown:
        raise InputError(f"{file}: unknown key {min(unknown)!r}", hint="[[nodes]], [scheduler] and [quotas] are known")
    nodes = content.get("nodes")
    if not isinstance(nodes, list) or not nodes or len(nodes) > MOST_GROUPS:
        raise InputError(f"{file}: 1 to {MOST_GROUPS} groups of nodes are needed", hint=f"for example:\n{EXAMPLE}")
    groups = tuple(_group(file, f"nodes[{place}]", one, place) for place, one in enumerate(nodes))
    if sum(one.nodes for one in groups) > MOST_NODES:
        raise InputError(f"{file}: more than {MOST_NODES:,} nodes", hint="describe a part of the cluster")
    scheduler = _checked(file, "scheduler", content.get("scheduler", {}))
    cluster = Cluster(groups, _quotas(file, content.get("quotas", {})), **scheduler)
    if cluster.current not in policies:
        raise InputError(f"{file}: scheduler.current is {cluster.current!r}", hint=f"one of {', '.join(policies)}")
    if cluster.restart_seconds < 0 or cluster.most_preemptions < 0:
        raise InputError(f"{file}: [scheduler] holds a negative number", hint="0 or more")
    return cluster


def _group(file: Path, where: str, given: Any, place: int) -> Group:
    found = _checked(file, "nodes", given, where)
    group = Group(
        found.get("name", f"nodes-{place}"),
        found.get("count", 1),
        found.get("gpus", 0),
        found.get("speed", 1.0),
        found.get("dollars_per_gpu_hour", 0.0),
    )
    if not (group.nodes >= 1 and 1 <= group.gpus <= MOST_NODES and group.speed > 0 and group.dollars_an_hour >= 0):
        raise InputError(f"{file}: {where} needs count and gpus of 1 or more, a speed above 0", hint=f"\n{EXAMPLE}")
    return group


def _checked(file: Path, section: str, given: Any, where: str = "") -> dict[str, Any]:
    """The values of a section, each of its type."""
    place, kinds = where or section, KEYS[section]
    if not isinstance(given, dict):
        raise InputError(f"{file}: {place} is {given!r}", hint="a table of keys and values")
    found = {}
    for key, value in given.items():
        if key not in kinds:
            raise InputError(f"{file}: unknown key {place}.{key}", hint=f"one of {', '.join(kinds)}")
        kind = kinds[key]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise InputError(f"{file}: {place}.{key} is {value!r}", hint=f"a value of type {kind.__name__}")
        found[key] = value
    return found


def _quotas(file: Path, given: Any) -> tuple[tuple[str, int], ...]:
    if not isinstance(given, dict) or not all(type(value) is int and value > 0 for value in given.values()):
        raise InputError(f"{file}: [quotas] is {given!r}", hint="tenant = GPUs, such as research = 64")
    return tuple(given.items())
