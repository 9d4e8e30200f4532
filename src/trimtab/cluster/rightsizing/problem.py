"""rightsize: the rule with the least idle share of requests, at a stated share of pods ever over their request.

Requests are made of the first half of each pod's series and held against the second; the rule is chosen on the first
half alone, cut in two in the same way. A rule that learns is judged on pods that it did not learn from, so that neither
the pod nor the time was seen.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.cluster.rightsizing.looks import IN_UNITS, Series
from trimtab.cluster.rightsizing.measure import View, made_for, outcomes
from trimtab.cluster.rightsizing.plan import KRR, KRR_MEMORY, SizingPlan, peers
from trimtab.cluster.rightsizing.programs import LIBRARY
from trimtab.cluster.rightsizing.usage import fleet_of
from trimtab.core.model import Brief, Evidence, Guardrail, Json, Ladder, Measurement, Objective, Proposal, Rung, Sample
from trimtab.core.ports import Capability

FOLDS = 5
SAFETY = 1.2  # on the search half, pods over count so many times: what only just holds there breaks later
Parts = tuple[float, float]
MOMENTS: dict[str, tuple[Parts, ...]] = {
    "search": ((0.24, 0.48), (0.2, 0.4), (0.16, 0.32)),
    "holdout": ((0.5, 1.0),),
    "now": ((1.0, 1.0),),
}
"""When requests are made: until where a series is past, and until where it is held against. Several moments of
the search half, since few pods are ever over, and which is chance; 2 % are left between the halves."""


@dataclass(frozen=True)
class Rightsizing:
    """Choose a rule for one resource of the pods of a usage file."""

    source: str
    resource: str = "memory"
    risk: float = 0.05  # share of pods that may ever be over
    fingerprint: str = ""
    name: str = "rightsize"
    goal: str = "request less CPU or memory, with few pods ever over their request"

    @property
    def plan_type(self) -> type[SizingPlan]:
        return SizingPlan

    @property
    def objective(self) -> Objective:
        """Idle share; each pod over beyond the risk counts as a request that lies idle as a whole.

        Without that, requests of today that break the promise could not be beaten by any that keep it.
        """
        rail = Guardrail("share_over", self.risk, "at_most")
        return Objective("slack_and_excess", "min", (rail,), margin=0.005, unit="idle share")

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(1.0, FOLDS),), holdout_seeds=FOLDS, finalists=5)

    @property
    def current(self) -> SizingPlan:
        """Today's requests where every pod's is known; else what KRR would set."""
        pods = fleet_of(self.source, self.resource, self.fingerprint).pods
        is_known = all(pod.requested is not None for pod in pods)
        return SizingPlan() if is_known else KRR.get(self.resource, KRR_MEMORY)

    def observe(self) -> Evidence:
        """How much pods move, of the first half only."""
        seen = self.view("search")
        peaks, looks = seen.looks(1.0)
        facts: dict[str, Json] = {
            "resource": self.resource,
            "pods": len(peaks),
            "risk": self.risk,
            "peak": _quantiles(peaks),
            "shares_of_the_peak": {
                name: _quantiles(looks[:, place])
                for place, name in ((1, "recent"), (2, "mean"), (4, "p95"), (5, "p99"), (6, "spread"), (7, "steps"))
            },
            "growth_of_peak": _quantiles(looks[:, len(IN_UNITS)]),
            "samples": _quantiles(looks[:, len(IN_UNITS) + 2]),
        }
        return Evidence(facts, Path(self.source).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, SizingPlan]:
        """Today's requests, and the rules of the usual tools."""
        return {"current": self.current, **peers(self.resource)}

    def measure(self, plan: SizingPlan, sample: Sample) -> Measurement:
        """One fold of the pods, held against what they used after the moment of the request."""
        slack, over = self.outcomes(plan, sample.split)
        fold = folds(len(slack))[sample.seed % FOLDS]
        stress = SAFETY if sample.split == "search" else 1.0
        # Of the fold's pods, weighted so that the mean over folds is the mean over pods.
        weight = FOLDS * len(fold) / len(slack)
        idle = float(slack[fold].mean()) * weight
        metrics = {
            "slack_and_excess": idle + max(0.0, stress * float(over.mean()) - self.risk),
            "slack": idle,
            "share_over": stress * float(over[fold].mean()) * weight,
        }
        return Measurement(metrics, "replay")

    def outcomes(self, plan: SizingPlan, split: str) -> tuple[Series, Series]:
        """Of each pod of a half: slack, and how often it was over; rules are learnt from the other folds' pasts."""
        return _outcomes(self, plan, split)

    def view(self, split: str) -> View:
        """The fleet at the (first) moment of the "search", of the "holdout", or "now"."""
        return self.views(split)[0]

    def views(self, split: str) -> tuple[View, ...]:
        """The fleet at every moment of a split."""
        return _views(self.source, self.resource, self.fingerprint, split)


