"""Recommended requests as Kubernetes patches: strategic-merge files, one a workload, or a pod where none is named.

A workload's pods share one template, so it gets the highest of its pods' requests. A pod without a workload gets a
patch for its `resize` subresource (Kubernetes 1.33 and later). JSON strings are YAML, so that no name breaks the file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trimtab.core.errors import OutsideError

MIB = 2**20
KINDS = {
    "deployment": ("apps/v1", "Deployment"),
    "statefulset": ("apps/v1", "StatefulSet"),
    "daemonset": ("apps/v1", "DaemonSet"),
    "replicaset": ("apps/v1", "ReplicaSet"),
    "job": ("batch/v1", "Job"),
}
PATCHED = ("cpu", "memory")  # GPU memory is no resource of Kubernetes'
LEAST = {"cpu": 0.001, "memory": MIB}


@dataclass(frozen=True)
class Change:
    """One pod's request of one resource: today's (None: not known) and the recommended one, in cores or bytes."""

    pod: str
    resource: str
    current: float | None
    recommended: float
    labels: tuple[tuple[str, str], ...] = ()


def write_patches(changes: Sequence[Change], folder: Path) -> list[Path]:
    """Write one file for each workload or pod into a folder, atomically each; returns them. Raises OutsideError."""
    groups: dict[tuple[str, ...], list[Change]] = {}
    for one in changes:
        if one.resource in PATCHED:
            groups.setdefault(_place(one), []).append(one)
    written: list[Path] = []
    taken: set[str] = set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place, group in sorted(groups.items()):
            name = _file_name(place, taken)
            partial = folder / f".{name}.partial"
            partial.write_text(patch(group), encoding="utf-8")
            written.append(partial.replace(folder / name))
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutsideError(f"{folder} cannot be written: {reason}", hint="name another folder with --out") from None
    return written


def patch(group: Sequence[Change]) -> str:
    """The patch of the pods of one workload, as YAML."""
    namespace, kind, workload, container = _place(group[0])
    highest: dict[str, float] = {}
    for one in group:
        highest[one.resource] = max(highest.get(one.resource, 0.0), one.recommended)
    requests = {resource: quantity(resource, highest[resource]) for resource in PATCHED if resource in highest}
    version, proper = KINDS.get(kind.lower(), ("v1", "Pod"))
    metadata = f"  name: {json.dumps(workload)}\n" + (f"  namespace: {json.dumps(namespace)}\n" if namespace else "")
    containers = _containers(container or workload, requests)
    how = f"kubectl patch {proper.lower()} {workload}"
    if proper == "Pod":
        head, inside, how = "spec:\n", 2, f"{how} --subresource resize"
    else:
        head, inside = "spec:\n  template:\n    spec:\n", 6
    body = "".join(f"{' ' * inside}{line}\n" for line in containers)
    return (
        f"# {_plain(how)} --patch-file THIS\n# of {len({one.pod for one in group})} pods, the highest request\n"
        f"apiVersion: {version}\nkind: {proper}\nmetadata:\n{metadata}{head}{body}"
    )


def quantity(resource: str, value: float) -> str:
    """A request as Kubernetes writes it, rounded up: milli-cores, or MiB."""
    if resource == "cpu":
        return f"{math.ceil(max(value, LEAST['cpu']) * 1000 - 1e-9)}m"
    return f"{math.ceil(max(value, LEAST['memory']) / MIB - 1e-9)}Mi"


def _containers(container: str, requests: Mapping[str, str]) -> list[str]:
    lines = ["containers:", f"- name: {json.dumps(container)}", "  resources:", "    requests:"]
    return [*lines, *(f"      {resource}: {json.dumps(text)}" for resource, text in requests.items())]


def _place(one: Change) -> tuple[str, str, str, str]:
    """Namespace, kind, name and container that a change is for."""
    labels = dict(one.labels)
    workload = labels.get("workload", "")
    kind = (labels.get("kind") or "Deployment") if workload else "Pod"
    return labels.get("namespace", ""), kind, workload or one.pod, labels.get("container", "")


def _file_name(place: tuple[str, ...], taken: set[str]) -> str:
    words = (_plain(word) for word in place if word)
    stem = "-".join(word for word in words if word)[:120] or "pod"
    name, count = f"{stem}.yaml", 1
    while name in taken:
        count += 1
        name = f"{stem}-{count}.yaml"
    taken.add(name)
    return name


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9 ._-]+", "-", text).strip("-. ")
