"""The reference for `shrink`: 500 LightGBM configurations, each trained on its own, and what each costs.

A grid of leaves × learning rate × trees × share of the training rows, on six sets. No configuration is another one cut
short: each is fitted anew, one thread, as somebody would who looks for the front without `shrink`. The raw results are
kept in front.csv.gz, so that a rerun of the benchmark need not repeat them; this script goes on where the file ends.

    python benchmarks/training/front.py [--data ../shared/data] [--sets adult,digits]
"""

from __future__ import annotations

import argparse
import csv
import functools
import gzip
import itertools
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from sets import KNOWN_LATER, Table, frame

from trimtab.adapters.models import boosting
from trimtab.adapters.models.learn_encoding import encode, learn
from trimtab.adapters.models.metrics import score
from trimtab.adapters.sources.dataset import Dataset, DataSpec, load, part
from trimtab.core.budget import Stopwatch
from trimtab.training.architecture.measure import in_turn

FILE = Path(__file__).with_suffix(".csv.gz")
LEAVES, RATES = (4, 8, 16, 31, 63), (0.05, 0.1, 0.2, 0.4)
TREES, ROWS = (10, 25, 50, 100, 200), (0.05, 0.1, 0.25, 0.5, 1.0)
MOST_ROWS = 60_000  # of a set, so that 500 fits are affordable
BATCH = 1000  # rows of one timed call
SECONDS = 0.02  # of timing, beside the anchor, at the least

SETS: Mapping[str, Table] = {
    "adult": Table("tabular/adult.csv.gz", "income", "auc", exclude=("split",), positive=">50K"),
    "diamonds": Table("tabular/diamonds.csv.gz", "price", "r2"),
    "weather": Table("tabular/nyc_weather.csv.gz", "temp", "r2", exclude=("dewp", "year", "time_hour")),
    "flights": Table("tabular/nycflights_120k.csv.gz", "arr_delay > 15", "auc", "time_hour", KNOWN_LATER),
    "digits": Table("sklearn:digits", "y", "accuracy"),
    "cancer": Table("sklearn:breast_cancer", "y", "auc"),
}


@dataclass(frozen=True)
class Config:
    """One point of the grid."""

    leaves: int
    rate: float
    trees: int
    rows: float


@dataclass(frozen=True)
class Result:
    """A configuration on a set. `us_ratio`: CPU time of a prediction beside the anchor's, the grid's largest model."""

    set: str
    leaves: int
    rate: float
    trees: int
    rows: float
    valid: float
    holdout: float
    train_cpu_seconds: float
    us_ratio: float
    anchor_us: float
    bytes: int
    cost_cpu_seconds: float  # training, scoring and timing together

    @property
    def config(self) -> Config:
        return Config(self.leaves, self.rate, self.trees, self.rows)


GRID = tuple(Config(*one) for one in itertools.product(LEAVES, RATES, TREES, ROWS))
ANCHOR = Config(63, 0.1, 200, 1.0)


def spec_of(name: str, data: Path, folder: Path) -> DataSpec:
    """The set as a Parquet file of at most MOST_ROWS rows, evenly spaced; all of it is searched or held out."""
    table = SETS[name]
    content = frame(table, data)
    if content.num_rows > MOST_ROWS:
        content = content.take(pa.array(np.linspace(0, content.num_rows - 1, MOST_ROWS).round().astype(np.int64)))
    to = folder / f"{name}.parquet"
    pyarrow.parquet.write_table(content, to)
    words = {"positive": table.positive, "search_share": 0.7, "holdout_share": 0.3}
    return DataSpec(str(to), table.target, table.time, table.exclude, **words).stamped()  # type: ignore[arg-type]


class Grid:
    """A set, encoded once, and the anchor that every configuration is timed beside."""

    def __init__(self, name: str, spec: DataSpec) -> None:
        self.name, self.metric = name, SETS[name].metric
        whole = load(spec)
        self.train, self.valid, self.holdout = (part(whole, spec, one) for one in ("train", "valid", "holdout"))
        self.encoding = learn(self.train)
        self.x, self.x_valid, self.x_holdout = (
            np.ascontiguousarray(encode(one, self.encoding)) for one in (self.train, self.valid, self.holdout)
        )
        self.batch = np.resize(self.x_valid, (BATCH, self.x_valid.shape[1]))  # small sets: their rows again
        self.anchor = self.fit(ANCHOR)

    def fit(self, config: Config) -> Any:
        """One configuration, binned and trained on its own."""
        places = np.linspace(0, len(self.x) - 1, max(50, round(len(self.x) * config.rows))).round().astype(np.int64)
        params = {"num_leaves": config.leaves, "learning_rate": config.rate}
        classes = max(2, len(self.train.classes))
        training = boosting.Training(self.train.task, classes, params, rounds=config.trees)
        words = self.encoding.categorical_features
        return boosting.fit(self.x[places], self.train.y[places], training, categorical=words)

    def result(self, config: Config) -> Result:
        whole = Stopwatch()
        model = self.fit(config)
        train = whole.read().cpu_seconds
        quality = [self.quality(model, *one) for one in ((self.valid, self.x_valid), (self.holdout, self.x_holdout))]
        before, after = in_turn(self.call(self.anchor), self.call(model), SECONDS)
        size = len(model.model_to_string())
        cost = whole.read().cpu_seconds
        return Result(
            self.name, *astuple(config), *quality, train, after / before, before / len(self.batch), size, cost
        )

    def quality(self, model: Any, rows: Dataset, x: Any) -> float:
        return score(self.metric, rows.y, np.asarray(model.predict(x, num_threads=1)))

    def call(self, model: Any) -> Any:
        return functools.partial(model.predict, self.batch, num_threads=1)


def kept(file: Path | None = None) -> list[Result]:
    """The results so far."""
    file = file or FILE
    if not file.exists():
        return []
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    kinds = {one.name: {"str": str, "int": int, "float": float}[str(one.type)] for one in fields(Result)}
    return [Result(**{name: kinds[name](value) for name, value in row.items()}) for row in rows]


def keep(results: list[Result], file: Path | None = None) -> None:
    """Write all results, at once. Four digits: more are noise."""
    file = file or FILE
    building = file.with_suffix(".tmp")
    with gzip.open(building, "wt", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, [one.name for one in fields(Result)])
        writer.writeheader()
        writer.writerows(
            {key: f"{value:.5g}" if isinstance(value, float) else value for key, value in asdict(one).items()}
            for one in results
        )
    building.replace(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRIMTAB_DATA", "../shared/data")))
    parser.add_argument("--sets", default=",".join(SETS))
    given = parser.parse_args()
    if not given.data.is_dir():
        sys.exit(f"{given.data} is not there: name the folder of the data sets with --data or TRIMTAB_DATA")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.sets.split(","):
            results = kept()
            done = {one.config for one in results if one.set == name}
            left = [one for one in GRID if one not in done]
            grid = Grid(name, spec_of(name, given.data, Path(folder))) if left else None
            for place, config in enumerate(left):
                assert grid is not None
                results.append(grid.result(config))
                if place % 50 == 49 or place == len(left) - 1:
                    keep(results)
                    print(name, place + 1, f"{sum(one.cost_cpu_seconds for one in results):.0f} CPU-s", flush=True)


if __name__ == "__main__":
    main()
