"""Manifests: what was found, as Kubernetes objects that the official schemas accept."""

from __future__ import annotations

from pathlib import Path

import fastjsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.cluster.objects import objects, patch
from trimtab.cluster.manifests import document, resource_name
from trimtab.cluster.rightsizing.patches import Change, write_patches
from trimtab.cluster.scheduling import policies
from trimtab.cluster.scheduling.cluster import Cluster, Group
from trimtab.cluster.scheduling.manifests import manifests
from trimtab.cluster.scheduling.measure import History
from trimtab.cluster.scheduling.plan import CLASSICAL, SchedulingPlan
from trimtab.cluster.scheduling.problem import CAPABILITY
from trimtab.faces.cli.main import app


def test_text_is_yaml_whatever_it_holds() -> None:
    odd = {"metadata": {"name": "a: b # c", "1": ["yes", {"x": "no\n---\n", "y": {}}], "z": None}, "kind": "Odd"}
    import yaml

    assert yaml.safe_load(document("why\nso", [odd])) == odd
    assert [resource_name(one) for one in ("A100 80GB", "-x-", "ü", "a" * 80)] == [
        "a100-80gb",
        "x",
        "unnamed",
        "a" * 63,
    ]


def test_scale_writes_a_scaled_object_and_an_autoscaler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIMTAB_MODEL", "none")
    minutes = np.arange(3 * 1440)
    rates = 60 * (1.3 + np.sin(minutes / 1440 * 2 * np.pi))
    lines = [f"{60 * minute},{rate:.3f}" for minute, rate in zip(minutes, rates, strict=True)]
    (tmp_path / "traffic.csv").write_text("second,rate\n" + "\n".join(lines) + "\n", encoding="utf-8")
    options = ["--budget", "1", "--manifests", "made/here", "--workload", "prod/Web App", "--json"]
    made = CliRunner().invoke(app, ["scale", "traffic.csv", *options])
    assert made.exit_code == 0, made.output
    folder = tmp_path / "made" / "here"
    (scaled,) = objects((folder / "scaledobject.yaml").read_text(encoding="utf-8"))
    (autoscaler,) = objects((folder / "hpa.yaml").read_text(encoding="utf-8"))
    for one in (scaled, autoscaler):
        assert one["metadata"] == {"name": "web-app", "namespace": "prod"}
        assert one["spec"]["scaleTargetRef"]["name"] == "web-app"
    assert scaled["spec"]["triggers"][0]["metadata"] == {"scalerAddress": "trimtab-scaler.prod:6000"}
    assert 1 <= scaled["spec"]["minReplicaCount"] <= scaled["spec"]["fallback"]["replicas"]
    assert scaled["spec"]["maxReplicaCount"] == autoscaler["spec"]["maxReplicas"]
    assert autoscaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> History:
    return CAPABILITY.sample(tmp_path_factory.mktemp("jobs"), 0).history  # type: ignore[no-any-return]


def test_queues_have_the_quotas_the_flavors_and_the_preemption_of_the_plan(log: History) -> None:
    cluster = Cluster((Group("V100 16GB", 3, 4), Group("a100", 2, 8)), (("t0", 14), ("Team One", 9)))
    history = History(log.source, cluster, "two groups")
    files = manifests(history, CLASSICAL["srsf"], "304 of 440 GPUs would have been enough.")
    found = objects(files["kueue-queues.yaml"])
    assert files["kueue-queues.yaml"].splitlines()[1] == "# 304 of 440 GPUs would have been enough."
    kinds = [one["kind"] for one in found]
    assert kinds == ["ResourceFlavor"] * 2 + ["ClusterQueue", "LocalQueue"] * 2
    first, second = (one["spec"] for one in found if one["kind"] == "ClusterQueue")
    quotas = [[one["resources"][0]["nominalQuota"] for one in group["flavors"]]
              for spec in (first, second) for group in spec["resourceGroups"]]  # fmt: skip
    assert quotas == [[12, 2], [9, 0]]
    assert first["preemption"] == {"withinClusterQueue": "LowerPriority"}
    assert found[3]["metadata"] == {"name": "t0", "namespace": "t0"}
    (only,) = [one for one in objects(manifests(log, CLASSICAL["fifo"], "")["kueue-queues.yaml"])
               if one["kind"] == "ClusterQueue"]  # fmt: skip
    assert only["spec"]["queueingStrategy"] == "StrictFIFO"
    assert only["spec"]["resourceGroups"][0]["flavors"][0]["resources"][0]["nominalQuota"] == log.cluster.gpus


def test_priority_classes_follow_the_order_of_the_policy_and_say_how_far(log: History) -> None:
    shortest = manifests(log, CLASSICAL["qssf"], "")["kueue-priorities.yaml"]
    assert "in one class" in shortest.splitlines()[1]
    found = objects(shortest)
    assert [one["value"] for one in found] == [4000, 3000, 2000, 1000, 0]
    longest = SchedulingPlan(policies.QSSF.replace("predicted * gpus", "-predicted * gpus"), "skip")
    assert [one["value"] for one in objects(manifests(log, longest, "")["kueue-priorities.yaml"])] == [
        0, 1000, 2000, 3000, 4000,
    ]  # fmt: skip
    # Kueue knows when a workload came: a policy that asks for no more needs no classes.
    assert "kueue-priorities.yaml" not in manifests(log, CLASSICAL["fifo"], "")


def test_patches_of_rightsize_are_deployments_and_pods(tmp_path: Path) -> None:
    labels = (("workload", "web"), ("kind", "Deployment"), ("namespace", "prod"), ("container", "main"))
    changes = [
        Change("web-1", "cpu", 1.0, 0.25, labels),
        Change("web-2", "memory", 2e9, 3e8, labels),
        Change("lonely", "memory", None, 1e8),
    ]
    found = [patch(one.read_text(encoding="utf-8")) for one in write_patches(changes, tmp_path)]
    assert sorted(one["kind"] for one in found) == ["Deployment", "Pod"]


def test_the_check_can_fail() -> None:
    hpa = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\nspec: {%s}\n"
    objects(hpa % "maxReplicas: 3, scaleTargetRef: {kind: Deployment, name: a}")
    for wrong in (
        hpa % "maxReplicas: many, scaleTargetRef: {kind: Deployment, name: a}",
        hpa % "scaleTargetRef: {kind: Deployment, name: a}",
        hpa % "maxReplicas: 3, maxPods: 4, scaleTargetRef: {kind: Deployment, name: a}",
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nspec: {scaleTargetRef: {name: a}}\n",
        "apiVersion: kueue.x-k8s.io/v1beta2\nkind: LocalQueue\nmetadata: {}\nspec: {clusterQueue: A_b}\n",
    ):
        with pytest.raises(fastjsonschema.JsonSchemaException):
            objects(wrong)
