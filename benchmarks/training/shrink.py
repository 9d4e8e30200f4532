"""How much of a 500-configuration front does `shrink` find at 5 % of its cost; how much cheaper can a model predict?

The reference is a grid of LightGBM configurations, each trained on its own (front.py, front.csv.gz). All see the same
rows, one thread. Points are chosen on the valid part; what is reported is measured on the holdout, by models trained
on the same rows. The hypervolume has four axes: quality, and the logarithms of training CPU, CPU time of a prediction
(batches of 1,000 rows, in turn with another model) and bytes, each between the worst and the best of the 500: what is
better than all of these counts no more than they do.

    python benchmarks/training/shrink.py [--data ../shared/data] [--seeds 3] [--sets adult,digits]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import front as reference
from hypervolume import Box, Point

from trimtab.adapters.sources.dataset import DataSpec

BUDGET = 0.05  # of the reference's cost
ROOM = 0.9  # of the budget: the last plan may cost more than what is left
LOSS = 0.005  # of today's quality, that a cheaper model may lose
CHEAPER = 10  # times
DRAWS = 20
DEFAULT = reference.Config(31, 0.1, 100, 1.0)  # LightGBM as it comes is a point of the grid: it links the two clocks


@dataclass(frozen=True)
class Found:
    """The points that a search looked at, and its CPU seconds."""

    points: tuple[Point, ...]
    cpu_seconds: float


@dataclass(frozen=True)
class Cheaper:
    """The cheapest model that lost at most half of what may be lost on the search part, measured on the holdout."""

    times: float
    relative_loss: float
    quality: float  # today's
    chosen: str
    confirmed: float  # how many times cheaper the model is that the loop confirmed; 1: it kept today's

    @property
    def is_taken(self) -> bool:
        """Whether what was confirmed, or where nothing was, what was measured, is 10 × cheaper and as good."""
        if self.confirmed > 1:
            return self.confirmed >= CHEAPER
        return self.times >= CHEAPER and self.relative_loss <= LOSS


def known(name: str) -> dict[reference.Config, Point]:
    """The reference's points."""
    return {
        one.config: Point(one.valid, one.holdout, one.train_cpu_seconds, one.us_ratio, float(one.bytes))
        for one in reference.kept()
        if one.set == name
    }


def costs(name: str) -> dict[reference.Config, float]:
    return {one.config: one.cost_cpu_seconds for one in reference.kept() if one.set == name}


def shrunk(name: str, spec: DataSpec, budget: float, seed: int) -> Found:
    """The points that `trimtab shrink` looks at on a bare table: LightGBM as it comes is today's model."""
    from trimtab.core.budget import Meter
    from trimtab.core.loop import optimize
    from trimtab.testing import MemoryLedger
    from trimtab.training.architecture.front import points
    from trimtab.training.architecture.measure import answered
    from trimtab.training.architecture.problem import shrinking
    from trimtab.training.selection.plan import DEFAULT as TODAY

    metric = reference.SETS[name].metric
    problem = replace(shrinking(spec, metric, TODAY, cache=None), seconds=0.0)
    link, clock = known(name)[DEFAULT], clock_of(name, problem.setting)
    meter = Meter(cpu_seconds=ROOM * budget / clock)
    decision = optimize(problem, proposer(), search=meter, check=Meter(cpu_seconds=0.0), ledger=MemoryLedger())
    spent = meter.spent.cpu_seconds
    made = [
        Point(
            one.quality,
            answered(problem.setting, one.plan, metric),
            one.metrics["train_cpu_seconds"] * clock,
            one.metrics["predict_ratio"] * link.us_ratio,
            one.metrics["model_bytes"],
        )
        for one in points(decision, metric)
    ]
    return Found(tuple(made), spent * clock)


def clock_of(name: str, setting: Any) -> float:
    """CPU seconds of the reference's clock in one of today's: the host may be busier now, or quieter.

    What is loaded, encoded and imported for it is not counted for the reference either.
    """
    import sklearn.linear_model  # noqa: F401

    from trimtab.training.architecture import measure, students
    from trimtab.training.architecture.plan import CURRENT

    taken = []
    for _ in range(3):
        students.grown.cache_clear()
        taken.append(students.student(setting, CURRENT, "search").train_cpu_seconds)
    rows = students.rows_of(setting, "search")
    assert len(measure.encoded(setting.data, "search", rows.encoding))
    students.grown.cache_clear()
    return known(name)[DEFAULT].train_cpu_seconds / statistics.median(taken)


def proposer() -> Any:
    from trimtab.proposers.portfolio import Portfolio
    from trimtab.proposers.rules import Derived, Rules
    from trimtab.training.architecture.ideas import NAME, first, further

    return Portfolio(Rules(NAME, first), derived=Derived(NAME, further))


