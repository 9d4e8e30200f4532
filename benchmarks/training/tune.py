"""tune against default LightGBM, Optuna (50 trials), FLAML and AutoGluon: what they find, and at what CPU.

Everyone gets the same 70 % of the rows and is scored on the other 30 %, which nobody chose anything on. trimtab is
`trimtab.Tuner` with a budget of 0.3 of the CPU that Optuna took on the set; trimtab-60 is the same with 60 CPU-s, a
fifth of FLAML's and a twentieth of AutoGluon's longest. CPU seconds of the whole process tree; loading the table is
excluded. Peers run in environments of their own, made under .bench; those that budget in wall
seconds get the CPU time of their process for a clock, so that a busy host takes nothing away from them.

Every run is kept in `tune_raw.json` and never repeated: run it again for more sets, seeds and arms. The table is made
of all that is there.

    python benchmarks/training/tune.py [--arms default,optuna,trimtab,trimtab-60,flaml-60] [--sets adult] [--seeds 3]
    python benchmarks/training/tune.py --only-table
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sets import REPORTED, spec_of
from tune_table import Ran, table

TRIALS = 50
SHARE_OF_OPTUNA = 0.3  # of the CPU that Optuna took: trimtab's whole budget
BUDGETS: Mapping[str, float] = {"trimtab-60": 60.0}  # CPU seconds
RAW = Path(__file__).with_name("tune_raw.json")
SCORERS = {
    "auc": "roc_auc",
    "rmse": "neg_root_mean_squared_error",
    "mae": "neg_mean_absolute_error",
    "log_loss": "neg_log_loss",
}
PEERS: Mapping[str, tuple[str, float, str]] = {  # peer, seconds, preset
    "flaml-60": ("flaml", 60.0, ""),
    "flaml-300": ("flaml", 300.0, ""),
    "autogluon-medium": ("autogluon", 300.0, "medium_quality"),
    "autogluon-best": ("autogluon", 1200.0, "best_quality"),
}
PACKAGES = {
    "flaml": ("flaml[automl]==2.7.0", "pyarrow"),
    "autogluon": ("autogluon.tabular[lightgbm,catboost,xgboost,fastai]==1.6.3", "pyarrow"),
}


@dataclass(frozen=True)
class Found:
    """What an arm predicts for the rows that are reported on, and its CPU seconds."""

    predicted: Any
    cpu_seconds: float
    chosen: str = ""


def default(spec: Any, metric: str, seed: int, budget: float) -> Found:
    """LightGBM as it comes."""
    from trimtab.adapters.sources.dataset import load, part
    from trimtab.core.budget import Stopwatch
    from trimtab.training.selection.fitting import Request, Rows, train
    from trimtab.training.selection.plan import DEFAULT

    whole = load(spec)
    search, test = (part(whole, spec, name) for name in ("search", "holdout"))
    watch = Stopwatch()
    fitted = train(Rows.of(search), Request(DEFAULT, metric)).fitted
    return Found(fitted.predict_table(test.table), watch.read().cpu_seconds)


def optuna_50(spec: Any, metric: str, seed: int, budget: float) -> Found:
    """50 trials of Optuna's default sampler over LightGBM, each stopped early on the valid part; the best refitted."""
    import optuna

    from trimtab.adapters.models import boosting
    from trimtab.adapters.models.learn_encoding import encode, learn
    from trimtab.adapters.models.metrics import GOAL, score
    from trimtab.adapters.sources.dataset import load, part
    from trimtab.core.budget import Stopwatch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    whole = load(spec)
    watch = Stopwatch()
    train, valid, search, holdout = (part(whole, spec, name) for name in ("train", "valid", "search", "holdout"))
    encoding = learn(train)
    words = encoding.categorical_features
    x, x_valid = encode(train, encoding), encode(valid, encoding)
    rows = boosting.dataset(x, train.y, words, {"feature_pre_filter": False, "verbosity": -1})
    fixed = {"feature_pre_filter": False, "bagging_freq": 1}
    if metric == "mae":
        fixed["objective"] = "regression_l1"  # type: ignore[assignment]

    def training(params: Mapping[str, Any], rounds: int, patience: int) -> boosting.Training:
        return boosting.Training(
            whole.task, len(whole.classes), fixed | dict(params), rounds=rounds, early_stopping=patience
        )

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
    return Found(predicted, watch.read().cpu_seconds, str(best.params))


def trimtab(spec: Any, metric: str, seed: int, budget: float) -> Found:
    """The estimator, as a user would call it."""
    from trimtab import Tuner
    from trimtab.adapters.sources.dataset import load, part

    whole = load(spec)
    search, test = (part(whole, spec, name) for name in ("search", "holdout"))
    tuner = Tuner(
        task="regression" if whole.task == "regression" else "classification",
        scoring=SCORERS[metric],
        budget=budget,
        time=spec.time or None,
        threads=1,
        random_state=seed,
    )
    tuner.fit(search.table.select(list(whole.names)), search.y)
    x = test.table.select(list(whole.names))
    predicted = tuner.predict(x) if whole.task == "regression" else tuner.predict_proba(x)
    report = tuner.report_
    said = f"{report.multiple:.1f} x oracle of {report.oracle_cpu_seconds:.2f} CPU-s; {report}; {tuner.plan_}"
    return Found(predicted[:, 1] if whole.task == "binary" else predicted, report.spent_cpu_seconds, said)


