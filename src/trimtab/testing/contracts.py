"""The promises of `core.ports` as checks. Each raises AssertionError that names the promise which was broken."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from trimtab.core import portable
from trimtab.core.events import Judged, StudyOpened
from trimtab.core.model import Brief, Evidence, Json, Measurement, Refusal, Sample, Spend, Trial
from trimtab.core.ports import Capability, Ledger, Limits, Problem, Proposer, Target
from trimtab.core.space import faults, settle
from trimtab.core.studies import EVIDENCE_BYTES
from trimtab.core.wire import canonical, dump, load

P = TypeVar("P")


def check_problem(capability: Capability, folder: Path) -> None:
    """Check a capability's problem on its sample. `folder` is an empty folder for what the sample writes."""
    problem = capability.sample(folder, 0)
    assert isinstance(problem, capability.problem), "sample() must make the capability's own problem"
    assert capability.verb.isidentifier(), "the verb is one word"
    assert problem.goal, "a goal is a sentence for people and models"
    _check_plans(problem)
    _check_evidence(problem.observe())
    current = problem.baselines()["current"]
    for rung in problem.ladder.rungs:
        _check_measurement(problem, problem.measure(current, Sample("search", 0, rung.fraction)))
    _check_repeats(problem, current)
    _check_portable(problem, current)
    _check_holdout(problem, current)


def check_proposer(make: Callable[[], Proposer], problem: Problem[Any], *, rounds: int = 3) -> None:
    """Check that proposals are valid plans with an author, and that equal briefs to equal proposers get equal answers.

    Nothing is measured: every proposal is told back as refused, which a proposer has to live with.
    """
    first, second = make(), make()
    assert first.name, "a proposer has a name: it is part of the study's key"
    history: tuple[Trial[Any], ...] = ()
    for _ in range(rounds):
        brief = _brief(problem, history)
        proposals = list(first.propose(brief))
        assert dump(proposals) == dump(list(second.propose(brief))), "equal briefs must get equal answers"
        for one in proposals:
            assert type(one.plan) is problem.plan_type, f"{one.plan!r} is no {problem.plan_type.__name__}"
            assert not faults(settle(one.plan)), f"{one.plan!r}: {faults(settle(one.plan))}"
            assert one.by, "a proposal names its author"
        history += tuple(Trial(one, Refusal("failed", "not measured")) for one in proposals)


def check_target(target: Target[Any], plans: Sequence[Any]) -> None:
    """Write plans and undo them. The target ends as it was found."""
    assert target.name, "a target has a name: changes are found by it"
    before = target.read()
    for plan in plans:
        target.write(plan)
        assert dump(target.read()) == dump(plan), "read() must give what write() took"
        target.write(plan)
        assert dump(target.read()) == dump(plan), "writing twice must be writing once"
    target.write(before)
    assert dump(target.read()) == dump(before), "writing back what read() gave must undo the change"


def check_ledger(make: Callable[[], Ledger]) -> None:
    """Check order, types, filters and atomicity. `make` opens a new, empty ledger."""
    ledger = make()
    facts: dict[str, Json] = {"rows": 3, "ü": ["\u2028", "\u0000", None, 1.5, 10**17]}
    opened = StudyOpened("s-1", "p", "goal", "nobody", {}, facts, {})
    ledger.append()
    ledger.append(opened)
    ledger.append(*(_judged(f"s-{1 + n % 2}", n) for n in range(4)))
    (only,) = ledger.events(StudyOpened)
    assert only.event == opened, "an event must come back equal"
    rows = list(ledger.events(Judged))
    assert [one.event.plan for one in rows] == [0, 1, 2, 3], "events come oldest first, in the order of append"
    assert [one.position for one in rows] == [2, 3, 4, 5], "positions count all events, from 1"
    assert len({one.sha256 for one in [only, *rows]}) == 5, "each row has its own hash"
    assert all(one.at.tzinfo is not None for one in rows), "times carry their zone"
    assert [one.event.plan for one in ledger.events(Judged, study="s-2")] == [1, 3], "a study's events are found"
    assert list(ledger.events(StudyOpened, study="s-2")) == [], "and no other's"
    _check_atomic(ledger)


def _check_atomic(ledger: Ledger) -> None:
    before = len(list(ledger.events(Judged)))
    assert _is_refused(ledger, _judged("s-3", 1), _judged("s-3", math.nan)), "what JSON has no word for must be refused"
    assert len(list(ledger.events(Judged))) == before, "an append that fails must leave nothing behind"
    ledger.append(_judged("s-3", 2))
    assert len(list(ledger.events(Judged))) == before + 1, "a failed append must not stop the next"


