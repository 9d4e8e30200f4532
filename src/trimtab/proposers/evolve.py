"""Evolves policy programs: small changes to the best and most different ones, with no model at all.

A steady-state search with tournaments over the programs that were measured (as in genetic improvement of software;
Langdon and Harman 2015), numbers first: it is the baseline that a language model must beat at equal evaluations.
What is proposed depends on the seed and the history alone, so that a resumed study goes on as it would have.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from trimtab.core.model import Brief, Comparison, Proposal, Trial
from trimtab.core.space import Knob, Source, draw, faults, knobs, settle
from trimtab.proposers.variation import varied

P = TypeVar("P")

POPULATION = 12  # of the best, different programs
TOURNAMENT = 3
TRIES = 40  # to get a valid new program out of a parent
OTHER_KNOBS = 0.3  # share of the children whose other knobs move, too


class Evolve:
    """Proposes `batch` changed programs at a time, once the history holds any; nothing for plans without programs."""

    name = "evolve"

    def __init__(self, *, seed: int = 0, batch: int = 1) -> None:
        self._seed, self._batch = seed, batch

    def propose(self, brief: Brief[P]) -> Sequence[Proposal[P]]:
        """Children of the best programs so far."""
        written = next((knob for knob in knobs(brief.plan_type) if isinstance(knob.range, Source)), None)
        parents = population(brief, written) if written is not None else []
        if written is None or not parents:
            return ()
        rng = random.Random(f"{self._seed} {brief.seed} {len(brief.history)}")
        known = {trial.proposal.plan for trial in brief.history} | {brief.current}
        made: list[Proposal[P]] = []
        for _ in range(self._batch):
            child = _child(parents, written, known, rng)
            if child is not None:
                known.add(child.plan)
                made.append(child)
        return made


def population(brief: Brief[P], written: Knob) -> list[Trial[P]]:
    """The best programs that were measured, best first, of those that score alike only one."""
    found: dict[tuple[float, float], Trial[P]] = {}
    for trial in sorted(brief.history, key=_rank, reverse=True):
        if written.matters(_values(trial.proposal.plan)) and isinstance(trial.verdict, Comparison):
            found.setdefault(_rank(trial), trial)
    return list(found.values())[:POPULATION]


def _rank(trial: Trial[Any]) -> tuple[float, float]:
    """Safe plans before unsafe ones, full looks before cheap ones, then by gain."""
    if not isinstance(trial.verdict, Comparison):
        return -2.0, float("-inf")
    is_safe = trial.verdict.ruling != "unsafe"
    return (trial.verdict.fraction if is_safe else trial.verdict.fraction - 1.5), trial.verdict.gain.mid


def _child(parents: Sequence[Trial[P]], written: Knob, known: set[P], rng: random.Random) -> Proposal[P] | None:
    for _ in range(TRIES):
        parent = parents[min(rng.randrange(len(parents)) for _ in range(min(TOURNAMENT, len(parents))))].proposal.plan
        others = [getattr(one.proposal.plan, written.name) for one in parents if one.proposal.plan != parent]
        try:
            text, because = varied(getattr(parent, written.name), others, rng)
        except ValueError:
            continue
        changes: dict[str, Any] = {written.name: text}
        if rng.random() < OTHER_KNOBS:
            changes |= _moved_knob(parent, written, rng)
        plan = cast(P, settle(replace(cast(Any, parent), **changes)))
        if plan not in known and not faults(plan):
            return Proposal(plan, Evolve.name, because[:200])
    return None


def _moved_knob(parent: Any, written: Knob, rng: random.Random) -> dict[str, Any]:
    """A new value for one of the other knobs that matter."""
    values = _values(parent)
    free = [
        knob for knob in knobs(type(parent)) if knob.matters(values) and knob.when is not None and knob is not written
    ]
    if not free:
        return {}
    knob = rng.choice(free)
    return {knob.name: getattr(draw(type(parent), rng, **_fixed(parent, knob)), knob.name)}


def _fixed(parent: Any, but: Knob) -> dict[str, Any]:
    return {name: value for name, value in vars(parent).items() if name != but.name}


def _values(plan: Any) -> dict[str, Any]:
    return {knob.name: getattr(plan, knob.name) for knob in knobs(type(plan))}
