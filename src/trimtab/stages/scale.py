"""scale, composed: the user's traffic against the measured service; today's and the free defaults' use beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.adapters.runners.local import LocalRunner
from trimtab.adapters.sandbox import Confinement
from trimtab.adapters.sources.tables import fingerprint
from trimtab.cluster.scaling.manifests import manifests, workload
from trimtab.cluster.scaling.measure import ALL_HEARD, History, Replay, replayed, with_gaps
from trimtab.cluster.scaling.plan import PEERS, ScalingPlan
from trimtab.cluster.scaling.problem import (
    FORECASTS,
    Scaling,
    Traffic,
    history,
    ideas,
    library,
    optimum_hours_per_day,
)
from trimtab.cluster.scaling.programs import written
from trimtab.cluster.scaling.simulator import Service
from trimtab.cluster.scaling.trace import findings_of
from trimtab.core.model import Decision, Json
from trimtab.core.ports import Limits, Proposer
from trimtab.pipeline import Results, Row, StageResult
from trimtab.proposers.evolve import Evolve
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.programs import Programs
from trimtab.proposers.recall import Recall
from trimtab.proposers.rules import Rules, Turns
from trimtab.proposers.search import Search
from trimtab.stages.bench import decided, open_bench
from trimtab.stages.deciding import author, chosen_plan, decide, gain_text, method
from trimtab.stages.traffic import traffic_of
from trimtab.views import decision_view
from trimtab.workplace import Workplace

SEARCH_SECONDS = 60.0  # CPU time for a bare trace
LIMITS = Limits(cpu_seconds=60.0, wall_seconds=300.0, memory_bytes=2 * 2**30)  # of one measurement
SHOWN_MINUTES = 3 * 1440
SHOWN_POINTS = 432
AS_IT_WAS = "as it was"


def run(workplace: Workplace, results: Results) -> StageResult:
    """Choose the replica policy for the chosen service; replay today's and the free defaults' with theirs."""
    config = workplace.config
    ways: Any = results["package"].facts["ways"]
    services = {name: _service(workplace, one["cpu_ms_per_request"] / 1000) for name, one in ways.items()}
    current = ScalingPlan(headroom=config.serving.headroom)
    problem = Scaling(traffic_of(workplace), services["chosen"], config.serving.misses, current)
    language = Programs(workplace.model) if workplace.model is not None and workplace.proposer is not None else None
    with confined(problem) as runner:
        proposer = policies(Recall(workplace.ledger, problem.name), language=language)
        decision = decide(workplace, problem, proposer, config.budget.scale, runner=runner)
    plans = {"current": current, "free": PEERS["hpa-70"], "chosen": chosen_plan(decision)}
    unseen, trace = problem.unseen(), history(problem.traffic)
    made = {name: replayed(plans[name], trace, unseen, services[name]) for name in plans}
    return _result(problem, decision, made, decision.spent)


def scale_file(trace: Path, budget: float = SEARCH_SECONDS, target: str = "web") -> StageResult:
    """`trimtab scale traffic.csv`: a trace alone, one request of 50 ms a replica's core, 250 ms promised.

    target: the Deployment that manifests are for, or NAMESPACE/NAME.
    """
    problem = Scaling(Traffic(str(trace.resolve()), fingerprint=fingerprint(trace)), Service(0.05, 0.2))
    with open_bench(problem.name) as bench, confined(problem) as runner:
        decision = decided(problem, policies(language=bench.language), bench, runner, LIMITS, budget)
    plan, unseen, known = chosen_plan(decision), problem.unseen(), history(problem.traffic)
    ways = {"current": problem.current, "free": PEERS["hpa-70"], "chosen": plan}
    made = {name: replayed(one, known, unseen, problem.service) for name, one in ways.items()}
    result = _result(problem, decision, made, decision.spent)
    hpa = (plan, made["chosen"]) if plan.kind == "hpa" else (PEERS["hpa-70"], made["free"])
    files: Json = dict(manifests(workload(target), problem.service, made["chosen"], hpa))
    facts: dict[str, Json] = {**result.facts, "certificate": {"split": _split(problem)}, "manifests": files}
    return replace(result, facts=facts, findings=findings_of(trace))


def _split(problem: Scaling) -> str:
    """Which part was searched and which one was held, for a certificate."""
    days, unseen = len(history(problem.traffic).rates) / 1440, problem.unseen()
    first, last = unseen.start / 1440, unseen.stop / 1440
    return (
        f"{days:.1f} days: searched on the first half, its load raised; held on day {first:.1f} to {last:.1f}, "
        f"in {problem.blocks} blocks, {problem.ladder.finalists} finalists"
    )


def policies(*first: Proposer, language: Proposer | None = None) -> Portfolio:
    """Known rules and programs, then classical search over forecasts and evolution of programs in turn."""
    known = (Rules("ideas", ideas), Rules("library", library))
    return Portfolio(*first, *known, search=Turns(Search(fixed=FORECASTS), Evolve()), language=language)


def confined(problem: Scaling) -> LocalRunner:
    """A runner for programs that nobody has reviewed: nothing but the traffic can be read, and nothing written."""
    warm = ("trimtab.cluster.scaling.measure:warm",)
    reads = (str(Path(problem.traffic.source).resolve()),)
    return LocalRunner(confinement=Confinement(reads, (Scaling.__module__,), warm))


def _service(workplace: Workplace, cpu_seconds: float) -> Service:
    """A replica: its share of a core stretches a request's CPU time; what is left of the objective may be waited."""
    serving = workplace.config.serving
    service = cpu_seconds / serving.replica_cpus
    allowed = max(0.0, serving.latency_ms / 1000 - service)
    return Service(service, allowed, serving.cold_start_seconds, most=5000)


