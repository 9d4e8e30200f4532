"""Does `tune` close the gap between default LightGBM and 50 Optuna trials, at a third of the CPU?

All three see the same rows, encoded alike: they are trained and chosen on the search part and scored on the holdout,
as the mean over the same blocks of rows. CPU seconds are those of the process, one thread, loading the table excluded.

    python benchmarks/training/tune.py [--data ../shared/data] [--seeds 3] [--sets adult,diamonds]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trimtab.adapters.sources.dataset import DataSpec

TRIALS = 50
SEARCH_SHARE_OF_OPTUNA = 0.2  # of the CPU that Optuna took: trimtab's budget for searching; checking comes on top
KNOWN_LATER = ("dep_time", "dep_delay", "arr_time", "air_time", "year")


@dataclass(frozen=True)
class Table:
    file: str
    target: str
    metric: str
    time: str = ""
    exclude: tuple[str, ...] = ()
    positive: str = ""


# `weather` stands in for California housing, which no package carries offline: about 20,000 rows of numbers, of which
# the target is a smooth function (temperature from humidity, wind, pressure, place, day and hour). `spam` is small.
SETS: Mapping[str, Table] = {
    "flights": Table("tabular/nycflights_120k.csv.gz", "arr_delay > 15", "auc", "time_hour", KNOWN_LATER),
    "adult": Table("tabular/adult.csv.gz", "income", "auc", exclude=("split",), positive=">50K"),
    "diamonds": Table("tabular/diamonds.csv.gz", "price", "rmse"),
    "weather": Table("tabular/nyc_weather.csv.gz", "temp", "rmse", exclude=("dewp", "year", "time_hour")),
    "spam": Table("anomaly/35_SpamBase.npz", "y", "auc"),
}


@dataclass(frozen=True)
class Ran:
    """One arm on one set: the holdout metric and the CPU seconds for finding it."""

    value: float
    cpu_seconds: float
    chosen: str = ""
    is_confirmed: bool = False  # trimtab: the interval of the gain lies above zero, so that it is applied


def spec_of(table: Table, data: Path, folder: Path) -> DataSpec:
    """The set as trimtab reads it; .npz files are written as Parquet first."""
    file = data / table.file
    if file.suffix == ".npz":
        file = as_parquet(file, folder)
    spec = DataSpec(str(file), table.target, table.time, table.exclude, positive=table.positive)
    # Nothing is replayed as production here: all rows are searched or confirmed on.
    return replace(spec, search_share=0.7, holdout_share=0.3).stamped()


def as_parquet(file: Path, folder: Path) -> Path:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet

    found = np.load(file, allow_pickle=False)
    columns: dict[str, Any] = {f"x{place}": found["X"][:, place] for place in range(found["X"].shape[1])}
    to = folder / f"{file.stem}.parquet"
    pyarrow.parquet.write_table(pa.table({**columns, "y": found["y"].ravel().astype(int)}), to)
    return to


def default(spec: DataSpec, metric: str, seed: int, budget: float) -> Ran:
    """LightGBM as it comes."""
    from trimtab.core.budget import Stopwatch
    from trimtab.core.model import Sample
    from trimtab.training.selection.plan import DEFAULT
    from trimtab.training.selection.problem import selecting

    problem = selecting(spec, metric, cache=None)
    watch = Stopwatch()
    values = [problem.measure(DEFAULT, Sample("holdout", block)).metrics[metric] for block in range(problem.blocks)]
    return Ran(statistics.fmean(values), watch.read().cpu_seconds)


def optuna_50(spec: DataSpec, metric: str, seed: int, budget: float) -> Ran:
    """50 trials of Optuna's default sampler over LightGBM, each stopped early on the valid part; the best refitted."""
    import numpy as np
    import optuna

    from trimtab.adapters.models import boosting
    from trimtab.adapters.models.learn_encoding import encode, learn
    from trimtab.adapters.models.metrics import GOAL, score
    from trimtab.adapters.sources.dataset import load, part
    from trimtab.core.budget import Stopwatch
    from trimtab.training.selection.problem import blocks_for

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    whole = load(spec)
    watch = Stopwatch()
    train, valid, search, holdout = (part(whole, spec, name) for name in ("train", "valid", "search", "holdout"))
    encoding = learn(train)
    words = encoding.categorical_features
    x, x_valid = encode(train, encoding), encode(valid, encoding)
    rows = boosting.dataset(x, train.y, words, {"feature_pre_filter": False, "verbosity": -1})

    def training(params: Mapping[str, Any], rounds: int, patience: int) -> boosting.Training:
        fixed = {"feature_pre_filter": False, "bagging_freq": 1}
        return boosting.Training(whole.task, params=fixed | dict(params), rounds=rounds, early_stopping=patience)

    def objective(trial: optuna.Trial) -> float:
        params = {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "num_leaves": trial.suggest_int("num_leaves", 4, 255, log=True),
            "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 1, 300, log=True),
            "feature_fraction": trial.suggest_float("feature_fraction", 0.2, 1.0),
            "bagging_fraction": trial.suggest_float("bagging_fraction", 0.4, 1.0),
            "lambda_l1": trial.suggest_float("lambda_l1", 1e-8, 10.0, log=True),
            "lambda_l2": trial.suggest_float("lambda_l2", 1e-8, 10.0, log=True),
            "cat_smooth": trial.suggest_float("cat_smooth", 1.0, 100.0, log=True),
        }
        booster = boosting.fit_dataset(rows, training(params, 1000, 50), valid=(x_valid, valid.y))
        trial.set_user_attr("rounds", booster.best_iteration)
        return score(metric, valid.y, np.asarray(booster.predict(x_valid, num_threads=1)))

    direction = "maximize" if GOAL[metric] == "max" else "minimize"
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=TRIALS)
    best = study.best_trial
    final = learn(search)
    last = boosting.fit(
        encode(search, final), search.y, training(best.params, best.user_attrs["rounds"], 0), categorical=words
    )
    predicted = np.asarray(last.predict(encode(holdout, final), num_threads=1))
    cpu_seconds = watch.read().cpu_seconds
    return Ran(by_block(metric, holdout.y, predicted, blocks_for(whole, spec)), cpu_seconds, str(best.params))


