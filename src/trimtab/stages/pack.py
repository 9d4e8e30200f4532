"""pack, composed: the user's pods on the user's nodes; the known rules beside the choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from trimtab.adapters.runners.local import LocalRunner
from trimtab.adapters.sandbox import Confinement
from trimtab.adapters.sources.tables import fingerprint
from trimtab.cluster.packing.fleet import Fleet
from trimtab.cluster.packing.plan import PEERS, PackingPlan
from trimtab.cluster.packing.problem import (
    LEVELS,
    SEEDS,
    Packing,
    allocated,
    allocation,
    at_most,
    drawn,
    library,
    pool_of,
)
from trimtab.cluster.packing.simulator import COUNT, Ints
from trimtab.core.model import Decision, Json
from trimtab.core.ports import Limits
from trimtab.pipeline import Row, StageResult
from trimtab.stages.bench import decided, open_bench, programs
from trimtab.stages.deciding import author, chosen_plan, gain_text, method
from trimtab.views import decision_view

SEARCH_SECONDS = 60.0  # CPU time
LIMITS = Limits(cpu_seconds=120.0, wall_seconds=600.0, memory_bytes=4 * 2**30)  # of one measurement


def pack_files(pods: Path, nodes: Path, budget: float = SEARCH_SECONDS) -> StageResult:
    """`trimtab pack pods.csv --nodes nodes.csv`. Raises InputError."""
    stamp = fingerprint(pods)[:32] + fingerprint(nodes)[:32]
    problem = Packing(str(pods.resolve()), str(nodes.resolve()), stamp)
    problem.fleet  # noqa: B018  what is wrong with the input is said before anything is spent
    with open_bench(problem.name) as bench, confined(problem) as runner:
        decision = decided(problem, programs(library, bench), bench, runner, LIMITS, budget)
    return _result(problem, decision)


def confined(problem: Packing) -> LocalRunner:
    """A runner for programs that nobody has reviewed: the two files can be read, and nothing written."""
    warm = ("trimtab.cluster.packing.problem:warm",)
    return LocalRunner(confinement=Confinement((problem.pods, problem.nodes), (Packing.__module__,), warm))


def _result(problem: Packing, decision: Decision[PackingPlan]) -> StageResult:
    plan = chosen_plan(decision)
    made = {name: _allocated(problem, one) for name, one in {**problem.baselines(), "chosen": plan}.items()}
    before, after = (dict(zip(LEVELS, made[name], strict=True)) for name in ("current", "chosen"))
    gpus = problem.fleet.gpus
    most = np.mean([at_most(problem, "holdout", seed) for seed in range(SEEDS)], axis=0)
    lines = len(plan.program.strip().splitlines())
    row = Row(
        current="spread (Kubernetes' default)",
        chosen=f"program of {lines} lines",
        saving=f"{gain_text(decision, problem.objective)}; {after[1.0]:.1%} of the GPUs at 100 % asked for",
        method=method(decision),
        by=author(decision),
    )
    facts: dict[str, Json] = {
        "allocated": {name: [float(one) for one in values] for name, values in made.items()},
        "levels": list(LEVELS),
        "plan": {"program": plan.program},
        "program": plan.program.strip() + "\n",
        "notes": [
            f"When pods ask for as many GPUs as there are ({gpus:,.0f}), this rule allocates {after[1.0]:.2%} of them, "
            f"today's {before[1.0]:.2%}; when they ask for 1.3 times as many, {after[1.3]:.2%} and {before[1.3]:.2%} "
            f"(pods of the second half of the history, {SEEDS} orders)."
        ],
        "tables": [_table(made, most), _perturbed(problem, plan)],
        "plots": [_bars(made)],
    }
    return StageResult("pack", row, decision_view(decision, problem.objective), facts, (), decision.spent)


def _allocated(problem: Packing, plan: PackingPlan) -> np.ndarray:
    return np.asarray(np.mean([allocation(problem, plan, "holdout", seed) for seed in range(SEEDS)], axis=0))


def _table(made: Mapping[str, np.ndarray], most: np.ndarray) -> Json:
    rows: list[Json] = [[name, *(f"{one:.2%}" for one in values)] for name, values in made.items()]
    rows.append(["any placement, at most", *(f"{one:.2%}" for one in most)])
    head: Json = ["rule", *(f"at {level:.0%} asked for" for level in LEVELS)]
    return {"title": "GPUs allocated, unseen half", "head": head, "rows": rows}


def _perturbed(problem: Packing, plan: PackingPlan) -> Json:
    """The chosen rule and FGD on pods of the unseen half when the world differs from the history."""
    fleet, rng = problem.fleet, np.random.default_rng(0)
    mix, order = fleet.mix(pool_of(fleet, "search")), drawn(fleet, "holdout", 0)
    kept = fleet.sizes[np.sort(rng.permutation(len(fleet.sizes))[: round(0.9 * len(fleet.sizes))])]
    worlds: dict[str, tuple[Fleet, Ints]] = {
        "as it was": (fleet, order),
        "pods ask for 20 % more cores": (replace(fleet, kinds=fleet.kinds * [1.2, 1.0, 1.0, 1.0]), order),
        "pods ask for 20 % fewer cores": (replace(fleet, kinds=fleet.kinds * [0.8, 1.0, 1.0, 1.0]), order),
        "a tenth of the nodes away": (replace(fleet, sizes=np.ascontiguousarray(kept)), order),
        "pods without a GPU twice as many": (fleet, _doubled(order, fleet, rng)),
    }
    rows: list[Json] = []
    for name, (changed, pods) in worlds.items():
        ours, theirs = (allocated(changed, pods, mix, one) for one in (plan, PEERS["fgd"]))
        rows.append([name, *(f"{one:.2%}" for made in (ours, theirs) for one in made[1:])])
    head: Json = ["when", *(f"{who}{level:.0%}" for who in ("", "fgd: ") for level in LEVELS[1:])]
    return {"title": "The chosen rule when the world differs, unseen half", "head": head, "rows": rows}


def _doubled(order: Ints, fleet: Fleet, rng: np.random.Generator) -> Ints:
    """Every pod that asks for no GPU comes twice, the second time at any place."""
    without = order[fleet.kinds[order, COUNT] == 0]
    return np.insert(order, rng.integers(0, len(order), len(without)), without)


def _bars(made: Mapping[str, np.ndarray]) -> Json:
    marks = {"current": "current", "chosen": "chosen", "fgd": "free"}
    rows: list[Json] = [
        {"label": name, "value": float(1 - one[LEVELS.index(1.0)]), "mark": marks.get(name, "")}
        for name, one in made.items()
    ]
    return {"kind": "bars", "title": "Idle share of the GPUs at 100 % asked for", "unit": "", "rows": rows}