def _result(problem: Scaling, decision: Decision[ScalingPlan], made: dict[str, Replay], spent: Any) -> StageResult:
    unseen = problem.unseen()
    optimum = optimum_hours_per_day(problem, unseen)
    chosen = made["chosen"]
    peers = {
        name: replayed(plan, history(problem.traffic), unseen, problem.service)
        for name, plan in {"static": problem.current, **PEERS, "chosen": chosen_plan(decision)}.items()
    }
    worlds = _perturbed(problem, chosen_plan(decision))
    row = Row(
        current=f"static, {problem.current.headroom:g} × the peak",
        chosen=_policy_text(chosen_plan(decision)),
        saving=(
            f"{gain_text(decision, problem.objective)}; {chosen.late_share:.2%} late, "
            f"{chosen.hours_per_day / optimum:.2f} × foresight"
        ),
        method=method(decision),
        by=author(decision),
    )
    facts: dict[str, Json] = {
        "ways": {
            name: {"replica_hours_per_day": one.hours_per_day, "late_share": one.late_share}
            for name, one in made.items()
        },
        "optimum_replica_hours_per_day": optimum,
        "ratio_to_foresight": chosen.hours_per_day / optimum,
        "late_share": chosen.late_share,
        "notes": [
            f"On the unseen half the chosen policy books {chosen.hours_per_day:.1f} replica-hours a day, "
            f"{chosen.hours_per_day / optimum:.3f} × the foresight optimum ({optimum:.1f}), with "
            f"{chosen.late_share:.2%} of the requests late ({problem.late_allowed:.0%} allowed).",
            *_fragile(worlds, problem.late_allowed),
        ],
        "program": _program(problem, chosen_plan(decision), chosen),
        "tables": [_peers_table(peers, optimum), _perturbed_table(worlds)],
        "plots": [_replicas_plot(problem, peers), _peers_plot(peers, optimum)],
    }
    return StageResult("scale", row, decision_view(decision, problem.objective), facts, (), spent)


def _program(problem: Scaling, plan: ScalingPlan, made: Replay) -> str:
    """The chosen policy as a program, to be read and to be run."""
    return written(plan, problem.service.service_seconds, round(float(made.replicas.max())))


def _policy_text(plan: ScalingPlan) -> str:
    if plan.kind == "static":
        return f"static, {plan.headroom:.2g} × the peak"
    if plan.kind == "program":
        return f"program of {len(plan.program.strip().splitlines())} lines"
    if plan.kind == "forecast":
        return f"sized for the promise: {plan.weight:.0%} of the forecast or the recent rate, +{plan.margin:.0%}"
    return f"{plan.kind} at {plan.target:.0%}"