def by_block(metric: str, y: Any, predicted: Any, pieces: int) -> float:
    from trimtab.adapters.models.metrics import score
    from trimtab.adapters.sources.dataset import blocks

    return statistics.fmean(score(metric, y[block], predicted[block]) for block in blocks(len(y), pieces))


def trimtab(spec: DataSpec, metric: str, seed: int, budget: float) -> Ran:
    """The loop as `trimtab tune` runs it, without a language model; default LightGBM is the current plan."""
    from trimtab.core.budget import Meter
    from trimtab.core.events import Judged
    from trimtab.core.loop import optimize
    from trimtab.core.model import Comparison
    from trimtab.proposers.portfolio import Portfolio
    from trimtab.proposers.rules import Derived, Rules
    from trimtab.proposers.search import Search
    from trimtab.testing import MemoryLedger
    from trimtab.training.selection.plan import SEARCHED
    from trimtab.training.selection.portfolio import derived, portfolio
    from trimtab.training.selection.problem import selecting

    search = Search(seed=seed, startup=4, fixed=SEARCHED)
    proposer = Portfolio(Rules("portfolio", portfolio), search=search, derived=Derived("derived", derived))
    paid, check = Meter(cpu_seconds=budget), Meter(cpu_seconds=budget)
    problem, ledger = selecting(spec, metric, cache=None), MemoryLedger()
    decision = optimize(problem, proposer, search=paid, check=check, ledger=ledger, seed=seed)
    plan = decision.winner.proposal.plan if decision.winner else None
    confirmed = [
        one.event
        for one in ledger.events(Judged)
        if isinstance(one.event.verdict, Comparison) and one.event.verdict.split == "holdout"
    ]
    if not confirmed:
        kept = default(spec, metric, seed, budget).value
        return Ran(kept, decision.spent.cpu_seconds, f"nothing better was found: {decision.stopped}")
    verdict = confirmed[0].verdict
    assert isinstance(verdict, Comparison)
    chosen = f"{confirmed[0].by} {confirmed[0].plan}, gain {verdict.gain}"
    return Ran(verdict.metrics[metric], decision.spent.cpu_seconds, chosen, is_confirmed=plan is not None)


