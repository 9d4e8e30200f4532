"""Which smaller models are tried, from few fits: cheap students, cuts, dearer students, then the gaps between them.

A cut model costs no fit; so do the first trees of a student. Widths and depths are tried in the order of their FLOPs:
no proxy that was published ranks networks reliably better than their parameters and FLOPs do (White et al., ICLR
blog track 2022), so that none is used, and how well these two rank is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from trimtab.core.model import Brief, Comparison, Proposal, Refusal, Trial
from trimtab.core.space import settle
from trimtab.training.architecture.plan import MOST_TREES, ShrinkPlan

NAME = "shrink"
NETWORK_SECONDS = 2e-4  # CPU, that a network takes for each row, about: it is not begun where less is left
_SIZE = {"cut": "kept", "boosted": "trees"}  # the knob of each kind whose values share a fit
CLOSE = 1.2  # two sizes with a smaller ratio have nothing between them that is worth a look
SHARES = (0.5, 0.25, 0.1, 0.05, 0.02)
TREES = (MOST_TREES, 56, 24, 10, 4)
# Width and depth; FLOPs go with the depth and the square of the width.
SIZES = ((1.0, 0.5), (0.5, 1.0), (0.5, 0.5), (0.25, 1.0), (0.25, 0.5), (0.125, 1.0), (0.125, 0.5), (0.0625, 0.5))
# Few rows and small trees make most of the front, since each cost is counted by its ratio.
CHEAP: tuple[tuple[str, ShrinkPlan], ...] = (
    ("few rows, very small trees", ShrinkPlan("boosted", leaves=4, rate=0.2, rows=0.05)),
    ("some rows, small trees in long steps", ShrinkPlan("boosted", leaves=8, rate=0.4, rows=0.25)),
    ("few rows, shorter steps", ShrinkPlan("boosted", leaves=4, rate=0.1, rows=0.1)),
    ("small trees in long steps", ShrinkPlan("boosted", leaves=8, rate=0.4)),
    ("some rows, larger trees", ShrinkPlan("boosted", leaves=16, rate=0.4, rows=0.25)),
)
DEARER: tuple[tuple[str, ShrinkPlan], ...] = (
    ("taught by today's model", ShrinkPlan("boosted", leaves=31, rate=0.3, taught=0.7)),
    ("few large trees, taught", ShrinkPlan("boosted", leaves=64, rate=0.4, taught=0.7)),
    ("small trees, taught", ShrinkPlan("boosted", leaves=12, rate=0.4, taught=0.7)),
    # A prediction pays for a tree's depth, the logarithm of its leaves: few very large trees hold what many small do.
    ("few very large trees, taught", ShrinkPlan("boosted", leaves=255, rate=0.3, taught=0.7)),
)
SINGLES: tuple[tuple[str, ShrinkPlan], ...] = (
    ("a linear model of few rows", ShrinkPlan("linear", rows=0.1)),
    ("a linear model", ShrinkPlan("linear")),
    ("half of the columns", ShrinkPlan("boosted", leaves=16, rate=0.3, columns=0.5)),
    ("a quarter of the columns", ShrinkPlan("boosted", leaves=16, rate=0.3, columns=0.25)),
    ("a small network, taught", ShrinkPlan("network", taught=0.7)),
)


def first(brief: Brief[Any]) -> Sequence[Proposal[ShrinkPlan]]:
    """One cut and one size: whether today's model can be made smaller at all."""
    return [
        _idea(ShrinkPlan("cut", kept=SHARES[0]), "half of today's trees"),
        _idea(ShrinkPlan("resized", width=SIZES[0][0], depth=SIZES[0][1]), "half of today's depth"),
    ]


def further(brief: Brief[Any]) -> Sequence[Proposal[ShrinkPlan]]:
    """The next group of plans, of which the first pays for a fit at the most."""
    known = {one.proposal.plan for one in brief.history}
    for group in _groups(brief):
        new = [one for one in group if settle(one.plan) not in known]
        if new:
            return new
    return ()


def _groups(brief: Brief[Any]) -> Iterator[list[Proposal[ShrinkPlan]]]:
    for because, plan in CHEAP:
        yield [_idea(replace(plan, trees=trees), because) for trees in TREES]
    if _is_possible(brief, "cut"):
        yield [_idea(ShrinkPlan("cut", kept=share), f"the first {share:.0%} of today's trees") for share in SHARES]
    if _is_possible(brief, "resized"):
        yield _smaller(brief)
    for because, plan in DEARER:
        yield [_idea(replace(plan, trees=trees), because) for trees in TREES]
    for because, plan in SINGLES:
        if plan.kind != "network" or _rows(brief) * NETWORK_SECONDS < brief.left.cpu_seconds:
            yield [_idea(plan, because)]
    yield _between(brief)


def _rows(brief: Brief[Any]) -> float:
    count = brief.evidence.facts["rows"]
    return float(count) if isinstance(count, int) else 0.0


def _idea(plan: ShrinkPlan, because: str) -> Proposal[ShrinkPlan]:
    return Proposal(plan, NAME, because)


def _is_possible(brief: Brief[Any], kind: str) -> bool:
    """Whether today's model can be changed so: the first that was tried was measured."""
    tried = [one.verdict for one in brief.history if one.proposal.plan.kind == kind]
    return bool(tried) and not all(isinstance(one, Refusal) for one in tried)


def _smaller(brief: Brief[Any]) -> list[Proposal[ShrinkPlan]]:
    """The next smaller size of today's model, until two in a row have lost too much."""
    tried = [one for one in brief.history if one.proposal.plan.kind == "resized"]
    if len(tried) >= len(SIZES) or (len(tried) > 1 and not any(_is_safe(one) for one in tried[-2:])):
        return []
    width, depth = SIZES[len(tried)]
    return [_idea(ShrinkPlan("resized", width=width, depth=depth), "the next fewer FLOPs")]


def _between(brief: Brief[Any]) -> list[Proposal[ShrinkPlan]]:
    """In each family, the size half-way between the smallest that is safe and the next smaller that is not."""
    found = []
    for family in {_family(one.proposal.plan): None for one in brief.history if one.proposal.plan.kind in _SIZE}:
        members = sorted(
            (getattr(plan, _SIZE[plan.kind]), _is_safe(one))
            for one in brief.history
            if _family(plan := one.proposal.plan) == family and isinstance(one.verdict, Comparison)
        )
        for (small, is_safe), (large, is_larger_safe) in pairwise(members):
            if is_larger_safe and not is_safe and (middle := _middle(small, large)):
                plan = _sized(family, middle)
                found.append(_idea(plan, "between one that is safe and one that is not"))
    return found


def _family(plan: ShrinkPlan) -> ShrinkPlan:
    """The plan without its size: what shares a fit."""
    return replace(plan, kept=1.0, trees=ShrinkPlan.trees)


def _sized(family: ShrinkPlan, size: float) -> ShrinkPlan:
    return replace(family, kept=size) if family.kind == "cut" else replace(family, trees=int(size))


def _middle(small: float, large: float) -> float:
    """The geometric middle; 0 where there is none."""
    middle = (small * large) ** 0.5
    if isinstance(small, int):
        middle = round(middle)
    return middle if large / small > CLOSE and small < middle < large else 0.0


def _is_safe(trial: Trial[Any]) -> bool:
    return isinstance(trial.verdict, Comparison) and trial.verdict.ruling != "unsafe"
