"""What linear leaves bring, and what drawing in far values and halving their number add to them.

    python benchmarks/training/leaves.py [--data ../shared/data] [--splits 2]

Sets of squared errors that the portfolio is learned on, and those rows of the reported ones that nothing is reported
on (marked). Of each, 20,000 rows at the most: 75 % train, 25 % test. Two plans are trained plainly and with linear
leaves: 31 leaves, and 170, of which linear ones are half as many. All are test errors beside the plan's plain ones, in
bootstrap deviations of these (above 0: better).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sets import LEARNED_ON, REPORTED, spec_of

from trimtab.adapters.meters import host
from trimtab.adapters.models.metrics import score
from trimtab.adapters.sources.dataset import Dataset, load, part
from trimtab.core.budget import Stopwatch
from trimtab.training.selection.fitting import Pool, Request, Rows, chosen, train
from trimtab.training.selection.plan import ModelPlan
from trimtab.training.selection.portfolio import LINEAR_LEAVES

METRIC = "rmse"
MOST_ROWS, TRAINED_SHARE, DRAWS = 20_000, 0.75, 50
FEW = ModelPlan()
MANY = ModelPlan(learning_rate=0.05, leaves=170, min_leaf=10, feature_share=0.92, node_share=0.61, max_bin=1023)
WAYS = ("linear", "values as they are", "as many leaves")


class AsTheyAre(Pool):
    """Rows of which nothing is drawn in."""

    reach = (np.array(-np.inf), np.array(np.inf))


@dataclass(frozen=True)
class Found:
    """Of a set and a plan: gains of each way over the plain one, by split, and CPU seconds beside it."""

    name: str
    plan: str
    gains: dict[str, list[float]]
    costs: dict[str, list[float]]


def main() -> None:
    """Print the table and write it beside this file."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRIMTAB_DATA", "../shared/data")))
    parser.add_argument("--splits", type=int, default=2)
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, table in {**LEARNED_ON, **REPORTED}.items():
            if table.metric != METRIC:
                continue
            spec = spec_of(table, given.data, Path(folder))
            rows = part(load(spec), spec, "search") if name in REPORTED else load(spec)
            for which, plan in (("31 leaves", FEW), ("170 leaves", MANY)):
                shown = f"{name}{' (its other rows)' if name in REPORTED else ''}"
                found.append(compared(shown, which, plan, rows, given.splits))
                print(found[-1], file=sys.stderr, flush=True)
    text = written(found, given.splits)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def compared(name: str, which: str, plan: ModelPlan, rows: Dataset, splits: int) -> Found:
    gains: dict[str, list[float]] = {way: [] for way in WAYS}
    costs: dict[str, list[float]] = {way: [] for way in WAYS}
    for split in range(splits):
        order = np.random.default_rng(split).permutation(len(rows))[:MOST_ROWS]
        cut = round(TRAINED_SHARE * len(order))
        taught, test = rows.take(order[:cut]), rows.take(order[cut:])
        tail = chosen(cut, 1.0)[1]
        now, before = Rows(Pool(taught), tail=tail), Rows(AsTheyAre(taught), tail=tail)
        plain, price = fitted(now, plan, test)
        draws = [np.random.default_rng(draw).integers(0, len(test), len(test)) for draw in range(DRAWS)]
        deviation = statistics.stdev(score(METRIC, test.y[at], plain[at]) for at in draws)
        linear = LINEAR_LEAVES.of(plan)
        ways = zip(WAYS, (now, before, now), (linear, linear, replace(linear, leaves=plan.leaves)), strict=True)
        for way, among, other in ways:
            predicted, cost = fitted(among, other, test)
            gains[way].append((score(METRIC, test.y, plain) - score(METRIC, test.y, predicted)) / deviation)
            costs[way].append(cost / price)
    return Found(name, which, gains, costs)


def fitted(rows: Rows, plan: ModelPlan, test: Dataset) -> tuple[npt.NDArray[np.float64], float]:
    """Predictions for the test rows, and CPU seconds of the training."""
    _ = rows.x
    watch = Stopwatch()
    model: Any = train(rows, Request(plan, METRIC)).fitted
    cost = watch.read().cpu_seconds
    return model.predict_table(test.table), cost


def written(found: list[Found], splits: int) -> str:
    """A row a set and plan, then the means, of all and of the sets that the portfolio is learned on."""
    facts, learned = host(), [one for one in found if one.name in LEARNED_ON]

    def cells(way: str) -> str:
        def mean(rows: list[Found]) -> str:
            return f"{statistics.fmean(statistics.fmean(one.gains[way]) for one in rows):+.2f}"

        price = statistics.median(cost for one in found for cost in one.costs[way])
        return f"| {way} | {mean(learned)} | {mean([one for one in found if one not in learned])} | {price:.1f} × |"

    return "\n".join([
        "# Linear leaves\n",
        (__doc__ or "").partition("\n\n    python")[2].partition("\n\n")[2].replace("\n", " "),
        f"\n{splits} splits, their mean.\n",
        "| set | plan | " + " | ".join(WAYS) + " |",
        "|---" * (len(WAYS) + 2) + "|",
        *(
            f"| {one.name} | {one.plan} | "
            + " | ".join(f"{statistics.fmean(one.gains[way]):+.2f}" for way in WAYS)
            + " |"
            for one in found
        ),
        "",
        "| mean of | sets of the portfolio | others | CPU of a training, median |",
        "|---|---|---|---|",
        *(cells(way) for way in WAYS),
        f"\n{facts['cpu']}, {facts['cores']} cores. Made by `python benchmarks/training/leaves.py`.\n",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