def alone(arm: Any, *arguments: Any) -> Ran:
    """Run an arm in a fresh process: nothing that another one cached is there."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        ran: Ran = pool.submit(arm, *arguments).result()
    return ran


@dataclass(frozen=True)
class Line:
    """One set: means over the seeds."""

    name: str
    metric: str
    default: float
    optuna: list[Ran]
    trimtab: list[Ran]

    @property
    def sign(self) -> float:
        return -1.0 if self.metric in ("rmse", "mae", "log_loss") else 1.0

    def gap(self, runs: list[Ran]) -> float:
        """Mean improvement over the default; positive is better."""
        return statistics.fmean(self.sign * (run.value - self.default) for run in runs)

    @property
    def cpu_ratio(self) -> float:
        return sum(run.cpu_seconds for run in self.trimtab) / sum(run.cpu_seconds for run in self.optuna)

    @property
    def confirmed(self) -> int:
        return sum(run.is_confirmed for run in self.trimtab)

    def row(self) -> str:
        ours, theirs = self.gap(self.trimtab), self.gap(self.optuna)
        closed = f"{ours / theirs:.0%}" if theirs > 0 else f"{ours:+.4g} against {theirs:+.4g}"
        return (
            f"| {self.name} ({self.metric}) | {self.default:.5g} | {shown(self.optuna)} | {shown(self.trimtab)} "
            f"| {closed} | {self.cpu_ratio:.2f} | {self.confirmed} of {len(self.trimtab)} |"
        )


def shown(runs: list[Ran]) -> str:
    values = [run.value for run in runs]
    spread = f" ({min(values):.5g} to {max(values):.5g})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.5g}{spread}, {statistics.fmean(run.cpu_seconds for run in runs):.1f} CPU-s"


def line(name: str, data: Path, folder: Path, seeds: int) -> Line:
    spec, metric = spec_of(SETS[name], data, folder), SETS[name].metric
    base = alone(default, spec, metric, 0, 0.0).value
    theirs = [alone(optuna_50, spec, metric, seed, 0.0) for seed in range(seeds)]
    budget = SEARCH_SHARE_OF_OPTUNA * statistics.fmean(run.cpu_seconds for run in theirs)
    ours = [alone(trimtab, spec, metric, seed, budget) for seed in range(seeds)]
    for run in (*theirs, *ours):
        print(f"  {name}: {run.value:.5g} in {run.cpu_seconds:.1f} CPU-s: {run.chosen}", file=sys.stderr)
    return Line(name, metric, base, theirs, ours)


def report(lines: list[Line], seeds: int) -> str:
    good = sum(one.gap(one.trimtab) >= one.gap(one.optuna) and one.cpu_ratio <= 1 / 3 for one in lines)
    names = ",".join(one.name for one in lines)
    table = [
        f"# tune against default LightGBM and Optuna ({TRIALS} trials)\n",
        "Holdout metric, mean over the same blocks of rows; mean (lowest to highest) over "
        f"{seeds} search seeds. CPU seconds of search and check. Confirmed: the corrected 95 % interval of the gain "
        "over the default lies above zero; otherwise trimtab keeps the default, whatever it found.\n",
        "| set | default LightGBM | Optuna 50 | trimtab | gap closed, of Optuna's | CPU ratio | confirmed |",
        "|---|---|---|---|---|---|---|",
        *(one.row() for one in lines),
        f"\nAt least Optuna's gap at a third of its CPU or less: {good} of {len(lines)} sets.",
        f"\nMachine: {machine()}. Made by `python benchmarks/training/tune.py --seeds {seeds} --sets {names}`.\n",
    ]
    return "\n".join(table)


def machine() -> str:
    models = [one for one in Path("/proc/cpuinfo").read_text().splitlines() if one.startswith("model name")]
    name = models[0].partition(":")[2].strip() if models else platform.processor()
    return f"{os.cpu_count()} cores, {name}, load {os.getloadavg()[0]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRIMTAB_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args()
    if not given.data.is_dir():
        sys.exit(f"{given.data} is not there: name the folder of the data sets with --data or TRIMTAB_DATA")
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        lines: list[Line] = []
        for name in given.sets.split(","):
            lines.append(line(name, given.data, Path(folder), given.seeds))
            given.out.write_text(report(lines, given.seeds), encoding="utf-8")
    print(report(lines, given.seeds))


if __name__ == "__main__":
    main()
