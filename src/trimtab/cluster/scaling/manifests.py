"""What `scale` found, for Kubernetes: a KEDA ScaledObject for the chosen program, and the autoscaler it replaces."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trimtab.cluster.manifests import Object, document, resource_name
from trimtab.cluster.scaling.measure import Replay
from trimtab.cluster.scaling.plan import ScalingPlan
from trimtab.cluster.scaling.simulator import Service

SCALER, PORT = "trimtab-scaler", 6000
HEADROOM = 2.0  # above the most replicas of the replay, for what the history has not seen
POLLING_SECONDS, FAILURES = 15, 8


@dataclass(frozen=True)
class Workload:
    """The Deployment that is scaled."""

    namespace: str
    name: str

    @property
    def metadata(self) -> Object:
        """Of what belongs to it."""
        return {"name": self.name, "namespace": self.namespace}

    @property
    def reference(self) -> Object:
        """How autoscalers name it."""
        return {"apiVersion": "apps/v1", "kind": "Deployment", "name": self.name}


def workload(text: str) -> Workload:
    """NAMESPACE/NAME, or a name in `default`."""
    namespace, _, name = text.rpartition("/")
    return Workload(resource_name(namespace or "default"), resource_name(name))


def manifests(target: Workload, service: Service, chosen: Replay, hpa: tuple[ScalingPlan, Replay]) -> dict[str, str]:
    """File names and texts; `hpa`: the plan for Kubernetes' own autoscaler, for clusters without KEDA."""
    served, allowed = 1000 * service.service_seconds, 1000 * service.allowed_seconds
    least = max(1, math.floor(float(chosen.replicas.min())))
    highest = math.ceil(float(chosen.replicas.max()))
    most = math.ceil(HEADROOM * highest)
    return {
        "scaledobject.yaml": document(
            f"{_measured('The chosen policy', chosen)}\nRun it behind a Service named {SCALER}:\n"
            f"  trimtab scale keda --host 0.0.0.0 --port {PORT} --policy replicas.py --least {least} --most {most} \\\n"
            f"    --service-ms {served:g} --allowed-ms {allowed:g} --prometheus … --rate …",
            [_scaled_object(target, (least, highest, most))],
        ),
        "hpa.yaml": document(
            _measured("Instead of it, where there is no KEDA: the autoscaler of Kubernetes", hpa[1]),
            [_autoscaler(target, hpa[0], (least, most))],
        ),
    }


def _measured(what: str, made: Replay) -> str:
    return (
        f"{what}: {made.hours_per_day:.2f} replica-hours a day, {made.late_share:.3%} late\n"
        "(replayed on the unseen half of the traffic)."
    )


def _scaled_object(target: Workload, counts: tuple[int, int, int]) -> Object:
    least, highest, most = counts
    # The shield of `scale keda` steadies and limits the number: the autoscaler behind it shall follow at once.
    follow = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": target.metadata,
        "spec": {
            "scaleTargetRef": target.reference,
            "pollingInterval": POLLING_SECONDS,
            "minReplicaCount": least,
            "maxReplicaCount": most,
            "fallback": {"failureThreshold": FAILURES, "replicas": highest},
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": follow, "scaleDown": follow}}},
            "triggers": [
                {
                    "type": "external",
                    "metricType": "AverageValue",
                    "metadata": {"scalerAddress": f"{SCALER}.{target.namespace}:{PORT}"},
                }
            ],
        },
    }


def _autoscaler(target: Workload, plan: ScalingPlan, counts: tuple[int, int]) -> Object:
    metric = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": round(100 * plan.target)}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": target.metadata,
        "spec": {
            "scaleTargetRef": target.reference,
            "minReplicas": counts[0],
            "maxReplicas": counts[1],
            "metrics": [{"type": "Resource", "resource": metric}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": plan.stabilisation_seconds}},
        },
    }
