"""Confirmation: finalists and baselines meet the current plan on the holdout, with intervals for their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from trimtab.core.budget import Meter
from trimtab.core.events import Judged
from trimtab.core.model import Comparison, Outcome, Proposal, Refusal, Sample, Trial, Verdict
from trimtab.core.race import measured, refused
from trimtab.core.space import settle
from trimtab.core.studies import Study
from trimtab.core.verifier import compare
from trimtab.core.wire import dump

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Confirmed(Generic[P]):
    """What the holdout said."""

    winner: Trial[P] | None
    baselines: Mapping[str, Verdict]
    notes: tuple[str, ...]


def confirm(study: Study[P], finalists: Sequence[Trial[P]], check: Meter) -> Confirmed[P]:
    """Compare every finalist and baseline with the current plan on the holdout; the best that is better wins.

    Intervals are Bonferroni-corrected for all plans compared. Finalists go first: when `check` runs out, what was not
    measured cannot win, and a note says so.
    """
    entries = {study.bench.key(trial.proposal.plan): trial.proposal for trial in finalists}
    for name, plan in study.baselines.items():
        entries.setdefault(study.bench.key(settle(plan)), Proposal(settle(plan), name))
    entries.pop(study.bench.key(study.current), None)
    pairs: dict[str, tuple[list[Outcome], list[Outcome]]] = {}
    notes = []
    for key, proposal in entries.items():
        if check.is_spent:
            notes.append(f"not confirmed, the budget for checks ran out: {proposal.by}")
            continue
        pairs[key] = _on_holdout(study, proposal.plan, check)
    trials = {key: Trial(entries[key], _verdict(study, *pair, len(pairs))) for key, pair in pairs.items()}
    study.bench.write(*(_judged(study.key, key, trial) for key, trial in trials.items()))
    named = {study.bench.key(settle(plan)): name for name, plan in study.baselines.items()}
    baselines = {name: trials[key].verdict for key, name in named.items() if key in trials}
    return Confirmed(_best(list(trials.values())), baselines, tuple(notes))


def _judged(study: str, key: str, trial: Trial[P]) -> Judged:
    proposal = trial.proposal
    return Judged(study, dump(proposal.plan), key, proposal.by, proposal.because, trial.verdict)


def _on_holdout(study: Study[P], plan: P, check: Meter) -> tuple[list[Outcome], list[Outcome]]:
    ladder = study.problem.ladder
    samples = [Sample("holdout", seed) for seed in range(ladder.holdout_seeds)]
    return study.bench.measure_pairs(study.current, plan, samples, check, interleaved=ladder.interleaved)


def _verdict(study: Study[P], current: list[Outcome], plan: list[Outcome], tests: int) -> Verdict:
    refusal: Refusal | None = refused(current, plan)
    if refusal is not None:
        return refusal
    return compare(study.problem.objective, measured(current), measured(plan), split="holdout", tests=tests)


def _best(trials: Sequence[Trial[P]]) -> Trial[P] | None:
    better = [
        (one.verdict.gain.mid, one)
        for one in trials
        if isinstance(one.verdict, Comparison) and one.verdict.ruling == "better"
    ]
    return max(better, key=lambda one: one[0])[1] if better else None
