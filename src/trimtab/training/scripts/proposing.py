"""Proposes versions of a script: all known patches together, each alone, then those that helped, together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trimtab.core.model import Brief, Comparison, Proposal
from trimtab.training.scripts.patches import KNOWN, is_exact
from trimtab.training.scripts.plan import PatchPlan

NAME = "patches"
LEAST = 0.02  # of the CPU time: a patch that brings less alone is left out of the sum
RIVALS = (("one-thread", "half-the-threads"), ("one-job", "jobs-outside-only"))  # of each, one at a time


def first(brief: Brief[Any]) -> list[Proposal[PatchPlan]]:
    """Patches that change this script, as the evidence names them: all together, then each alone."""
    facts: Any = brief.evidence.facts
    names = [name for name in KNOWN if name in facts.get("patches", {})]
    exact = tuple(name for name in names if KNOWN[name].is_exact)
    found = [Proposal(PatchPlan((name,)), NAME, KNOWN[name].why) for name in names]
    safe = without_rivals(names)
    if len(safe) > 1:
        found.insert(0, Proposal(PatchPlan(safe), NAME, "all that apply"))
    if len(exact) > 1 and exact != safe:
        found.insert(1, Proposal(PatchPlan(exact), NAME, "all that leave the result as it is"))
    return found


def together(brief: Brief[Any]) -> list[Proposal[PatchPlan]]:
    """The patches that helped alone, best first, all of them and the best two."""
    helped = sorted(
        (
            (one.verdict.gain.mid, one.proposal.plan.patches[0])
            for one in brief.history
            if isinstance(one.verdict, Comparison)
            and one.verdict.ruling != "unsafe"
            and len(one.proposal.plan.patches) == 1
            and not one.proposal.plan.edits
            and one.verdict.gain.mid > LEAST
        ),
        reverse=True,
    )
    names = [name for _, name in helped]
    plans = [without_rivals([name for name in KNOWN if name in some]) for some in (names, names[:2])]
    edits = [one.proposal.plan for one in brief.history if one.proposal.plan.edits and _gained(one.verdict)]
    found = [
        Proposal(PatchPlan(plan), NAME, "those that helped alone") for plan in dict.fromkeys(plans) if len(plan) > 1
    ]
    both = [PatchPlan(plans[0], one.edits) for one in edits[:2] if plans[0]]
    return found + [Proposal(one, NAME, "an edit that helped, with the patches that did") for one in both]


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
