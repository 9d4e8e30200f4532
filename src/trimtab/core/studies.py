"""Studies: one run of the loop on one problem. Opens, closes and recalls them in the ledger."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from trimtab.core import portable
from trimtab.core.errors import ContractError
from trimtab.core.events import Decided, Judged, StudyOpened
from trimtab.core.measuring import Bench
from trimtab.core.model import Decision, Evidence, Json, Proposal, Spend, Trial
from trimtab.core.ports import Ledger, Limits, Problem, Runner
from trimtab.core.space import faults
from trimtab.core.stamp import code_stamp
from trimtab.core.wire import canonical, digest, dump, load

if TYPE_CHECKING:
    from trimtab.core.confirm import Confirmed

P = TypeVar("P")

EVIDENCE_BYTES = 8192


@dataclass(frozen=True)
class Study(Generic[P]):
    """What stays the same while one problem is being decided."""

    key: str
    problem: Problem[P]
    current: P
    baselines: Mapping[str, P]  # without "current"
    evidence: Evidence
    bench: Bench[P]
    ledger: Ledger
    seed: int


def key(problem: Problem[Any], proposer: str, search: Spend, check: Spend, seed: int) -> str:
    """The study's content key: the same problem, data, proposer, budgets and program version give the same key."""
    return digest([_spec(problem), proposer, search, check, seed, code_stamp()])[:16]


def open_study(
    problem: Problem[P],
    study: str,
    proposer: str,
    ledger: Ledger,
    *,
    runner: Runner | None,
    limits: Limits | None,
    seed: int,
) -> Study[P]:
    """Observe, check the problem's promises and write the opening to the ledger (once).

    Raises ContractError when there is no valid "current" baseline, or the evidence does not fit a prompt.
    """
    baselines = dict(problem.baselines())
    current = _current(problem, baselines)
    evidence = problem.observe()
    size = len(canonical(evidence.facts).encode())
    if size > EVIDENCE_BYTES:
        raise ContractError(f"the evidence of {problem.name} has {size} bytes", hint=f"at most {EVIDENCE_BYTES}")
    if next(ledger.events(StudyOpened, study=study), None) is None:
        spec = _spec(problem)
        ledger.append(StudyOpened(study, problem.name, problem.goal, proposer, spec, _facts(evidence), {}))
    bench = Bench(problem, study, ledger, runner, limits)
    return Study(study, problem, current, baselines, evidence, bench, ledger, seed)


def decide(
    study: Study[P], trials: tuple[Trial[P], ...], confirmed: Confirmed[P], spent: Spend, stopped: str
) -> Decision[P]:
    """Write the decision to the ledger and return it."""
    winner, name = confirmed.winner, study.problem.name
    decision = f"{name}-{digest([study.key, stopped])[:8]}"
    study.ledger.append(
        Decided(
            study=study.key,
            decision=decision,
            problem=name,
            current=dump(study.current),
            winner=None if winner is None else dump(winner.proposal.plan),
            by="" if winner is None else winner.proposal.by,
            verdict=None if winner is None else winner.verdict,
            baselines=confirmed.baselines,
            spent=spent,
            stopped=stopped,
            notes=confirmed.notes,
        )
    )
    return Decision(
        decision, study.key, name, study.current, winner, trials, confirmed.baselines, spent, stopped, confirmed.notes
    )


def undecided(study: Study[P], spent: Spend, stopped: str) -> Decision[P]:
    """A decision that could not be made, which the ledger does not hold."""
    return Decision("", study.key, study.problem.name, study.current, None, (), {}, spent, stopped)


def recall(problem: Problem[P], study: str, ledger: Ledger) -> Decision[P] | None:
    """The decision of a study that the ledger has seen to its end, or None."""
    ended = next(ledger.events(Decided, study=study), None)
    if ended is None:
        return None
    past = ended.event
    judged: dict[str, Judged] = {}
    for one in ledger.events(Judged, study=study):
        judged.setdefault(one.event.plan_key, one.event)  # a second verdict on a plan is the holdout's
    trials = tuple(_trial(problem, one) for one in judged.values())
    winner = None
    if past.verdict is not None:
        winner = Trial(Proposal(load(problem.plan_type, past.winner), past.by), past.verdict)
    return Decision(
        id=past.decision,
        study=study,
        problem=past.problem,
        current=load(problem.plan_type, past.current),
        winner=winner,
        trials=trials,
        baselines=past.baselines,
        spent=past.spent,
        stopped=past.stopped,
        notes=past.notes,
    )


def _trial(problem: Problem[P], event: Judged) -> Trial[P]:
    return Trial(Proposal(load(problem.plan_type, event.plan), event.by, event.because), event.verdict)


def _current(problem: Problem[P], baselines: dict[str, P]) -> P:
    if "current" not in baselines:
        raise ContractError(f"{problem.name} has no baseline named 'current'", hint=f"it has {sorted(baselines)}")
    current = baselines.pop("current")
    wrong = faults(current)
    if wrong:
        raise ContractError(f"the current plan of {problem.name} lies outside its space: {'; '.join(wrong)}")
    return current


def _spec(problem: Problem[Any]) -> dict[str, Json]:
    try:
        reference: Json = dict(portable.reference(problem))
    except ContractError:
        reference = f"{type(problem).__module__}:{type(problem).__qualname__}"
    spec = dump([problem.objective, problem.ladder])
    return {"problem": reference, "goal": problem.goal, "judged": spec}


def _facts(evidence: Evidence) -> dict[str, Json]:
    facts: dict[str, Json] = json.loads(canonical(dataclasses.asdict(evidence)))
    return facts
