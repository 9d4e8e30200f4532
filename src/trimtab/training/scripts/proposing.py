"""Proposes versions of a script: all known patches together, then each left out or alone, then those that helped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trimtab.core.model import Brief, Comparison, Proposal
from trimtab.training.scripts.patches import KNOWN, is_exact
from trimtab.training.scripts.plan import PatchPlan

NAME = "patches"
LEAST = 0.02  # of the cost: a patch that brings less is left out of the sum
WORTH = 0.2  # of the cost: where all together save so much, patches are told apart by leaving them out
RIVALS = (
    ("one-thread", "half-the-threads"),
    ("one-job", "jobs-outside-only"),
    ("loader-in-process", "loader-workers"),
)  # of each, one at a time


def first(brief: Brief[Any]) -> list[Proposal[PatchPlan]]:
    """All patches that change this script, as the evidence names them, together."""
    whole = _whole(brief)
    return [Proposal(PatchPlan(whole), NAME, "all that apply")] if len(whole) > 1 else []


def each(brief: Brief[Any]) -> list[Proposal[PatchPlan]]:
    """One by one: left out of all where all together help much, since runs are cheap then; else each alone."""
    names, whole = _named(brief), _whole(brief)
    if _saved(brief, whole) >= WORTH:
        left_out = [Proposal(PatchPlan(_without(whole, name)), NAME, f"all but {name}") for name in whole]
        rivals = [name for name in names if name not in whole]
        return left_out + [Proposal(PatchPlan(_instead(whole, name)), NAME, KNOWN[name].why) for name in rivals]
    exact = tuple(name for name in names if KNOWN[name].is_exact)
    safe = [Proposal(PatchPlan(exact), NAME, "all that leave the result as it is")] if len(exact) > 1 else []
    return safe + [Proposal(PatchPlan((name,)), NAME, KNOWN[name].why) for name in names]


def together(brief: Brief[Any]) -> list[Proposal[PatchPlan]]:
    """What is worth keeping of all; or what helped alone, all of it and the best two. With edits that helped, too."""
    if _saved(brief, _whole(brief)) >= WORTH:
        plans, why = [_worth_keeping(brief)], "all that each save something"
    else:
        names = sorted((name for name in _named(brief) if _saved(brief, (name,)) > LEAST),
                       key=lambda name: -_saved(brief, (name,)))  # fmt: skip
        plans = [without_rivals([name for name in KNOWN if name in some]) for some in (names, names[:2])]
        why = "those that helped alone"
    edits = [one.proposal.plan for one in brief.history if one.proposal.plan.edits and _gained(one.verdict)]
    found = [Proposal(PatchPlan(plan), NAME, why) for plan in dict.fromkeys(plans) if plan]
    both = [PatchPlan(plans[0], one.edits) for one in edits[:2] if plans[0]]
    return found + [Proposal(one, NAME, "an edit that helped, with the patches that did") for one in both]


def _named(brief: Brief[Any]) -> list[str]:
    facts: Any = brief.evidence.facts
    return [name for name in KNOWN if name in facts.get("patches", {})]


def _whole(brief: Brief[Any]) -> tuple[str, ...]:
    return without_rivals(_named(brief))


def _without(whole: Sequence[str], name: str) -> tuple[str, ...]:
    return tuple(one for one in whole if one != name)


def _instead(whole: Sequence[str], name: str) -> tuple[str, ...]:
    """With a patch in the place of its rival."""
    return tuple(name if any({name, one} <= set(pair) for pair in RIVALS) else one for one in whole)


def _worth_keeping(brief: Brief[Any]) -> tuple[str, ...]:
    """All patches but those without which it costs no more; one whose rival saves more gives way to it.

    Without all of those at once, unless that was tried and costs more, as where two do the same: then one by one.
    """
    whole = kept = _whole(brief)
    cost = 1.0 - _saved(brief, whole)
    for name in _named(brief):
        if name not in whole and 1.0 - _saved(brief, _instead(whole, name)) < cost * (1.0 - LEAST):
            kept = _instead(kept, name)
    most = cost * (1.0 + LEAST)
    spare = [name for name in whole if name in kept and 1.0 - _saved(brief, _without(whole, name)) <= most]
    least = tuple(name for name in kept if name not in spare)
    if least and (not _is_tried(brief, least) or 1.0 - _saved(brief, least) <= most):
        return least
    for name in spare:
        fewer = _without(kept, name)
        if fewer and not _is_tried(brief, fewer):
            return fewer
        if 1.0 - _saved(brief, fewer) <= most:
            kept = fewer
    return kept


def _is_tried(brief: Brief[Any], patches: Sequence[str]) -> bool:
    return any(one.proposal.plan == PatchPlan(tuple(patches)) for one in brief.history)


def _saved(brief: Brief[Any], patches: Sequence[str]) -> float:
    """The share of the cost that patches saved; below any where they were not tried, or not safe."""
    for one in brief.history:
        plan, verdict = one.proposal.plan, one.verdict
        if plan.patches == tuple(patches) and not plan.edits and isinstance(verdict, Comparison):
            return verdict.gain.mid if verdict.ruling != "unsafe" else float("-inf")
    return float("-inf")


def without_rivals(names: Sequence[str]) -> tuple[str, ...]:
    """Of patches that do the same in two ways, the first that is named."""
    kept: list[str] = []
    for name in names:
        if not any(name in pair and set(pair) & set(kept) for pair in RIVALS):
            kept.append(name)
    return tuple(kept)


def describe(plan: PatchPlan) -> str:
    """A plan in words."""
    named = ", ".join(plan.patches)
    edits = f"{len(plan.edits)} edit{'s' if len(plan.edits) > 1 else ''}" if plan.edits else ""
    return " + ".join(one for one in (named, edits) if one) or "as it is"


def kind(plan: PatchPlan) -> str:
    """How equal the result must be."""
    return "the same to rounding" if is_exact(plan) else "as good, seed by seed"


def _gained(verdict: object) -> bool:
    return isinstance(verdict, Comparison) and verdict.ruling != "unsafe" and verdict.gain.mid > 0
