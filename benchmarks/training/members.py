"""What symmetric trees bring to `trimtab.Tuner`, what they cost, and whether what it takes beats default LightGBM.

Sets that the portfolio is learned on, none that tune.md reports on. Of each 65 % of the rows, 13,000 at the most, are
tuned on, twice with the same budget: with CatBoost, and as if it were not installed. The other rows score both and
default LightGBM, in bootstrap deviations of the default's score. Then the trees are trained once on all of the rows:
their CPU seconds beside what `expected_seconds` foretells for as many rounds as they took, and learning rate × rounds.

    python benchmarks/training/members.py [--data ../shared/data] [--budget 12] [--sets movies,credit]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sets import LEARNED_ON, spec_of
from tune import SCORERS, machine

import trimtab
from trimtab.adapters.models.metrics import GOAL, score
from trimtab.adapters.sources.dataset import Dataset, load
from trimtab.core.budget import Stopwatch
from trimtab.training.selection import symmetric
from trimtab.training.selection.fitting import Request, Rows, chosen, train
from trimtab.training.selection.plan import DEFAULT
from trimtab.training.selection.portfolio import RANKED, WORDED

TUNED_SHARE, MOST_ROWS, DRAWS = 0.65, 20_000, 100


@dataclass(frozen=True)
class Found:
    """Of one set: gains over default LightGBM, in deviations, and what training symmetric trees took."""

    name: str
    without: float
    gain: float
    members: int  # symmetric ones of what was chosen
    kept_default: bool
    on_holdout: float
    price: float  # taken over foretold, of a round
    steps: float  # learning rate × rounds
    words: float | None  # times what reading words as such costs a round


def main() -> None:
    """Print the table and write it beside this file."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRIMTAB_DATA", "../shared/data")))
    parser.add_argument("--budget", type=float, default=12.0)
    parser.add_argument("--sets", default=",".join(LEARNED_ON))
    given = parser.parse_args()
    if not symmetric.is_installed():
        sys.exit("CatBoost is not installed: pip install 'trimtab[catboost]'")
    found = []
    for name in given.sets.split(","):
        found.append(compared(name, given.data, given.budget))
        print(found[-1], file=sys.stderr, flush=True)
    text = written(found, given.budget)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def compared(name: str, data: Path, budget: float) -> Found:
    metric = LEARNED_ON[name].metric
    with tempfile.TemporaryDirectory() as folder:
        whole = load(spec_of(LEARNED_ON[name], data, Path(folder)))
        whole = whole.take(np.random.default_rng(0).permutation(len(whole))[:MOST_ROWS])
        cut = round(len(whole) * TUNED_SHARE)
        rows, test = whole.rows(0, cut), whole.rows(cut, len(whole))
        default = train(Rows.of(rows), Request(DEFAULT, metric)).fitted.predict_table(test.table)
        sign = 1 if GOAL[metric] == "max" else -1
        rng = np.random.default_rng(0)
        draws = [rng.integers(0, len(test), len(test)) for _ in range(DRAWS)]
        deviation = statistics.stdev(score(metric, test.y[at], default[at]) for at in draws)
        base = score(metric, test.y, default)

        def gain(tuner: trimtab.Tuner) -> float:
            table = test.table.select(list(test.names))
            is_quantity = test.task == "regression"
            predicted = tuner.predict(table) if is_quantity else tuner.predict_proba(table)
            predicted = predicted[:, 1] if test.task == "binary" else predicted
            return sign * (score(metric, test.y, predicted) - base) / deviation

        here = tuned(rows, metric, budget)
        there = without_catboost(rows, metric, budget)
        price, steps, words = priced(rows, metric)
        said = here.report_.gain
        return Found(
            name, gain(there), gain(here), sum(one.trees == "symmetric" for one in here.plan_.members),
            here.plan_ == DEFAULT, said.mid if said else 0.0, price, steps, words,
        )  # fmt: skip


def tuned(rows: Dataset, metric: str, budget: float) -> trimtab.Tuner:
    task = "regression" if rows.task == "regression" else "classification"
    tuner = trimtab.Tuner(task=task, scoring=SCORERS[metric], budget=budget, threads=1)
    return tuner.fit(rows.table.select(list(rows.names)), rows.y)


def without_catboost(rows: Dataset, metric: str, budget: float) -> trimtab.Tuner:
    """As where the extra is not installed: nothing finds the package."""
    held = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "catboost"}
    sys.modules["catboost"] = None  # type: ignore[assignment]
    try:
        return tuned(rows, metric, budget)
    finally:
        del sys.modules["catboost"]
        sys.modules.update(held)


def priced(dataset: Dataset, metric: str) -> tuple[float, float, float | None]:
    """Taken over foretold of a round, learning rate × rounds, and what words make of a round."""
    rows = Rows.of(dataset)
    outputs = len(dataset.classes) if dataset.task == "multiclass" else 1
    foretold = symmetric.expected_seconds(len(dataset), rows.x, outputs) / symmetric.USUAL_ROUNDS
    patience = round(10 + 2 / RANKED.learning_rate) if chosen(len(dataset), 1.0)[1] else 0

    def a_round(plan: object) -> tuple[float, int]:
        watch = Stopwatch()
        (rounds,) = train(rows, Request(plan, metric)).rounds  # type: ignore[arg-type]
        return watch.read().cpu_seconds / (rounds + patience), rounds

    taken, rounds = a_round(RANKED)
    words = a_round(WORDED)[0] / taken if rows.encoding.categorical_features else None
    return taken / foretold, RANKED.learning_rate * rounds, words


def written(found: list[Found], budget: float) -> str:
    taken = [one for one in found if not one.kept_default]
    against = [one for one in taken if one.on_holdout <= 0]
    steps, words = [one.steps for one in found], [one.words for one in found if one.words]
    brought = [one.gain - one.without for one in found]
    return "\n".join([
        "# What symmetric trees bring to Tuner, and what they cost\n",
        (__doc__ or "").partition("\n\n")[2].partition("\n\n    python")[0].replace("\n", " ") + "\n",
        "| set | without CatBoost | with it | symmetric members | a round, taken / foretold | rate × rounds | words |",
        "|---" * 7 + "|",
        *(
            f"| {one.name}{' (default kept)' if one.kept_default else ''} | {one.without:+.2f} | {one.gain:+.2f} "
            f"| {one.members} | {one.price:.2f} | {one.steps:.0f} | {f'{one.words:.1f} ×' if one.words else ''} |"
            for one in found
        ),
        "",
        f"- with CatBoost over without: {statistics.fmean(brought):+.2f} deviations in the mean, "
        f"{statistics.median(brought):+.2f} in the median, {min(brought):+.2f} to {max(brought):+.2f}",
        f"- over default LightGBM, where it was not kept: better on {sum(one.gain > 0 for one in taken)} of "
        f"{len(taken)} sets, {statistics.fmean(one.gain for one in taken):+.2f} in the mean, "
        f"{min(one.gain for one in taken):+.2f} at worst; of these the holdout spoke against {len(against)}, "
        f"{sum(one.gain > 0 for one in against)} of which did better",
        f"- a round costs {min(one.price for one in found):.1f} to {max(one.price for one in found):.1f} times what is "
        f"foretold; rate × rounds: {min(steps):.0f} to {max(steps):.0f}, median {statistics.median(steps):.0f}"
        + (f"; words make {min(words):.1f} to {max(words):.1f} times of it" if words else ""),
        "",
        f"Budget {budget:g} CPU-s. Machine: {machine()}. Made by "
        "`python benchmarks/training/members.py`.\n",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
