"""Makes requests of the pasts of pods, and holds them against what the pods used afterwards."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.adapters.programs import Policy, compile_program
from trimtab.cluster.rightsizing.conformal import Cut, calibrated, cuts_of, learnt, without
from trimtab.cluster.rightsizing.looks import REQUEST, Series, floor_of, in_units, look
from trimtab.cluster.rightsizing.plan import SizingPlan
from trimtab.cluster.rightsizing.rule import Rule, signs_of, written
from trimtab.cluster.rightsizing.usage import Fleet
from trimtab.cluster.rightsizing.vpa import FIRST_BUCKET, Times, recommended

DRAWS = 600  # of rules
LARGEST = 1e300
OVER = 1e-9  # a request that is met exactly is not broken by rounding


@dataclass(frozen=True)
class Made:
    """Requests in the unit of use, the risk that their rule vouches for (1: none), and the rule as a program."""

    requests: Series
    vouched: float
    text: str


class View:
    """A fleet at one moment: each pod's past, and (unless it is now) what followed."""

    def __init__(self, fleet: Fleet, parts: tuple[float, float]) -> None:
        now, end = parts
        stops = [(round(now * len(pod.used)), round(end * len(pod.used))) for pod in fleet.pods]
        self.fleet = fleet
        self.pasts = [pod.used[:stop] for pod, (stop, _) in zip(fleet.pods, stops, strict=True)]
        self.times: list[Times] = [pod.times[:stop] for pod, (stop, _) in zip(fleet.pods, stops, strict=True)]
        self.futures = [pod.used[now:last] for pod, (now, last) in zip(fleet.pods, stops, strict=True)]
        self.floor = floor_of(self.pasts)
        self.cuts = functools.lru_cache(maxsize=4)(self._cuts)
        self.looks = functools.lru_cache(maxsize=4)(self._looks)

    def _cuts(self, window: float) -> tuple[Cut, ...]:
        return cuts_of([_newest(past, window) for past in self.pasts], self.floor)

    def _looks(self, window: float) -> tuple[Series, Series]:
        made = [look(_newest(past, window), self.floor) for past in self.pasts]
        return np.array([peak for peak, _ in made]), np.array([seen for _, seen in made])


def made_for(plan: SizingPlan, view: View, risk: float, apart: Sequence[int] = ()) -> Made:
    """Requests for the pods at the places `apart`, learnt from the others; or for all, learnt from all."""
    places = list(apart) or list(range(len(view.pasts)))
    if plan.kind not in ("learnt", "program"):
        return Made(_possible(np.array([_simple(plan, view, place) for place in places]), view), 1.0, "")
    cuts, horizon = view.cuts(plan.window), 1.0 / plan.window
    if apart:
        cuts = without(cuts, frozenset(apart))
    peaks, looks = (every[places] for every in view.looks(plan.window))
    if plan.kind == "learnt":
        found = learnt(cuts, plan.trust * risk, horizon=horizon, draws=DRAWS)
        wanted, vouched, text = _ruled(found.rule, looks), found.vouched, written(found.rule)
    else:
        factor, vouched = _factor(plan, cuts, plan.trust * risk, horizon)
        levels, margins = _answers(plan.program, peaks, looks)
        wanted, text = levels + factor * margins, _text(plan, factor)
    return Made(_possible(wanted * peaks, view), vouched, text)


def _possible(requests: Series, view: View) -> Series:
    """Something is always asked for; and what a share is of cannot be exceeded."""
    most = 1.0 if view.fleet.is_share else LARGEST
    return np.asarray(np.clip(requests, view.floor * OVER, most))


def outcomes(requests: Series, futures: Sequence[Series]) -> tuple[Series, npt.NDArray[np.bool_]]:
    """Of each pod: its slack, and whether it was ever over."""
    slack = np.array([1.0 - future.mean() / request for request, future in zip(requests, futures, strict=True)])
    over = [future.max() > request * (1 + OVER) for request, future in zip(requests, futures, strict=True)]
    return slack, np.array(over)


def interval(values: npt.NDArray[Any], confidence: float = 0.95, draws: int = 2000) -> tuple[float, float]:
    """A percentile interval of the mean: a bootstrap over pods."""
    rng = np.random.default_rng(0)
    means = np.array([values[rng.integers(0, len(values), len(values))].mean() for _ in range(draws)])
    low, high = np.quantile(means, ((1 - confidence) / 2, (1 + confidence) / 2))
    return float(low), float(high)


def foresight(futures: Sequence[Series], floor: float) -> Series:
    """The least requests with no pod ever over: what each will use at most."""
    return np.array([max(floor * OVER, float(future.max())) for future in futures])


def _simple(plan: SizingPlan, view: View, place: int) -> float:
    past, pod = view.pasts[place], view.fleet.pods[place]
    if plan.kind == "vpa":
        resource = view.fleet.resource
        first = FIRST_BUCKET["share" if view.fleet.is_share else resource]
        found = recommended(view.times[place], past, plan.quantile, first, is_memory=resource != "cpu")
        return found * (1.0 + plan.margin)
    if plan.kind == "krr":
        return float(np.quantile(past, plan.percentile)) * (1.0 + plan.margin)
    if pod.requested is None:
        raise ValueError(f"what the pod {pod.name} requests today is not known")
    return pod.requested


def _ruled(rule: Rule, looks: Series) -> Series:
    return np.asarray(rule.levels(looks) * (1.0 + rule.factor * rule.margins(signs_of(looks))))


def _factor(plan: SizingPlan, cuts: Sequence[Cut], risk: float, horizon: float) -> tuple[float, float]:
    """The factor on a program's room above the peak, and the risk that it vouches for."""
    if not plan.calibrated or not cuts:
        return 1.0, 1.0
    parts = [_answers(plan.program, cut.peaks, cut.looks) for cut in cuts]
    factor, vouched = calibrated([level for level, _ in parts], [margin for _, margin in parts], cuts, risk, horizon)
    return min(factor, LARGEST), vouched


def _answers(source: str, peaks: Series, looks: Series) -> tuple[Series, Series]:
    """What a program asks for up to the peak, and above it, both as shares of the peak."""
    policy: Policy = compile_program(source, REQUEST)
    given, state = in_units(peaks, looks), np.zeros(1)
    asked = np.array([policy(row, state) for row in np.ascontiguousarray(given)]) / peaks
    return np.clip(asked, 0.0, 1.0), np.clip(asked - 1.0, 0.0, LARGEST)


def _text(plan: SizingPlan, factor: float) -> str:
    if not plan.calibrated:
        return plan.program.strip() + "\n"
    return f"{plan.program.strip()}\n# what it asks for above the peak is taken {factor:.5g} times\n"


def _newest(past: Series, share: float) -> Series:
    return past[len(past) - max(1, round(share * len(past))) :]
