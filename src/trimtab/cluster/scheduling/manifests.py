"""What `schedule` found, as far as Kueue can do it: flavors of nodes, queues with quotas, and priority classes.

Kueue orders workloads by a fixed priority, then by time. A policy's order when jobs are handed in is kept by classes
of predicted GPU-hours, as far as classes can; what changes while jobs wait or run is not, and the file says so.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trimtab.adapters.programs import compile_program
from trimtab.cluster.manifests import Object, document, resource_name
from trimtab.cluster.scheduling.cluster import Cluster
from trimtab.cluster.scheduling.jobs import Series
from trimtab.cluster.scheduling.measure import History, predictions_of
from trimtab.cluster.scheduling.plan import SchedulingPlan
from trimtab.cluster.scheduling.priority import PRIORITY

GPU = "nvidia.com/gpu"
PRODUCT = "nvidia.com/gpu.product"  # the label that NVIDIA's feature discovery gives nodes
API = "kueue.x-k8s.io/v1beta2"
CLASSES = 5
STEP = 1000  # of priority from class to class
MOST_PAIRS = 200_000


def manifests(history: History, plan: SchedulingPlan, size: str) -> dict[str, str]:
    """File names and texts; `size`: a sentence on the cluster size that would have been enough, or nothing."""
    queues, about = _queues(history.cluster, plan), "Kueue's queues for the chosen policy."
    if size:
        about += f" Their quotas are today's GPUs.\n{size}"
    files = {"kueue-queues.yaml": document(about, [*_flavors(history.cluster), *queues])}
    hours, scores = _at_submission(history, plan)
    if len(np.unique(scores)) > CLASSES and len(np.unique(hours)) > CLASSES:
        edges = np.unique(np.quantile(hours, np.arange(1, CLASSES) / CLASSES))
        places = np.searchsorted(edges, hours, side="right")
        values = _values(places, scores)
        files["kueue-priorities.yaml"] = document(_kept(values[places], scores), _classes(edges, values))
    return files


def _flavors(cluster: Cluster) -> list[Object]:
    labelled = len(cluster.groups) > 1
    return [
        {
            "apiVersion": API,
            "kind": "ResourceFlavor",
            "metadata": {"name": resource_name(one.name)},
            "spec": {"nodeLabels": {PRODUCT: one.name}} if labelled else {},
        }
        for one in cluster.groups
    ]


def _queues(cluster: Cluster, plan: SchedulingPlan) -> list[Object]:
    """One queue for each tenant with a quota, all in a cohort; one for all where there are none."""
    if not cluster.quotas:
        room = {one.name: one.nodes * one.gpus for one in cluster.groups}
        return _queue("all", room, plan, is_shared=False)
    found: list[Object] = []
    for tenant, quota in cluster.quotas:
        found += _queue(resource_name(tenant), _shares(cluster, quota), plan, is_shared=True)
    return found


def _shares(cluster: Cluster, quota: int) -> dict[str, int]:
    """A quota over the groups of nodes, the first ones first."""
    found, left = {}, quota
    for one in cluster.groups:
        found[one.name] = min(left, one.nodes * one.gpus)
        left -= found[one.name]
    return found


def _queue(name: str, room: dict[str, int], plan: SchedulingPlan, *, is_shared: bool) -> list[Object]:
    limit = {"borrowingLimit": 0} if is_shared else {}  # quotas of `cluster.toml` are hard
    flavors = [
        {"name": resource_name(group), "resources": [{"name": GPU, "nominalQuota": gpus, **limit}]}
        for group, gpus in room.items()
    ]
    spec = {
        **({"cohortName": "trimtab"} if is_shared else {}),
        "namespaceSelector": {},
        "queueingStrategy": "StrictFIFO" if plan.order == "strict" else "BestEffortFIFO",
        "preemption": {"withinClusterQueue": "LowerPriority" if plan.preempts else "Never"},
        "resourceGroups": [{"coveredResources": [GPU], "flavors": flavors}],
    }
    local = {"name": name, "namespace": name if is_shared else "default"}
    return [
        {"apiVersion": API, "kind": "ClusterQueue", "metadata": {"name": name}, "spec": spec},
        {"apiVersion": API, "kind": "LocalQueue", "metadata": local, "spec": {"clusterQueue": name}},
    ]


def _at_submission(history: History, plan: SchedulingPlan) -> tuple[Series, Series]:
    """(predicted GPU-hours, the policy's score) of the unseen half's jobs, each as if alone when handed in."""
    rows, made = history.rows("holdout"), predictions_of(history, "holdout")
    gpus = history.log.gpus[rows].astype(float)
    policy, places = compile_program(plan.program, PRIORITY), PRIORITY.starts()
    inputs, state = np.zeros(PRIORITY.width), np.zeros(max(1, PRIORITY.state))
    scores = np.zeros(len(gpus))
    for job in range(len(gpus)):
        inputs[places["gpus"]], inputs[places["predicted"]] = gpus[job], made.median[job]
        inputs[places["left"]], inputs[places["rank"]] = made.looks[0, job, 0], made.looks[1, job, 0]
        scores[job] = policy(inputs, state)
    return made.median[: len(gpus)] * gpus / 3600, scores


def _values(places: npt.NDArray[np.int64], scores: Series) -> npt.NDArray[np.int64]:
    """The priority of each class: the lower its jobs' scores, the higher."""
    count = int(places.max()) + 1
    means = np.array([np.median(scores[places == one]) if (places == one).any() else np.inf for one in range(count)])
    values = np.zeros(count, np.int64)
    values[np.argsort(-means, kind="stable")] = STEP * np.arange(count)
    return values


def _kept(values: npt.NDArray[np.int64], scores: Series) -> str:
    """How much of the policy's order is left: pairs of jobs, drawn by chance, that have one."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(len(scores), size=(2, MOST_PAIRS))
    differs = scores[first] != scores[second]
    agree = np.sign(values[first] - values[second])[differs] == -np.sign(scores[first] - scores[second])[differs]
    apart = (values[first] == values[second])[differs]
    return (
        f"Kueue's priority classes for the chosen policy: of two jobs of the unseen half, {agree.mean():.0%} are in\n"
        f"its order and {apart.mean():.0%} in one class, as they are handed in. What the policy changes while jobs\n"
        "wait or run, Kueue does not follow. Label a workload kueue.x-k8s.io/priority-class by its predicted GPU-hours."
    )


def _classes(edges: Series, values: npt.NDArray[np.int64]) -> list[Object]:
    bounds = [0.0, *(float(one) for one in edges), np.inf]
    return [
        {
            "apiVersion": API,
            "kind": "WorkloadPriorityClass",
            "metadata": {"name": f"trimtab-{place + 1}"},
            "value": int(value),
            "description": f"predicted GPU-hours {_between(bounds[place], bounds[place + 1])}",
        }
        for place, value in enumerate(values)
    ]


def _between(low: float, high: float) -> str:
    return f"of {low:.3g} and more" if np.isinf(high) else f"from {low:.3g} to {high:.3g}"