def optuna_front(name: str, spec: DataSpec, budget: float, seed: int, kind: str = "nsga") -> Found:
    """Optuna over the same ranges, four objectives; every trial is a fit of its own, timed as the reference's were."""
    import optuna

    from trimtab.core.budget import Stopwatch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    grid = reference.Grid(name, spec)
    link = known(name)[DEFAULT]
    clock = link.train_cpu_seconds / grid.result(DEFAULT).train_cpu_seconds
    samplers: dict[str, Callable[[], Any]] = {
        "nsga": lambda: optuna.samplers.NSGAIISampler(seed=seed, population_size=10),
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed, n_startup_trials=8),
    }
    study = optuna.create_study(directions=["maximize", "minimize", "minimize", "minimize"], sampler=samplers[kind]())
    made: list[Point] = []
    watch = Stopwatch()
    while watch.read().cpu_seconds * clock < budget:
        trial = study.ask()
        config = reference.Config(
            trial.suggest_int("leaves", reference.LEAVES[0], reference.LEAVES[-1], log=True),
            trial.suggest_float("rate", reference.RATES[0], reference.RATES[-1], log=True),
            trial.suggest_int("trees", reference.TREES[0], reference.TREES[-1], log=True),
            trial.suggest_float("rows", reference.ROWS[0], reference.ROWS[-1], log=True),
        )
        one = grid.result(config)
        study.tell(trial, [one.valid, one.train_cpu_seconds, one.us_ratio, one.bytes])
        made.append(Point(one.valid, one.holdout, one.train_cpu_seconds * clock, one.us_ratio, float(one.bytes)))
    return Found(tuple(made), watch.read().cpu_seconds * clock)


def drawn(name: str, budget: float, seed: int) -> list[Point]:
    """Configurations of the grid in random order, as far as the budget goes."""
    points, price = known(name), costs(name)
    order = sorted(points, key=str)
    random.Random(seed).shuffle(order)
    left, found = budget, []
    for config in order:
        if left <= 0:
            break
        found.append(points[config])
        left -= price[config]
    return found


def cheaper(name: str, spec: DataSpec, budget: float, seed: int) -> Cheaper:
    """What `trimtab shrink` puts in the place of a model as `tune` starts from: boosted until it gains no more."""
    from trimtab.core.budget import Meter
    from trimtab.core.loop import optimize
    from trimtab.core.model import Comparison, Sample
    from trimtab.testing import MemoryLedger
    from trimtab.training.architecture.front import points
    from trimtab.training.architecture.plan import CURRENT, described
    from trimtab.training.architecture.problem import shrinking
    from trimtab.training.selection.plan import ModelPlan

    metric = reference.SETS[name].metric
    problem = shrinking(spec, metric, ModelPlan(), cache=None)
    today = statistics.fmean(problem.measure(CURRENT, Sample("search", one)).metrics[metric] for one in range(2))
    problem = replace(problem, tolerance=LOSS * today)
    meters = Meter(cpu_seconds=budget), Meter()
    decision = optimize(problem, proposer(), search=meters[0], check=meters[1], ledger=MemoryLedger(), seed=seed)
    good = [one for one in points(decision, metric) if one.metrics["loss"] <= LOSS * today / 2]
    plan = min(good, key=lambda one: one.metrics["predict_ratio"]).plan
    now, before = (
        [problem.measure(one, Sample("holdout", k)).metrics for k in range(problem.blocks)] for one in (plan, CURRENT)
    )
    mean = {
        name: (statistics.fmean(one[name] for one in now), statistics.fmean(one[name] for one in before))
        for name in now[0]
    }
    verdict = decision.winner.verdict if decision.winner else None
    confirmed = isinstance(verdict, Comparison)
    return Cheaper(
        mean["predict_ratio"][1] / mean["predict_ratio"][0],
        mean["loss"][0] / mean[metric][1],
        mean[metric][1],
        described(plan),
        verdict.reference["predict_ratio"] / verdict.metrics["predict_ratio"] if confirmed else 1.0,
    )


@dataclass(frozen=True)
class Line:
    """One set; volumes as shares of the reference's."""

    name: str
    grid_cpu_seconds: float
    shrink: list[float]
    shrink_cpu_seconds: list[float]
    nsga: list[float]
    tpe: list[float]
    drawn: list[float]
    cheaper: Cheaper

    def row(self) -> str:
        one = self.cheaper
        spent = statistics.fmean(self.shrink_cpu_seconds) / self.grid_cpu_seconds
        return (
            f"| {self.name} ({reference.SETS[self.name].metric}) | {self.grid_cpu_seconds:.0f} | {shown(self.shrink)} "
            f"| {spent:.1%} | {shown(self.nsga)} | {shown(self.tpe)} | {shown(self.drawn)} "
            f"| {one.quality:.4f} | {one.times:.1f} × | {one.relative_loss:.2%} | {one.chosen} "
            f"| {f'{one.confirmed:.1f} ×' if one.confirmed > 1 else 'keeps today’s'} |"
        )


