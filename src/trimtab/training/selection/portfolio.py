"""Strong and different starts, learned on many tables; then blends of what did well here, and steps from it."""

from __future__ import annotations

import functools
import importlib.resources
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from trimtab.core.model import Brief, Comparison, Interval, Proposal, Trial
from trimtab.core.space import Float, Int, knobs, settle
from trimtab.core.wire import load
from trimtab.training.selection.plan import ModelPlan

LEARNED = "portfolio.json"  # beside this file; benchmarks/training/portfolio.py makes it


@functools.cache
def ideas() -> tuple[tuple[str, ModelPlan], ...]:
    """The learned portfolio: why, and the plan; in the order in which each adds most to those before it."""
    text = importlib.resources.files(__package__).joinpath(LEARNED).read_text(encoding="utf-8")
    return tuple((one["because"], load(ModelPlan, one["plan"])) for one in json.loads(text)["entries"])


def portfolio(brief: Brief[Any]) -> Sequence[Proposal[ModelPlan]]:
    """What is tried before any search."""
    return [Proposal(plan, "portfolio", because) for because, plan in ideas()]


# The best of the learned starts draw columns: whether more of them help is tried early.
MOVES: tuple[tuple[str, Callable[[ModelPlan], dict[str, Any]]], ...] = (
    ("larger trees", lambda plan: {"leaves": plan.leaves * 2, "min_leaf": plan.min_leaf // 2}),
    ("more columns", lambda plan: {"feature_share": plan.feature_share + 0.2, "node_share": plan.node_share + 0.4}),
    ("smaller leaves", lambda plan: {"min_leaf": plan.min_leaf // 4}),
    ("fewer columns", lambda plan: {"feature_share": plan.feature_share - 0.2}),
    ("smaller trees", lambda plan: {"leaves": plan.leaves // 2}),
    ("larger leaves", lambda plan: {"min_leaf": plan.min_leaf * 4}),
    ("fewer rows", lambda plan: {"bagging_share": plan.bagging_share - 0.2}),
    ("slower", lambda plan: {"learning_rate": plan.learning_rate / 2}),
)


def refinements(brief: Brief[Any]) -> Sequence[Proposal[ModelPlan]]:
    """The best boosted model so far with one thing changed: what helped last is tried first, one at a time.

    With few trials to spend, such steps find more than a model of the whole space (Wu, Wang and Huang, AAAI 2021).
    """
    full = _full(brief)
    if not full:
        return ()
    best = full[0][1].proposal
    known = {trial.proposal.plan for trial in brief.history}
    for name, change in sorted(MOVES, key=lambda move: move[0] != best.because):
        plan = settle(replace(best.plan, **_within(change(best.plan))))
        if plan not in known:
            return [Proposal(plan, "refine", name)]
    return ()


FEW_LEAVES = 31  # are not halved


@dataclass(frozen=True)
class Twin:
    """Another way to teach the same trees: who proposes it, the plan's field and its value, why.

    `has_fewer_leaves`: half of them, where there are many.
    """

    by: str
    field: str
    value: str
    because: str
    has_fewer_leaves: bool = False

    def of(self, plan: ModelPlan) -> ModelPlan:
        """The plan, taught so; the plan itself where it is already."""
        if getattr(plan, self.field) == self.value:
            return plan
        leaves = max(min(FEW_LEAVES, plan.leaves), plan.leaves // 2) if self.has_fewer_leaves else plan.leaves
        changes: dict[str, Any] = {self.field: self.value, "leaves": leaves}
        return replace(plan, **changes)


LOG = Twin("log", "target", "log", "its errors are shares of the target, not amounts")
LINEAR_LEAVES = Twin("linear leaves", "leaf", "linear", "a smooth target needs fewer splits", has_fewer_leaves=True)


def twins(brief: Brief[Any], kinds: Sequence[Twin]) -> Sequence[Proposal[ModelPlan]]:
    """The best boosted model so far, taught otherwise; again for a later best only where the last kept up with its own.

    Even where it errs as much, it errs elsewhere: its mean with a plain one errs less.
    """
    gains = {one.proposal.plan: cast(Comparison, one.verdict).gain for _, one in _full(brief)}
    if len(gains) < LEAST_FITS:
        return ()
    known = [one.proposal.plan for one in brief.history]
    for kind in kinds:
        tried = [one.proposal.plan for one in brief.history if one.proposal.by == kind.by]
        plan = kind.of(next(iter(gains)))
        if plan not in known and (not tried or _kept_up(tried[-1], known, gains)):
            return [Proposal(plan, kind.by, kind.because)]
    return ()


NETWORKS = "network"  # who proposes them; they are looked at fully: alone they seldom win, in blends they may
HIDDEN: Literal[128] = 128


def network(brief: Brief[Any]) -> Sequence[Proposal[ModelPlan]]:
    """One network, once some boosted models are known."""
    if len(_full(brief)) < LEAST_FITS:
        return ()
    return [Proposal(ModelPlan(family="linear", hidden=HIDDEN), NETWORKS, "it bends where trees step: they err apart")]


SYMMETRIC = "symmetric trees"  # who proposes them
RANKED = ModelPlan(trees="symmetric", learning_rate=0.06, categories="ranks")
WORDED = replace(RANKED, categories="native")


def symmetric(brief: Brief[Any], plans: Sequence[ModelPlan]) -> Sequence[Proposal[ModelPlan]]:
    """The first of such plans, once some boosted models are known; the others while one of them is the best alone."""
    boosted = _full(brief)
    if len(boosted) < LEAST_FITS:
        return ()
    gains = {one.proposal.plan: gain for gain, one in _full(brief, are_mixed=True) if one.proposal.by == SYMMETRIC}
    known = {one.proposal.plan for one in brief.history}
    left = [plan for plan in plans if settle(plan) not in known]
    if len(left) < len(plans) and max(gains.values(), default=-math.inf) < boosted[0][0]:
        return ()
    because = "a level of a tree asks one question: it errs apart from others"
    return [Proposal(plan, SYMMETRIC, because) for plan in left[:1]]


def _kept_up(plan: ModelPlan, known: Sequence[ModelPlan], gains: Mapping[ModelPlan, Interval]) -> bool:
    """Whether a plan did as well as the best before it, or worse by no more than a standard error."""
    if plan not in gains:
        return False
    gain, before = gains[plan], [gains[one].mid for one in known[: known.index(plan)] if one in gains]
    return gain.mid + gain.standard_error >= max(before, default=-math.inf)


def _within(values: dict[str, Any]) -> dict[str, Any]:
    """Values cut to the ranges of their knobs."""
    ranges = {knob.name: knob.range for knob in knobs(ModelPlan)}
    cut = {}
    for name, value in values.items():
        allowed = ranges[name]
        assert isinstance(allowed, (Int, Float))
        cut[name] = min(allowed.high, max(allowed.low, value))
    return cut


def _full(brief: Brief[Any], *, are_mixed: bool = False) -> list[tuple[float, Trial[Any]]]:
    """Single models that were looked at as fully as any, best gain first: boosted ones, or of all families."""
    found = [
        (verdict.samples, verdict.gain.mid, one)
        for one in brief.history
        if isinstance(verdict := one.verdict, Comparison) and verdict.fraction == 1.0 and verdict.ruling != "unsafe"
        if (are_mixed or _is_boosted(one.proposal.plan)) and not one.proposal.plan.others
    ]
    most = max((samples for samples, *_ in found), default=0)
    return [(gain, one) for samples, gain, one in sorted(found, key=lambda way: -way[1]) if samples == most]


def _is_boosted(plan: ModelPlan) -> bool:
    """Whether it is LightGBM's, with the knobs that are searched."""
    return plan.family == "lightgbm" and plan.trees == "leafwise"


@dataclass(frozen=True)
class Terms:
    """Which blends are made. `affordable`: CPU seconds that the members' trainings may cost in sum."""

    affordable: float
    sizes: tuple[int, ...] = (2, 3, 4)
    are_mixed: bool = False  # with linear models and default LightGBM: what predicts is then no single booster


BLENDS = "blend"  # who proposes them
BLENDED_SHARE = 0.4  # of what all fits have cost: a blend that is chosen is trained once more, on more rows
LEAST_FITS = 2


def blends(brief: Brief[Any], terms: Terms | None = None) -> Sequence[Proposal[ModelPlan]]:
    """Means of the best models found so far, as many as their training is affordable; boosted ones, if not said else.

    Models that err differently err less together (Caruana et al., ICML 2004), and on the search split it costs nothing
    to see by how much.
    """
    terms = terms or Terms(BLENDED_SHARE * sum(map(_training, brief.history)))
    ranked = candidates(brief, are_mixed=terms.are_mixed)
    if len(ranked) < LEAST_FITS:
        return ()
    members, cost = [], 0.0
    for _, price, plan in ranked:
        if cost + price <= terms.affordable:
            members.append(plan)
            cost += price
    made = []
    for count in terms.sizes:
        if count <= len(members):
            first, *others = members[:count]
            made.append(Proposal(replace(first, others=tuple(others)), BLENDS, f"the mean of the {count} best so far"))
    return made


def candidates(brief: Brief[Any], *, are_mixed: bool) -> list[tuple[float, float, ModelPlan]]:
    """Gain, CPU seconds of a training and plan of what blends are made of, best first."""
    ranked = [(gain, _training(one), one.proposal.plan) for gain, one in _full(brief, are_mixed=are_mixed)]
    if not (are_mixed and ranked):
        return ranked
    # What all are compared with is as good as itself, and trained already.
    return sorted([*ranked, (0.0, 0.0, brief.current)], key=lambda one: -one[0])


def derived(brief: Brief[Any]) -> Sequence[Proposal[ModelPlan]]:
    """What is made of the plans that were tried: blends cost nothing to look at, then one refinement."""
    return [*blends(brief), *refinements(brief)]


def _training(trial: Trial[Any]) -> float:
    is_blend = bool(trial.proposal.plan.others)
    return trial.verdict.metrics["train_cpu_seconds"] if isinstance(trial.verdict, Comparison) and not is_blend else 0.0
