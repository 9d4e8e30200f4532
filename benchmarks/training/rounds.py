"""How many rounds pay on all rows, when early stopping found a number on fewer of them: growths by a power of the ratio
of rows, on the sets that the portfolio is learned on.

    python benchmarks/training/rounds.py [--data ../shared/data] [--splits 2]

Of each set 70 % of the rows train, 30 % test. A plan's rounds are found on 64 % of the training rows, as a search has
them; it is then trained on all of those with the rounds grown by each power, and tested.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from portfolio import MOST_ROWS, TEST_SHARE, loss
from sets import LEARNED_ON, Table, spec_of

from trimtab.adapters.meters import host
from trimtab.adapters.sources.dataset import load
from trimtab.training.selection.fitting import Request, Rows, train
from trimtab.training.selection.plan import ModelPlan

SEARCHED = 0.64  # of the training rows: a fold of four fifths of four fifths
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
PLANS = (
    ModelPlan(learning_rate=0.03, leaves=31, min_leaf=10, feature_share=0.5),
    ModelPlan(learning_rate=0.06, leaves=20, min_leaf=5, feature_share=0.7),
)


def main() -> None:
    """Print the table and write it beside this file."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRIMTAB_DATA", "../shared/data")))
    parser.add_argument("--splits", type=int, default=2)
    given = parser.parse_args()
    found: dict[str, list[list[float]]] = {}
    for name, table in LEARNED_ON.items():
        for split in range(given.splits):
            found.setdefault(name, []).extend(changes(table, given.data, split))
    text = written({name: rows for name, rows in found.items() if rows}, given.splits)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def changes(table: Table, data: Path, split: int) -> list[list[float]]:
    """For each plan: the test loss of every power, against that of as many rounds as were found."""
    with tempfile.TemporaryDirectory() as folder:
        whole = load(spec_of(table, data, Path(folder)))
        whole = whole.rows(0, min(len(whole), MOST_ROWS))
        whole = whole.take(np.random.default_rng(split).permutation(len(whole)))
        cut = round(len(whole) * (1 - TEST_SHARE))
        everything, test = Rows.of(whole.rows(0, cut)), whole.rows(cut, len(whole))
        some = Rows.of(whole.rows(0, round(cut * SEARCHED)))
        if not some.tail:
            return []  # too small to stop early
        return [changed(plan, table.metric, some, everything, test) for plan in PLANS]


def changed(plan: ModelPlan, metric: str, some: Rows, everything: Rows, test: Any) -> list[float]:
    """The test loss at each power, as a change from the first."""
    (rounds,) = train(some, Request(plan, metric)).rounds
    losses = []
    for power in POWERS:
        request = Request(plan, metric, rounds=(round(rounds * SEARCHED**-power),))
        losses.append(loss(metric, test.y, train(everything, request).fitted.predict_table(test.table)))
    return [one / losses[0] - 1 for one in losses]


def written(found: dict[str, list[list[float]]], splits: int) -> str:
    """The table: a row a set, then the means over sets."""
    facts, means = host(), {name: np.mean(rows, axis=0) for name, rows in found.items()}
    every = [row for rows in found.values() for row in rows]
    shares = [statistics.fmean(row[at] < 0 for row in every) for at in range(len(POWERS))]
    return "\n".join([
        "# Rounds on more rows\n",
        f"Change of the held-out loss (1 - AUC, log loss, RMSE) when rounds found on {SEARCHED:.0%} of the rows grow "
        f"by a power of the ratio of rows; {len(PLANS)} plans, {splits} splits a set.\n",
        "| set | " + " | ".join(f"{one:g}" for one in POWERS) + " |",
        "|---" * (len(POWERS) + 1) + "|",
        *(f"| {name} | " + " | ".join(f"{one:+.2%}" for one in row) + " |" for name, row in means.items()),
        "| **median of all** | " + " | ".join(f"**{one:+.2%}**" for one in np.median(every, axis=0)) + " |",
        "| better than the first | " + " | ".join(f"{one:.0%}" for one in shares) + " |",
        f"\n{facts['cpu']}, {facts['cores']} cores. Made by `python benchmarks/training/rounds.py`.\n",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