def _peers_table(peers: dict[str, Replay], optimum: float) -> Json:
    rows: list[Json] = [
        [name, f"{one.hours_per_day:.2f}", f"{one.hours_per_day / optimum:.3f}", f"{one.late_share:.3%}"]
        for name, one in peers.items()
    ]
    rows.append(["foresight", f"{optimum:.2f}", "1.000", "as allowed"])
    head: Json = ["policy", "replica-hours a day", "÷ foresight", "late"]
    return {"title": "The chosen service under every policy, unseen half", "head": head, "rows": rows}


def _perturbed(problem: Scaling, plan: ScalingPlan) -> dict[str, tuple[Replay, Replay]]:
    """The chosen policy and HPA on the unseen half when the world differs from the trace."""
    rates, service, stretch = history(problem.traffic).rates, problem.service, problem.unseen()
    noise = np.random.default_rng(0).lognormal(0.0, 0.1, len(rates))
    slow = replace(service, cold_start_seconds=2 * service.cold_start_seconds)
    gaps = with_gaps(stretch.stop - stretch.start)
    worlds = {
        AS_IT_WAS: (rates, service, ALL_HEARD),
        "20 % more load": (rates * 1.2, service, ALL_HEARD),
        "20 % less load": (rates * 0.8, service, ALL_HEARD),
        "10 % noise in each minute": (rates * noise, service, ALL_HEARD),
        "cold starts twice as long": (rates, slow, ALL_HEARD),
        "measurements that stop once an hour, for three minutes": (rates, service, gaps),
    }
    made = {}
    for name, (changed, served, heard) in worlds.items():
        known = History(np.ascontiguousarray(changed))
        ours, theirs = (replayed(one, known, stretch, served, heard=heard) for one in (plan, PEERS["hpa-70"]))
        made[name] = ours, theirs
    return made


def _perturbed_table(worlds: dict[str, tuple[Replay, Replay]]) -> Json:
    rows: list[Json] = []
    for name, replays in worlds.items():
        figures = [text for one in replays for text in (f"{one.hours_per_day:.2f}", f"{one.late_share:.3%}")]
        rows.append([name, *figures])
    head: Json = ["when", "replica-hours a day", "late", "hpa-70: replica-hours a day", "late"]
    return {"title": "The chosen policy when the world differs, unseen half", "head": head, "rows": rows}


def _fragile(worlds: dict[str, tuple[Replay, Replay]], allowed: float) -> list[Json]:
    """A sentence on the worlds in which the chosen policy would break the promise."""
    broken = [
        f"{ours.late_share:.1%} late with {name} (HPA at 70 %: {theirs.late_share:.1%})"
        for name, (ours, theirs) in worlds.items()
        if ours.late_share > allowed and name != AS_IT_WAS
    ]
    return [f"It would break the promise when the world differs: {'; '.join(broken)}."] if broken else []


def _replicas_plot(problem: Scaling, peers: dict[str, Replay]) -> Json:
    shown = min(SHOWN_MINUTES, len(peers["chosen"].replicas))
    step = max(1, shown // SHOWN_POINTS)
    x = [round(minute / 60, 3) for minute in range(0, shown, step)]
    series: list[Json] = []
    for name in ("chosen", "static", "hpa-70"):
        values = peers[name].replicas[:shown][: len(x) * step]
        means = values[: len(values) // step * step].reshape(-1, step).mean(axis=1)
        y: Json = [round(float(value), 2) for value in means]
        series.append({"name": name, "x": x[: len(means)], "y": y, "step": True})  # type: ignore[dict-item]
    rates = np.asarray(history(problem.traffic).rates[problem.unseen()][:shown])
    title = f"Replicas over the first days of the unseen half (mean load {rates.mean():,.0f} requests/s)"
    return {"kind": "lines", "title": title, "x_label": "hours", "y_label": "replicas", "series": series}


def _peers_plot(peers: dict[str, Replay], optimum: float) -> Json:
    marks = {"static": "current", "hpa-70": "free", "chosen": "chosen"}
    rows: list[Json] = [
        {"label": name, "value": one.hours_per_day, "mark": marks.get(name, "")} for name, one in peers.items()
    ]
    rows.append({"label": "foresight", "value": optimum, "mark": ""})
    return {"kind": "bars", "title": "Replica-hours a day, unseen half", "unit": "h", "rows": rows}