def shown(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.1%}"


def line(name: str, data: Path, folder: Path, seeds: int) -> Line:
    spec = reference.spec_of(name, data, folder)
    points, whole = known(name), sum(costs(name).values())
    box = Box(list(points.values()))
    full, budget = box.volume(list(points.values())), BUDGET * whole
    ours = [alone(shrunk, name, spec, budget, seed) for seed in range(seeds)]
    nsga = [alone(optuna_front, name, spec, budget, seed, "nsga") for seed in range(seeds)]
    tpe = [alone(optuna_front, name, spec, budget, seed, "tpe") for seed in range(seeds)]
    volumes = [[box.volume(run.points) / full for run in runs] for runs in (ours, nsga, tpe)]
    return Line(
        name,
        whole,
        volumes[0],
        [run.cpu_seconds for run in ours],
        volumes[1],
        volumes[2],
        [box.volume(drawn(name, budget, seed)) / full for seed in range(DRAWS)],
        alone(cheaper, name, spec, 120.0, 0),
    )


def report(lines: list[Line], seeds: int) -> str:
    covered = sum(statistics.fmean(one.shrink) >= 0.95 for one in lines)
    measured = sum(one.cheaper.times >= CHEAPER and one.cheaper.relative_loss <= LOSS for one in lines)
    confirmed = sum(one.cheaper.confirmed >= CHEAPER for one in lines)
    taken = sum(one.cheaper.is_taken for one in lines)
    table = [
        "# shrink against a front of 500 configurations, and against today's model\n",
        "Hypervolume (quality, training CPU, CPU time of a prediction, bytes; logarithms of costs) as a share of what "
        f"the 500 separately trained configurations take, at {BUDGET:.0%} of their CPU time, training, scoring and "
        f"timing included; means over {seeds} runs, of the draws {DRAWS}. Points are chosen on the valid part and "
        "measured on the holdout. The students and their order were drawn up on adult, cancer and weather; the other "
        "sets had no say in it. Peers: Optuna over the same ranges, and configurations drawn from the 500.\n",
        "Right: today's model is LightGBM that was boosted until it gained no more (rate 0.06, 31 leaves). Cheaper: "
        f"of the models that lost at most half of {LOSS:.1%} of its quality on the search part, the one with the "
        "cheapest prediction (CPU time, batches of 1,000 rows, both in turn), and its relative loss on the holdout. "
        f"Confirmed: what the loop put in its place at a tolerance of {LOSS:.1%}, which the confidence bound on the "
        "holdout must keep: on a few hundred rows it cannot.\n",
        "| set | 500 fits, CPU-s | shrink | its cost | NSGA-II | TPE | drawn | today | cheaper | loss | chosen "
        "| confirmed |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(one.row() for one in lines),
        f"\nAt least 95 % of the hypervolume: {covered} of {len(lines)} sets. At least 10 × cheaper to predict at a "
        f"loss of {LOSS:.1%} at the most: measured on {measured}, confirmed on {confirmed} of {len(lines)} sets; "
        f"by what was confirmed, and where today's model was kept for want of rows by what was measured: {taken}.",
        f"\nMachine: {machine()}. Made by `python benchmarks/training/shrink.py --seeds {seeds} --sets "
        f"{','.join(one.name for one in lines)}`; the 500 by `python benchmarks/training/front.py`.\n",
    ]
    return "\n".join(table)


def alone(arm: Callable[..., Any], *arguments: Any) -> Any:
    """Run an arm in a fresh process: nothing that another one cached is there."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(arm, *arguments).result()


def machine() -> str:
    models = [one for one in Path("/proc/cpuinfo").read_text().splitlines() if one.startswith("model name")]
    return f"{os.cpu_count()} cores, {models[0].partition(':')[2].strip()}, load {os.getloadavg()[0]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRIMTAB_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", default=",".join(reference.SETS))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args()
    if not given.data.is_dir():
        sys.exit(f"{given.data} is not there: name the folder of the data sets with --data or TRIMTAB_DATA")
    with tempfile.TemporaryDirectory() as folder:
        lines: list[Line] = []
        for name in given.sets.split(","):
            lines.append(line(name, given.data, Path(folder), given.seeds))
            given.out.write_text(report(lines, given.seeds), encoding="utf-8")
            print(lines[-1].row(), flush=True)


if __name__ == "__main__":
    main()
