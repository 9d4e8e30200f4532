"""rightsize, composed: a rule for each resource of a usage file, every pod's request by it, and patches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trimtab.adapters.runners.local import LocalRunner
from trimtab.adapters.sandbox import Confinement
from trimtab.adapters.sources.tables import fingerprint
from trimtab.cluster.rightsizing.measure import Made, foresight, interval, made_for, outcomes
from trimtab.cluster.rightsizing.patches import Change, quantity, write_patches
from trimtab.cluster.rightsizing.plan import SizingPlan, peers
from trimtab.cluster.rightsizing.problem import Rightsizing, ideas, library
from trimtab.cluster.rightsizing.usage import ignored_of, resources_of
from trimtab.core.errors import InputError
from trimtab.core.model import Decision, Json, Spend
from trimtab.core.ports import Limits, Proposer
from trimtab.pipeline import Row, StageResult
from trimtab.proposers.evolve import Evolve
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules, Turns
from trimtab.proposers.search import Search
from trimtab.stages.bench import Bench, decided, open_bench
from trimtab.stages.deciding import author, chosen_plan, gain_text, method
from trimtab.views import decision_view

SEARCH_SECONDS = 60.0  # CPU time for each resource
LIMITS = Limits(cpu_seconds=60.0, wall_seconds=300.0, memory_bytes=2 * 2**30)  # of one measurement
LEARNT: dict[str, Json] = {"kind": "learnt"}  # where classical search looks; programs are evolved
SHOWN_PODS = 20


@dataclass(frozen=True)
class Sized:
    """What came out for one resource."""

    problem: Rightsizing
    decision: Decision[SizingPlan]
    made: Made
    changes: tuple[Change, ...]


def rightsize_file(
    usage: Path, *, risk: float = 0.05, out: Path | None = None, budget: float = SEARCH_SECONDS
) -> StageResult:
    """`trimtab rightsize usage.csv`: a rule and requests for every resource; patches into `out`. Raises InputError."""
    if not 0.001 <= risk <= 0.5:
        raise InputError(f"a risk of {risk:g} cannot be kept", hint="--risk from 0.001 to 0.5: share of pods ever over")
    source, stamp = str(usage.resolve()), fingerprint(usage)
    problems = [Rightsizing(source, resource, risk, stamp) for resource in resources_of(source)]
    for one in problems:
        one.view("search")  # what is wrong with the input is said before anything is spent
    with open_bench("rightsize") as bench:
        sized = [_sized(one, bench, budget) for one in problems]
    written = [] if out is None else write_patches([change for one in sized for change in _patched(one)], out)
    return _result(sized, written, out)


def policies(*first: Proposer, language: Proposer | None = None) -> Portfolio:
    """Known rules and programs, then search over what is learnt and evolution of programs in turn."""
    known = (Rules("ideas", ideas), Rules("library", library))
    return Portfolio(*first, *known, search=Turns(Search(fixed=LEARNT), Evolve()), language=language)


def confined(problem: Rightsizing) -> LocalRunner:
    """A runner for programs that nobody has reviewed: nothing but the usage can be read, and nothing written."""
    return LocalRunner(confinement=Confinement((problem.source,), (Rightsizing.__module__,), ()))


def _sized(problem: Rightsizing, bench: Bench, budget: float) -> Sized:
    with confined(problem) as runner:
        decision = decided(problem, policies(language=bench.language), bench, runner, LIMITS, budget)
    made = made_for(chosen_plan(decision), problem.view("now"), problem.risk)
    pods = problem.view("now").fleet.pods
    changes = tuple(
        Change(pod.name, problem.resource, pod.requested, float(wanted), pod.labels)
        for pod, wanted in zip(pods, made.requests, strict=True)
    )
    return Sized(problem, decision, made, changes)


def _patched(one: Sized) -> list[Change]:
    """What can be written as a quantity: cores and bytes, not shares."""
    return [] if one.problem.view("now").fleet.is_share else list(one.changes)


def _result(sized: list[Sized], written: list[Path], out: Path | None) -> StageResult:
    spent = sum((one.decision.spent for one in sized), Spend())
    rows = [(one.problem.resource, *_row(one)) for one in sized]
    row = Row(
        current="; ".join(f"{resource}: {current}" for resource, current, _, _ in rows),
        chosen="; ".join(f"{resource}: {chosen}" for resource, _, chosen, _ in rows),
        saving="; ".join(f"{resource}: {saving}" for resource, _, _, saving in rows),
        method=method(sized[0].decision),
        by=author(sized[0].decision),
    )
    tables: list[Json] = [table for one in sized for table in (_rules_table(one), _pods_table(one))]
    facts: dict[str, Json] = {
        "resources": {one.problem.resource: _facts(one) for one in sized},
        "decisions": [one.decision.id for one in sized],
        "patches": [str(path) for path in written],
        "notes": [note for one in sized for note in _notes(one)] + _patch_notes(written, out),
        "program": "\n".join(f"# {one.problem.resource}\n{one.made.text}" for one in sized if one.made.text),
        "tables": tables,
        "plots": [_plot(one) for one in sized],
    }
    first = sized[0]
    return StageResult(
        "rightsize", row, decision_view(first.decision, first.problem.objective), facts, _findings(sized, out), spent
    )


def _row(one: Sized) -> tuple[str, str, str]:
    return (
        _plan_text(one.decision.current),
        _plan_text(chosen_plan(one.decision)),
        gain_text(one.decision, one.problem.objective),
    )


def _facts(one: Sized) -> Json:
    slack, over = one.problem.outcomes(chosen_plan(one.decision), "holdout")
    recommended: dict[str, Json] = {change.pod: change.recommended for change in one.changes}
    return {
        "slack": float(slack.mean()),
        "share_over": float(over.mean()),
        "slack_interval": list(interval(slack)),
        "share_over_interval": list(interval(over)),
        "vouched": one.made.vouched,
        "program": one.made.text,
        "recommended": recommended,
    }


def _notes(one: Sized) -> list[Json]:
    slack, over = one.problem.outcomes(chosen_plan(one.decision), "holdout")
    (low, high), (few, many) = interval(slack), interval(over)
    notes: list[Json] = [
        f"{one.problem.resource}, unseen half, unseen pods: {slack.mean():.1%} of a request lies idle ({low:.1%} to "
        f"{high:.1%}), {over.mean():.1%} of the pods are ever over ({few:.1%} to {many:.1%}; {one.problem.risk:.1%} "
        f"asked), with {len(slack)} pods."
    ]
    if one.made.vouched > one.problem.risk * max(1.0, chosen_plan(one.decision).trust) * 1.001 and one.made.text:
        notes.append(
            f"{len(one.changes)} pods cannot vouch for {one.problem.risk:.1%}: the past vouches for "
            f"{one.made.vouched:.1%}."
        )
    return notes


def _patch_notes(written: list[Path], out: Path | None) -> list[Json]:
    return [f"{len(written)} patches are in {out}"] if out is not None else []


def _findings(sized: list[Sized], out: Path | None) -> tuple[dict[str, Json], ...]:
    found: list[dict[str, Json]] = []
    for one in sized:
        fleet = one.problem.view("now").fleet
        found += [{"kind": kind, "column": fleet.resource, "message": message} for kind, message in fleet.findings]
        if out is not None and fleet.is_share:
            message = "shares are no quantities: add a column of today's request in bytes to get patches"
            found.append({"kind": "share", "column": fleet.resource, "message": message})
        if out is not None and fleet.resource == "gpu_memory":
            message = "GPU memory is no resource of Kubernetes': it stands in the table only"
            found.append({"kind": "gpu", "column": fleet.resource, "message": message})
    ignored = ignored_of(sized[0].problem.source)
    if ignored:
        found.append({"kind": "ignored", "column": ", ".join(ignored), "message": "nothing is made of these columns"})
    return tuple(found)


def _plan_text(plan: SizingPlan) -> str:
    if plan.kind == "krr":
        return f"{'highest use' if plan.percentile == 1 else f'P{100 * plan.percentile:g}'} + {plan.margin:.0%}"
    if plan.kind == "vpa":
        return f"VPA, P{100 * plan.quantile:g} + {plan.margin:.0%}"
    if plan.kind == "learnt":
        return f"learnt from all pods, at {plan.trust:.2g} × the risk"
    return "as requested" if plan.kind == "current" else f"program of {len(plan.program.strip().splitlines())} lines"


def _rules(one: Sized) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    plans = {"current": one.decision.current, **peers(one.problem.resource), "chosen": chosen_plan(one.decision)}
    seen = one.problem.view("holdout")
    made = {name: one.problem.outcomes(plan, "holdout") for name, plan in plans.items()}
    return made | {"foresight": outcomes(foresight(seen.futures, seen.floor), seen.futures)}


def _rules_table(one: Sized) -> Json:
    rows: list[Json] = []
    for name, (slack, over) in _rules(one).items():
        low, high = interval(slack)
        few, many = interval(over)
        rows.append(
            [name, f"{slack.mean():.1%}", f"{low:.1%} to {high:.1%}", f"{over.mean():.1%}", f"{few:.1%} to {many:.1%}"]
        )
    head: Json = ["rule", "slack", "95 %", "pods ever over", "95 %"]
    return {"title": f"{one.problem.resource}: every rule on the unseen half", "head": head, "rows": rows}


def _pods_table(one: Sized) -> Json:
    """The pods whose requests change most."""
    fleet = one.problem.view("now").fleet

    def text(value: float | None) -> str:
        if value is None:
            return "?"
        return f"{value:.3f}" if fleet.is_share else quantity("cpu" if fleet.resource == "cpu" else "memory", value)

    def change(place: int) -> float:
        before = one.changes[place].current
        return abs(one.changes[place].recommended - (before or 0.0))

    order = sorted(range(len(one.changes)), key=change, reverse=True)[:SHOWN_PODS]
    rows: list[Json] = [
        [one.changes[place].pod, text(one.changes[place].current), text(float(fleet.pods[place].used.max())),
         text(one.changes[place].recommended)]
        for place in order
    ]  # fmt: skip
    title = f"{fleet.resource}: {len(rows)} of {len(one.changes)} pods, the largest changes first"
    head: Json = ["pod", "current", "highest use", "recommended"]
    return {"title": title, "head": head, "rows": rows}


def _plot(one: Sized) -> Json:
    marks = {"current": "current", "chosen": "chosen", "krr": "free"}
    rows: list[Json] = [
        {"label": f"{name}, {over.mean():.1%} over", "value": float(slack.mean()), "mark": marks.get(name, "")}
        for name, (slack, over) in _rules(one).items()
    ]
    title = f"{one.problem.resource}: idle share of requests, unseen half"
    return {"kind": "bars", "title": title, "unit": "", "rows": rows}