def _is_refused(ledger: Ledger, *events: Judged) -> bool:
    try:
        ledger.append(*events)
    except (ValueError, TypeError):
        return True
    return False


def _judged(study: str, plan: Any) -> Judged:
    return Judged(study, plan, f"k{plan}", "nobody", "", Refusal("failed", "never measured"))


def _check_plans(problem: Problem[Any]) -> None:
    baselines = problem.baselines()
    assert "current" in baselines, 'one of the baselines is named "current"'
    for name, plan in baselines.items():
        assert type(plan) is problem.plan_type, f"{name} is no {problem.plan_type.__name__}"
        assert hash(plan) == hash(settle(plan)), f"{name} is not hashable, or not settled"
        assert not faults(plan), f"{name} lies outside its space: {faults(plan)}"
        assert load(problem.plan_type, json.loads(canonical(plan))) == plan, f"{name} does not survive JSON"


def _check_evidence(evidence: Evidence) -> None:
    size = len(canonical(evidence.facts).encode())
    assert size <= EVIDENCE_BYTES, f"the evidence has {size} bytes, and {EVIDENCE_BYTES} fit a prompt"
    assert evidence.source, "evidence says where it comes from"


def _check_measurement(problem: Problem[Any], measured: Measurement) -> None:
    assert all(map(math.isfinite, measured.metrics.values())), f"metrics must be finite: {measured.metrics}"
    missing = [name for name in judged_metrics(problem) if name not in measured.metrics]
    assert not missing, f"{missing} is judged, but not measured"
    if problem.objective.scale == "ratio":
        assert measured.metrics[problem.objective.metric] > 0, "shares saved need a positive metric"
    assert min(measured.cost.cpu_seconds, measured.cost.wall_seconds, measured.cost.dollars) >= 0, "costs are not gains"


def judged_metrics(problem: Problem[Any]) -> tuple[str, ...]:
    """The metrics that decide: the objective's and the guardrails'."""
    objective = problem.objective
    return (objective.metric, *(rail.metric for rail in objective.guardrails))


def _judged_values(problem: Problem[Any], measured: Measurement) -> dict[str, float]:
    return {name: measured.metrics[name] for name in judged_metrics(problem)}


def _check_repeats(problem: Problem[Any], plan: Any) -> None:
    sample = Sample("search", 1)
    once, again = problem.measure(plan, sample), problem.measure(plan, sample)
    if _is_exact(problem, once):
        found, expected = _judged_values(problem, again), _judged_values(problem, once)
        assert found == expected, f"the same plan on the same sample must measure the same: {expected}, then {found}"


def _is_exact(problem: Problem[Any], measured: Measurement) -> bool:
    # Clocks do not repeat: what is timed in a real run is left to the A/A check.
    return not problem.ladder.interleaved and measured.method != "run"


def _check_portable(problem: Problem[Any], plan: Any) -> None:
    sample = Sample("search", 0)
    task = portable.task(problem, plan, sample, Limits())
    arguments = json.loads(canonical(task.arguments))
    there: Measurement = load(Measurement, json.loads(canonical(portable.measure(**arguments))))
    here = problem.measure(plan, sample)
    assert set(there.metrics) == set(here.metrics), "a rebuilt problem must measure the same metrics"
    if _is_exact(problem, here):
        found, expected = _judged_values(problem, there), _judged_values(problem, here)
        assert found == expected, f"a rebuilt problem measures {found}, not {expected}"


def _check_holdout(problem: Problem[Any], plan: Any) -> None:
    # What can be seen from outside: other rows or windows give other numbers.
    seeds = range(min(problem.ladder.holdout_seeds, 3))
    search = [_judged_values(problem, problem.measure(plan, Sample("search", seed))) for seed in seeds]
    holdout = [_judged_values(problem, problem.measure(plan, Sample("holdout", seed))) for seed in seeds]
    assert search != holdout, "the holdout measures the very same as the search split: is it the same data?"


def _brief(problem: Problem[P], history: tuple[Trial[P], ...]) -> Brief[P]:
    plenty = Spend(cpu_seconds=1e6, wall_seconds=1e6, dollars=0.0, tokens=0, measurements=10_000)
    return Brief(
        goal=problem.goal,
        plan_type=problem.plan_type,
        current=problem.baselines()["current"],
        objective=problem.objective,
        evidence=problem.observe(),
        history=history,
        left=plenty,
    )