def folds(pods: int) -> list[list[int]]:
    """The places of the pods in equal parts, mixed."""
    order = np.random.default_rng(0).permutation(pods)
    return [sorted(int(place) for place in order[first::FOLDS]) for first in range(FOLDS)]


@functools.lru_cache(maxsize=64)
def _outcomes(problem: Rightsizing, plan: SizingPlan, split: str) -> tuple[Series, Series]:
    views = problem.views(split)
    slack, over = (np.zeros((len(views), len(views[0].pasts))) for _ in range(2))
    for row, seen in enumerate(views):
        for fold in folds(len(seen.pasts)):
            requests = made_for(plan, seen, problem.risk, fold).requests
            slack[row, fold], over[row, fold] = outcomes(requests, [seen.futures[place] for place in fold])
    return slack.mean(axis=0), over.mean(axis=0)


def ideas(brief: Brief[Any]) -> Sequence[Proposal[SizingPlan]]:
    """The learnt rule as it comes, and with more or less trust in what was learnt."""
    plan = SizingPlan("learnt")
    plans = {
        "what pods did before, at the stated risk": plan,
        "at half the risk": replace(plan, trust=0.5),
        "at one and a half times the risk": replace(plan, trust=1.5),
        "the newer half of the past only": replace(plan, window=0.5),
        "the highest use and 40 %": SizingPlan("krr", margin=0.4),
    }
    return [Proposal(plan, "ideas", because) for because, plan in plans.items()]


def library(brief: Brief[Any]) -> Sequence[Proposal[SizingPlan]]:
    """The programs that ship: what the search for better ones starts from."""
    return [Proposal(SizingPlan("program", program=text), "library", name) for name, text in LIBRARY.items()]


@functools.lru_cache(maxsize=6)
def _views(source: str, resource: str, fingerprint: str, split: str) -> tuple[View, ...]:
    fleet = fleet_of(source, resource, fingerprint)
    return tuple(View(fleet, parts) for parts in MOMENTS[split])


def _quantiles(values: Any) -> dict[str, Json]:
    return {str(q): float(f"{np.quantile(values, q):.4g}") for q in (0.1, 0.5, 0.9, 1.0)}


def _sample(folder: Path, seed: int) -> Rightsizing:
    """Eighty pods drawn by the seed: most are steady, some wander, some grow."""
    rng = np.random.default_rng(seed)
    lines = ["time,pod,memory"]
    for pod in range(80):
        level, noise = rng.lognormal(0, 1) * 2e9, rng.choice([0.003, 0.02, 0.15], p=[0.6, 0.2, 0.2])
        slope = rng.random() if rng.random() < 0.1 else 0.0
        for step in range(96):
            use = level * (1 + slope * step / 96) * max(0.1, 1 + noise * rng.standard_normal())
            lines.append(f"{step * 60},p{pod},{use:.0f}")
    to = folder / f"usage-{seed}.csv"
    to.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Rightsizing(str(to), risk=0.15, fingerprint=str(seed))


CAPABILITY = Capability("rightsize", Rightsizing, _sample)
