"""READ FIRST. The one loop behind every capability:

    observe → propose → judge on the search split → confirm on the holdout → decide   (→ apply, in `apply.py`)

The model proposes, measurement disposes. A proposer sees a brief and nothing else; the verifier judges plans and does
not know who proposed them; the holdout is looked at once, by the finalists. Baselines are always in the race, so the
result is never worse than the best of them on what was measured, and "keep the current plan" is a good answer.

A study is resumed by asking for it again: what the ledger holds of it is not measured twice, and a decided study
returns its decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from trimtab.core import studies
from trimtab.core.budget import Meter, charged
from trimtab.core.confirm import confirm
from trimtab.core.errors import InputError
from trimtab.core.model import Brief, Decision, Failure, Proposal, Sample
from trimtab.core.ports import Ledger, Limits, Noted, Problem, Proposer, Runner
from trimtab.core.race import Race
from trimtab.core.studies import Study

P = TypeVar("P")

IDLE_ROUNDS = 3  # a proposer that has nothing new this often in a row is done
PROPOSER_FAULTS = 3  # one that raises this often in a row is not asked again


def optimize(
    problem: Problem[P],
    proposer: Proposer,
    *,
    search: Meter,
    check: Meter,
    ledger: Ledger,
    runner: Runner | None = None,
    limits: Limits | None = None,
    seed: int = 0,
) -> Decision[P]:
    """Find a plan that is better than the current one, confirmed on the holdout, or conclude that none is.

    `search` pays for the race, `check` (reserved beforehand) for the confirmation. Without a runner, measurements run
    in this process. Raises ContractError when the problem breaks its contract; what plans do never raises.
    """
    key = studies.key(problem, proposer.name, search.limit, check.limit, seed)
    past = studies.recall(problem, key, ledger)
    if past is not None:
        return past
    study = studies.open_study(problem, key, proposer.name, ledger, runner=runner, limits=limits, seed=seed)
    stopped = reason_current_fails(study, search)
    study.bench.write()
    if stopped:  # not decided: when the user has mended it, asking again must measure again
        return studies.undecided(study, search.spent, stopped)
    race = Race(study, search)
    for name, plan in study.baselines.items():
        race.enter(Proposal(plan, name, "a baseline: always in the race"), is_baseline=True)
    stopped = _search(race, proposer, study, search)
    confirmed = confirm(study, race.finalists(), check)
    said = (*confirmed.notes, *(proposer.notes if isinstance(proposer, Noted) else ()))
    return studies.decide(study, race.trials, replace(confirmed, notes=said), search.spent + check.spent, stopped)


def reason_current_fails(study: Study[P], search: Meter) -> str:
    """Why nothing can be compared, or an empty string: the current plan is what all others are measured against."""
    rung = study.problem.ladder.rungs[0]
    (outcome,) = study.bench.measure(study.current, [Sample("search", 0, rung.fraction)], search)
    return f"the current plan could not be measured: {outcome.reason}" if isinstance(outcome, Failure) else ""


def _search(race: Race[P], proposer: Proposer, study: Study[P], search: Meter) -> str:
    """Ask and judge until the budget or the ideas run out; returns why it ended."""
    idle = faults = 0
    while not search.is_spent:
        brief = Brief(
            goal=study.problem.goal,
            plan_type=study.problem.plan_type,
            current=study.current,
            objective=study.problem.objective,
            evidence=study.evidence,
            history=race.trials,
            left=search.left,
            seed=study.seed,
        )
        proposals, fault = _proposals(proposer, brief, search)
        faults = faults + 1 if fault else 0
        if faults >= PROPOSER_FAULTS:
            return f"the proposer failed: {fault}"
        if not proposals and not fault:
            return "no more ideas"
        new = race.enter_all(proposals)
        idle = 0 if new else idle + 1
        if idle >= IDLE_ROUNDS:
            return "nothing new was proposed"
    return "the search budget is spent"


def _proposals(proposer: Proposer, brief: Brief[P], search: Meter) -> tuple[Sequence[Proposal[P]], str]:
    try:
        with charged(search):
            return list(proposer.propose(brief)), ""
    except InputError:
        raise  # the caller can mend it: a missing extra, say
    except Exception as error:  # whatever else a proposer does must not end the study
        return (), f"{type(error).__name__}: {error}"[:500]