HERE: Mapping[str, Callable[[Any, str, int, float], Found]] = {
    "default": default,
    "optuna": optuna_50,
    "trimtab": trimtab,
    "trimtab-60": trimtab,
}


def peer(arm: str, spec: Any, metric: str, seed: int) -> Found:
    """Run a peer in its own environment. Children count: all that it has waited for."""
    import pyarrow as pa
    import pyarrow.parquet

    from trimtab.adapters.sources.dataset import load, part

    name, seconds, preset = PEERS[arm]
    whole = load(spec)
    with tempfile.TemporaryDirectory() as folder:
        for file, which in (("train", "search"), ("test", "holdout")):
            rows = part(whole, spec, which)  # type: ignore[arg-type]
            columns = rows.table.select(list(whole.names)).append_column("target", pa.array(rows.y))
            pyarrow.parquet.write_table(columns, Path(folder) / f"{file}.parquet")
        order = {
            "peer": name, "seconds": seconds, "preset": preset, "folder": folder, "task": whole.task,
            "metric": metric, "seed": seed, "is_ordered": bool(spec.time),
        }  # fmt: skip
        before = children_seconds()
        command = [str(environment(name)), str(Path(__file__).with_name("peers.py")), json.dumps(order)]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=8 * 3600)
        cost = children_seconds() - before
        predicted = np.load(Path(folder) / "predicted.npy")
    return Found(predicted[:, 1] if whole.task == "binary" else predicted, cost)


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def environment(name: str) -> Path:
    """The peer's Python, made on first use."""
    place = Path(".bench") / name
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES[name]], check=True)
    return python.absolute()


def ran(arm: str, name: str, seed: int, spec: Any, budget: float) -> Ran:
    """One arm on one set, in a fresh process: nothing that another one cached is there."""
    from trimtab.adapters.models.metrics import score
    from trimtab.adapters.sources.dataset import load, part

    metric = REPORTED[name].metric
    if arm in HERE:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found: Found = pool.submit(HERE[arm], spec, metric, seed, budget).result()
    else:
        found = peer(arm, spec, metric, seed)
    y = part(load(spec), spec, "holdout").y
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(y), len(y)) for _ in range(100)]
    deviation = statistics.stdev(score(metric, y[at], found.predicted[at]) for at in draws)
    value = score(metric, y, found.predicted)
    return Ran(name, metric, arm, seed, value, deviation, found.cpu_seconds, found.chosen[:2000], machine())


def machine() -> str:
    models = [one for one in Path("/proc/cpuinfo").read_text().splitlines() if one.startswith("model name")]
    name = models[0].partition(":")[2].strip() if models else platform.processor()
    return f"{os.cpu_count()} cores, {name}, load {os.getloadavg()[0]:.1f}"


def budget_for(arm: str, name: str, runs: list[Ran]) -> float:
    """trimtab's: so many CPU seconds, or a share of what Optuna took on this set."""
    if arm in BUDGETS:
        return BUDGETS[arm]
    took = [one.cpu_seconds for one in runs if (one.name, one.arm) == (name, "optuna")]
    if not took:
        sys.exit(f"{name}: Optuna's CPU is trimtab's measure: run --arms optuna first")
    return SHARE_OF_OPTUNA * statistics.fmean(took)


def read() -> list[Ran]:
    return [Ran(**one) for one in json.loads(RAW.read_text(encoding="utf-8"))] if RAW.exists() else []


def write(runs: list[Ran], out: Path) -> None:
    text = ",\n".join(json.dumps(asdict(one)) for one in runs)
    RAW.write_text(f"[\n{text}\n]\n", encoding="utf-8")
    out.write_text(table(runs, tuple(REPORTED), tuple(BUDGETS), tuple(PEERS)), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRIMTAB_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sets", default=",".join(REPORTED))
    parser.add_argument("--arms", default="default,optuna,trimtab")
    parser.add_argument("--again", action="store_true", help="drop what was measured of these arms, and measure anew")
    parser.add_argument("--only-table", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args()
    runs, arms, sets = read(), given.arms.split(","), given.sets.split(",")
    if given.only_table:
        write(runs, given.out)
        return
    if not given.data.is_dir():
        sys.exit(f"{given.data} is not there: name the folder of the data sets with --data or TRIMTAB_DATA")
    if given.again:
        runs = [one for one in runs if one.arm not in arms or one.name not in sets]
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.seeds):
            for name in sets:
                spec = spec_of(REPORTED[name], given.data, Path(folder))
                for arm in arms:
                    if run_new(arm, name, seed, spec, runs):
                        write(runs, given.out)
    print(given.out.read_text(encoding="utf-8"))


def run_new(arm: str, name: str, seed: int, spec: Any, runs: list[Ran]) -> bool:
    """Add what was not measured yet to `runs`; False where it was."""
    seed = 0 if arm == "default" else seed  # the default has no seed
    if any((run.arm, run.name, run.seed) == (arm, name, seed) for run in runs):
        return False
    runs.append(ran(arm, name, seed, spec, budget_for(arm, name, runs) if HERE.get(arm) is trimtab else 0.0))
    print(f"{name} {arm} {seed}: {runs[-1].value:.5g} in {runs[-1].cpu_seconds:.1f} CPU-s", file=sys.stderr, flush=True)
    return True


if __name__ == "__main__":
    main()
