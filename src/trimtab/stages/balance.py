"""balance, composed: the user's requests through routers and backends; the known policies' tails beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from trimtab.adapters.runners.local import LocalRunner
from trimtab.adapters.sandbox import Confinement
from trimtab.adapters.sources.tables import fingerprint
from trimtab.core.errors import InputError
from trimtab.core.model import Decision, Json, Measurement, Sample
from trimtab.core.ports import Limits, Proposer
from trimtab.inference.balancing.measure import Fleet, routed, tail
from trimtab.inference.balancing.plan import RoutingPlan
from trimtab.inference.balancing.problem import Asked, Balancing, ideas, library, peers
from trimtab.inference.balancing.requests import utilisation
from trimtab.inference.balancing.simulator import Load
from trimtab.pipeline import Row, StageResult
from trimtab.proposers.evolve import Evolve
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules, Turns
from trimtab.proposers.search import Search
from trimtab.stages.bench import decided, open_bench
from trimtab.stages.deciding import author, chosen_plan, gain_text, method
from trimtab.views import decision_view

SEARCH_SECONDS = 60.0  # CPU time
LIMITS = Limits(cpu_seconds=120.0, wall_seconds=600.0, memory_bytes=4 * 2**30)  # of one measurement
MOST_BACKENDS, MOST_ROUTERS, MOST_SLOTS = 1000, 1000, 1024
PERTURBED = 3  # draws of the requests in every world that differs


def balance_file(requests: Path, fleet: Fleet, *, load: float = 0.0, probes: float = 1.0) -> StageResult:
    """`trimtab balance requests.csv`: a log alone; `load` above 0 stretches its time to that share of the capacity."""
    _check(fleet, load, probes)
    asked = Asked(str(requests.resolve()), load, fingerprint=fingerprint(requests))
    problem = Balancing(asked, fleet, probes_allowed=probes)
    share = utilisation(problem.load, fleet.capacity)
    if share >= 1.0:
        raise InputError(
            f"{requests}: the requests need {share:.2f} × what {fleet.backends} backends can do",
            hint=f"--backends {int(np.ceil(fleet.backends * share / 0.85))}, or --load 0.85 to stretch their time",
        )
    with open_bench(problem.name) as bench, confined(problem) as runner:
        decision = decided(problem, policies(language=bench.language), bench, runner, LIMITS, SEARCH_SECONDS)
    return _result(problem, decision, share)


def policies(*first: Proposer, language: Proposer | None = None) -> Portfolio:
    """Known ways of asking and known programs, then search over how to ask and evolution of programs in turn."""
    known = (Rules("ideas", ideas), Rules("library", library))
    return Portfolio(*first, *known, search=Turns(Evolve(), Search()), language=language)


def confined(problem: Balancing) -> LocalRunner:
    """A runner for programs that nobody has reviewed: nothing but the requests can be read, and nothing written."""
    reads = (str(Path(problem.asked.source).resolve()),)
    warm = ("trimtab.inference.balancing.measure:warm",)
    return LocalRunner(confinement=Confinement(reads, (Balancing.__module__,), warm))


def _check(fleet: Fleet, load: float, probes: float) -> None:
    for name, value, most in (
        ("backends", fleet.backends, MOST_BACKENDS),
        ("routers", fleet.routers, MOST_ROUTERS),
        ("slots", fleet.slots, MOST_SLOTS),
    ):
        if not 1 <= value <= most:
            raise InputError(f"{value} {name} cannot be replayed", hint=f"--{name} from 1 to {most:,}")
    if not 0.0 <= load < 1.0:
        raise InputError(f"a load of {load:g} cannot be kept up", hint="--load from 0 (as it came) to below 1")
    if not 0.0 <= probes <= 1.0:
        raise InputError(f"{probes:g} probes a request cannot be replayed", hint="from 0 to 1")


def holdout(problem: Balancing, plan: RoutingPlan) -> list[Measurement]:
    """A plan on every draw of the half that nobody saw."""
    return [problem.measure(plan, Sample("holdout", seed)) for seed in range(problem.seeds)]


def _result(problem: Balancing, decision: Decision[RoutingPlan], share: float) -> StageResult:
    seeds = [Sample("holdout", seed) for seed in range(problem.seeds)]
    oracle = float(np.mean([problem.reference("oracle", one) for one in seeds]))
    plan = chosen_plan(decision)
    plans = {"current": problem.current, **peers(problem.fleet), "chosen": plan}
    made = {name: holdout(problem, one) for name, one in plans.items()}
    p99 = {name: _mean(found, "p99_seconds") for name, found in made.items()}
    row = Row(
        current="two choices, least requests",
        chosen=_policy_text(plan),
        saving=f"{gain_text(decision, problem.objective)}; {p99['chosen'] / oracle:.2f} × the oracle",
        method=method(decision),
        by=author(decision),
    )
    facts: dict[str, Json] = {
        "ways": {name: {"p99_seconds": value} for name, value in p99.items()},
        "oracle_p99_seconds": oracle,
        "ratio_to_oracle": p99["chosen"] / oracle,
        "plan": {"program": plan.program},
        "program": plan.program.strip() + "\n",
        "notes": [
            f"On the unseen half, at {share:.0%} load of {problem.fleet.backends} backends, the slowest hundredth "
            f"takes {p99['chosen']:.4g} s or more, {p99['chosen'] / oracle:.2f} × a router that sees all unfinished "
            f"work ({oracle:.4g} s), with {_mean(made['chosen'], 'probes_a_request'):.2f} probes a request.",
        ],
        "tables": [_table(made, oracle), _perturbed(problem, plan)],
        "plots": [_plot(p99, oracle)],
    }
    return StageResult("balance", row, decision_view(decision, problem.objective), facts, (), decision.spent)


def _mean(found: list[Measurement], metric: str) -> float:
    return float(np.mean([one.metrics[metric] for one in found]))


def _policy_text(plan: RoutingPlan) -> str:
    asked = (
        f"{plan.probes:.2g} probes ({plan.asks}{', waited for' if plan.waits else ''})" if plan.probes else "no probes"
    )
    among = f"{plan.choices} drawn" if plan.candidates == "sample" else plan.candidates
    return f"lowest score of {among}; {asked}; reports on {plan.reports}"


def _table(made: dict[str, list[Measurement]], oracle: float) -> Json:
    rows: list[Json] = []
    for name, found in made.items():
        p99, p50, probes = (_mean(found, metric) for metric in ("p99_seconds", "p50_seconds", "probes_a_request"))
        rows.append([name, f"{p99:.4g}", f"{p99 / oracle:.2f}", f"{p50:.4g}", f"{probes:.2f}"])
    rows.append(["oracle", f"{oracle:.4g}", "1.00", "", ""])
    head: Json = ["policy", "p99 s", "÷ oracle", "p50 s", "probes a request"]
    return {"title": "Every policy on the unseen half", "head": head, "rows": rows}


def _perturbed(problem: Balancing, plan: RoutingPlan) -> Json:
    """The chosen policy and today's on draws of the unseen half when the world differs from the log."""
    fleet, rng = problem.fleet, np.random.default_rng(0)
    slow = replace(fleet, speeds=tuple(float(one) for one in (0.5 * fleet.all_speeds[0], *fleet.all_speeds[1:])))
    worlds: dict[str, tuple[Callable[[Load], Load], Fleet]] = {
        "as it was": (lambda load: load, fleet),
        "5 % more load": (lambda load: replace(load, times=load.times / 1.05), fleet),
        "20 % less load": (lambda load: replace(load, times=load.times / 0.8), fleet),
        "arrivals jittered by ten mean gaps": (lambda load: _jittered(load, rng), fleet),
        "one backend at half speed": (lambda load: load, slow),
        "ways five times as long": (lambda load: load, replace(fleet, rtt_seconds=5 * fleet.rtt_seconds)),
    }
    rows: list[Json] = []
    for name, (changed, served) in worlds.items():
        loads = [changed(problem.drawn(Sample("holdout", seed))) for seed in range(PERTURBED)]
        ours, theirs = (
            float(np.mean([tail(routed(one, load, served, seed)) for seed, load in enumerate(loads)]))
            for one in (plan, problem.current)
        )
        rows.append([name, f"{ours:.4g}", f"{theirs:.4g}", f"{1 - ours / theirs:.1%}"])
    head: Json = ["when", "p99 s", "today's", "less"]
    return {"title": "The chosen policy when the world differs, unseen half", "head": head, "rows": rows}


def _jittered(load: Load, rng: np.random.Generator) -> Load:
    """The same requests in their order, their times moved by ten mean gaps either way and sorted."""
    gap = float(load.times[-1] - load.times[0]) / len(load.times)
    return replace(load, times=np.sort(load.times + rng.uniform(-10 * gap, 10 * gap, len(load.times))))


def _plot(p99: dict[str, float], oracle: float) -> Json:
    marks = {"current": "current", "chosen": "chosen"}
    rows: list[Json] = [
        {"label": name, "value": value, "mark": marks.get(name, "")}
        for name, value in (p99 | {"oracle": oracle}).items()
    ]
    return {"kind": "bars", "title": "p99 latency, unseen half", "unit": "s", "rows": rows}


def on(fleet: Fleet, speeds: str) -> Fleet:
    """The fleet with speeds from a text such as "1,1,0.5". Raises InputError."""
    try:
        values = tuple(float(word) for word in speeds.split(","))
    except ValueError:
        values = ()
    if not values or not all(0 < value < np.inf for value in values):
        raise InputError(f"{speeds!r} are no speeds", hint='positive numbers between commas, such as "1,1,0.5"')
    return replace(fleet, speeds=values)
