"""scale, composed: the user's traffic against the measured service; today's and the free defaults' use beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trimtab.adapters.ledger import open_ledger
from trimtab.adapters.sources.tables import fingerprint
from trimtab.cluster.scaling.measure import Replay, replayed
from trimtab.cluster.scaling.plan import PEERS, ScalingPlan
from trimtab.cluster.scaling.problem import Scaling, Traffic, history, ideas, optimum_hours_per_day
from trimtab.cluster.scaling.simulator import Service
from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.core.model import Decision, Json
from trimtab.pipeline import Results, Row, StageResult
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules
from trimtab.proposers.search import Search
from trimtab.stages.deciding import author, chosen_plan, decide, gain_text, method, proposers
from trimtab.stages.traffic import traffic_of
from trimtab.views import decision_view
from trimtab.workplace import Workplace, make_store

SHOWN_MINUTES = 3 * 1440
SHOWN_POINTS = 432


def run(workplace: Workplace, results: Results) -> StageResult:
    """Choose the replica policy for the chosen service; replay today's and the free defaults' with theirs."""
    config = workplace.config
    ways: Any = results["package"].facts["ways"]
    services = {name: _service(workplace, one["cpu_ms_per_request"] / 1000) for name, one in ways.items()}
    current = ScalingPlan(headroom=config.serving.headroom)
    problem = Scaling(traffic_of(workplace), services["chosen"], config.serving.misses, current)
    decision = decide(workplace, problem, proposers(workplace, problem.name, ideas), config.budget.scale)
    plans = {"current": current, "free": PEERS["hpa-70"], "chosen": chosen_plan(decision)}
    unseen, trace = problem.unseen(), history(problem.traffic)
    made = {name: replayed(plans[name], trace, unseen, services[name]) for name in plans}
    return _result(problem, decision, made, decision.spent)


def scale_file(trace: Path) -> StageResult:
    """`trimtab scale traffic.csv`: a trace alone, one request of 50 ms a replica's core, 250 ms promised."""
    problem = Scaling(Traffic(str(trace.resolve()), fingerprint=fingerprint(trace)), Service(0.05, 0.2))
    ledger = open_ledger(make_store(Path.cwd()) / "ledger.db")
    proposer = Portfolio(Rules("ideas", ideas), search=Search())
    try:
        search, check = Meter(cpu_seconds=60), Meter(cpu_seconds=60)
        decision = optimize(problem, proposer, search=search, check=check, ledger=ledger)
    finally:
        ledger.close()
    plan, unseen, known = chosen_plan(decision), problem.unseen(), history(problem.traffic)
    ways = {"current": problem.current, "free": PEERS["hpa-70"], "chosen": plan}
    made = {name: replayed(one, known, unseen, problem.service) for name, one in ways.items()}
    return _result(problem, decision, made, decision.spent)


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
            f"{chosen.late_share:.2%} of the requests late ({problem.late_allowed:.0%} allowed)."
        ],
        "tables": [_peers_table(peers, optimum)],
        "plots": [_replicas_plot(problem, peers), _peers_plot(peers, optimum)],
    }
    return StageResult("scale", row, decision_view(decision, problem.objective), facts, (), spent)


def _policy_text(plan: ScalingPlan) -> str:
    if plan.kind == "static":
        return f"static, {plan.headroom:.2g} × the peak"
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
