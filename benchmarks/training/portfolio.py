"""Learns the portfolio that `tune` starts from: every plan of a pool on every set of `sets.LEARNED_ON`, then greedily
those plans that add most for their cost to the best of those before them, over all sets.

None of the sets that `tune.py` reports on is looked at. What was measured is kept in `portfolio_matrix.json`, to which
further sets are added; the chosen plans are written to `src/trimtab/training/selection/portfolio.json`, and what they
gain on sets that they were not learned on (each set left out in turn) to `portfolio.md`.

    python benchmarks/training/portfolio.py [--data ../shared/data] [--sets cells,food] [--only-choose]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sets import LEARNED_ON, Table, spec_of

MATRIX = Path(__file__).with_name("portfolio_matrix.json")
CHOSEN = Path(__file__).parents[2] / "src" / "trimtab" / "training" / "selection" / "portfolio.json"
DRAWN = 26  # random plans in the pool
MOST_ROWS = 8_000
SMALL = 3_000  # rows, below which a set is split three times instead of once
TEST_SHARE = 0.3
SIZE = 10  # plans of the portfolio
BUDGETS = (2, 4, 8, 16, 32)  # fits of the default that are paid for


def pool() -> list[Any]:
    """Default LightGBM first; then simple, many-tree and hand-written plans, and random ones."""
    from trimtab.core.space import draw
    from trimtab.training.selection.plan import DEFAULT, SEARCHED, ModelPlan

    by_hand = [
        ModelPlan(family="linear", strength=0.01),
        ModelPlan(family="linear"),
        ModelPlan(leaves=4, learning_rate=0.1, min_leaf=5),
        ModelPlan(leaves=8, learning_rate=0.05, min_leaf=10, feature_share=0.5),
        ModelPlan(),
        ModelPlan(leaves=40, feature_share=0.5, categories="ranks"),
        ModelPlan(learning_rate=0.03, leaves=20, min_leaf=5, feature_share=0.3),
        ModelPlan(learning_rate=0.03, leaves=20, min_leaf=100, feature_share=1.0, node_share=0.2, categories="smooth"),
        ModelPlan(learning_rate=0.04, leaves=20, min_leaf=150, l2=5.0, categories="smooth"),
        ModelPlan(leaves=12, min_leaf=2, feature_share=0.85, bagging_share=1.0, l2=5.0),
        ModelPlan(leaves=90, min_leaf=10, feature_share=0.8, max_bin=1023),
        ModelPlan(leaves=150, min_leaf=4, feature_share=0.7, learning_rate=0.04),
        ModelPlan(learning_rate=0.02, leaves=31, min_leaf=10, feature_share=0.4, bagging_share=0.6),
        ModelPlan(leaves=31, min_leaf=5, feature_share=1.0, splits="random"),
        ModelPlan(leaves=100, min_leaf=3, feature_share=0.8, learning_rate=0.04, splits="random"),
    ]
    rng = random.Random(0)
    # The linear range of the space's rarer ends is drawn less: rates below 0.03 cost much and gain little.
    drawn = [draw(ModelPlan, rng, learning_rate=rng.choice((0.03, 0.05, 0.08)), **SEARCHED) for _ in range(DRAWN)]
    return [DEFAULT, *by_hand, *drawn]


def measured(table: Table, data: Path, folder: Path, plans: Sequence[Any]) -> list[list[float]]:
    """For each plan: its mean loss over the splits (lower is better), and CPU seconds of one training."""
    from trimtab.adapters.sources.dataset import load
    from trimtab.core.budget import Stopwatch
    from trimtab.training.selection.fitting import Request, Rows, train

    whole = load(spec_of(table, data, folder))
    whole = whole.rows(0, min(len(whole), MOST_ROWS))
    losses: list[list[float]] = [[] for _ in plans]
    costs = [0.0] * len(plans)
    for split in range(3 if len(whole) < SMALL else 1):
        shuffled = whole.take(np.random.default_rng(split).permutation(len(whole)))
        cut = round(len(whole) * (1 - TEST_SHARE))
        rows, test = Rows.of(shuffled.rows(0, cut)), shuffled.rows(cut, len(whole))
        for place, plan in enumerate(plans):
            watch = Stopwatch()
            fitted = train(rows, Request(plan, table.metric)).fitted
            costs[place] += watch.read().cpu_seconds
            losses[place].append(loss(table.metric, test.y, fitted.predict_table(test.table)))
    runs = len(losses[0])
    return [[statistics.fmean(ours), cost / runs] for ours, cost in zip(losses, costs, strict=True)]


def loss(metric: str, y: Any, predicted: Any) -> float:
    from trimtab.adapters.models.metrics import GOAL, score

    found = score(metric, y, predicted)
    return found if GOAL[metric] == "min" else 1 - found


def usefulness(cells: list[list[float]]) -> Any:
    """Each plan's gain over the default as a share of the best plan's, from -1 to 1. The default has 0."""
    losses = np.array([one[0] for one in cells])
    scale = losses[0] - losses.min() or losses.std() or 1.0
    return np.clip((losses[0] - losses) / scale, -1.0, 1.0)


def greedy(useful: Any, costs: Any, size: int) -> list[int]:
    """The places of `size` plans: each adds most to the best of those before it, on average over the sets (rows), for
    what it costs in fits of the default. A race with little to spend then sees much."""
    best = np.zeros(len(useful))  # the default is always in the race
    price = np.median(costs / costs[:, :1], axis=0)
    chosen: list[int] = []
    for _ in range(size):
        added = np.maximum(useful, best[:, None]).mean(axis=0) - best.mean() + 1e-3 * useful.mean(axis=0)
        added = added / price
        added[chosen] = -np.inf
        chosen.append(int(added.argmax()))
        best = np.maximum(best, useful[:, chosen[-1]])
    return chosen


def write(matrix: Mapping[str, Any], plans: list[Any]) -> str:
    """Choose, write the portfolio, and return the table of what it gains where it was not learned."""
    from trimtab.core.wire import dump

    names = list(matrix["sets"])
    useful = np.array([usefulness(matrix["sets"][name]) for name in names])
    costs = np.array([[one[1] for one in matrix["sets"][name]] for name in names])
    chosen = greedy(useful, costs, SIZE)
    entries = []
    for number, place in enumerate(chosen):
        most = names[int((useful[:, place] - np.delete(useful, place, axis=1).max(axis=1)).argmax())]
        because = f"number {number + 1} of the learned portfolio: {useful[:, place].mean():.0%} of the best gain"
        cost = float(np.median(costs[:, place] / costs[:, 0]))
        entries.append(
            {
                "because": f"{because} on average, strongest on {most}",
                "cost": round(cost, 2),
                "plan": dump(plans[place]),
            }
        )
    content = {
        "made_by": "benchmarks/training/portfolio.py",
        "pool": len(plans),
        "learned_on": {name: LEARNED_ON[name].source for name in names},
        "entries": entries,
    }
    CHOSEN.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return report(useful, costs, names, matrix["cpu_seconds"])


def report(useful: Any, costs: Any, names: list[str], cpu_seconds: float) -> str:
    lines = []
    for place, name in enumerate(names):
        chosen = greedy(np.delete(useful, place, axis=0), np.delete(costs, place, axis=0), SIZE)
        by_hand = [*range(5, 12), 2]  # in the order that they had
        price = costs[place] / costs[place, 0]
        lines.append((name, *(reached(useful[place], price, one) for one in (chosen, by_hand))))
    rows = [f"| {name} | " + " | ".join(f"{one:.0%}" for one in ours) + " |" for name, ours, _ in lines]
    means = [statistics.fmean(one[1][at] for one in lines) for at in range(len(BUDGETS))]
    hands = [statistics.fmean(one[2][at] for one in lines) for at in range(len(BUDGETS))]
    return "\n".join([
        "# The portfolio that tune starts from\n",
        f"Of {useful.shape[1]} plans, each set's share of the gain from default LightGBM to the best of all plans that "
        "the best of those reaches which so many fits of the default pay for, in their order. Chosen on the **other** "
        f"{len(names) - 1} sets. By hand: the list that was there before. Best by the test rows: what a perfect judge "
        "would take.\n",
        "| set left out | " + " | ".join(f"{one} fits" for one in BUDGETS) + " |",
        "|---" * (len(BUDGETS) + 1) + "|",
        *rows,
        "| **mean** | " + " | ".join(f"**{one:.0%}**" for one in means) + " |",
        "| mean, by hand | " + " | ".join(f"{one:.0%}" for one in hands) + " |",
        f"\n{cpu_seconds:.0f} CPU seconds. Made by `python benchmarks/training/portfolio.py`.\n",
    ])  # fmt: skip


def reached(useful: Any, price: Any, chosen: Sequence[int]) -> list[float]:
    """The best share within each budget, one plan after the other."""
    spent = np.cumsum(price[list(chosen)])
    found = [useful[[one for one, so_far in zip(chosen, spent, strict=True) if so_far <= most]] for most in BUDGETS]
    return [max(0.0, *one.tolist()) if len(one) else 0.0 for one in found]


def main() -> None:
    import tempfile

    from trimtab.core.budget import Stopwatch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRIMTAB_DATA", "../shared/data")))
    parser.add_argument("--sets", default=",".join(LEARNED_ON))
    parser.add_argument("--only-choose", action="store_true", help="from what was measured before")
    given = parser.parse_args()
    plans = pool()
    matrix: dict[str, Any] = {"cpu_seconds": 0.0, "sets": {}}
    if MATRIX.exists():
        matrix = json.loads(MATRIX.read_text(encoding="utf-8"))
    for name in () if given.only_choose else given.sets.split(","):
        if name in matrix["sets"]:
            continue
        watch = Stopwatch()
        with tempfile.TemporaryDirectory() as folder:
            matrix["sets"][name] = measured(LEARNED_ON[name], given.data, Path(folder), plans)
        matrix["cpu_seconds"] += watch.read().cpu_seconds
        print(f"{name}: {watch.read().cpu_seconds:.0f} CPU-s", file=sys.stderr, flush=True)
        MATRIX.write_text(json.dumps(matrix) + "\n", encoding="utf-8")
    text = write(matrix, plans)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
