"""Forms of a model beside its own predict: 500 trees of 63 leaves, and flights served against today's random forest.

python benchmarks/inference/conversion.py [--rows 60000]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.adapters.meters import host
from trimtab.adapters.models.artifact import Fitted, save
from trimtab.adapters.models.boosting import Training, fit
from trimtab.adapters.models.current import fit_current
from trimtab.adapters.models.form import load_form
from trimtab.adapters.models.learn_encoding import encode, learn
from trimtab.adapters.models.metrics import score
from trimtab.adapters.models.raw_rows import raw_rows
from trimtab.adapters.sources.dataset import Dataset, DataSpec, load, part
from trimtab.adapters.sources.tables import materialise
from trimtab.inference.conversion.forms import form_bytes
from trimtab.inference.conversion.measure import abba, current_latency, served_call
from trimtab.inference.conversion.plan import COMPILED, CURRENT, FEWER, INTERPRETER, ONNX
from trimtab.inference.conversion.problem import convert

SMALL = {"num_leaves": 12, "feature_fraction": 0.5, "lambda_l2": 5.0, "learning_rate": 0.06}
ROOT = Path(__file__).parents[2]
KNOWN = (
    "month", "day", "hour", "minute", "sched_dep_time", "sched_arr_time",
    "carrier", "flight", "tailnum", "origin", "dest", "distance", "departs",
)  # fmt: skip
FORMS = {"own predict": CURRENT, "pylignum": INTERPRETER, "pylignum, compiled": COMPILED, "ONNX Runtime": ONNX}


def main() -> None:
    """Measure, print, and write the table beside this file."""
    read = argparse.ArgumentParser(description=__doc__)
    read.add_argument("--rows", type=int, default=60_000, help="that models are trained on")
    rows = read.parse_args().rows
    with tempfile.TemporaryDirectory() as place:
        lines = [*forms_table(rows, Path(place)), "", *flights_table(rows, Path(place)), "", machine()]
    text = "\n".join(["# Forms of a model", "", *lines, ""])
    sys.stdout.write(text)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def forms_table(rows: int, place: Path) -> list[str]:
    """500 trees of 63 leaves on 20 numeric columns: every form against LightGBM's own predict."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows + 4000, 20))
    y = (x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2]) + rng.normal(size=len(x)) > 0).astype(float)
    booster = fit(x[:rows], y[:rows], Training("binary", params={"num_leaves": 63}, rounds=500, threads=2))
    from trimtab.adapters.models.encoding import Column, Encoding

    encoding = Encoding(tuple(Column(f"c{i}", "number") for i in range(20)))
    save(place / "wide", Fitted(encoding, "binary", ("0", "1"), booster), {})
    held = np.ascontiguousarray(x[rows:])
    loaded = {name: convert(place / "wide", plan, place / "cache") for name, plan in FORMS.items()}
    loaded["pylignum, half of the trees"] = convert(place / "wide", FEWER, place / "cache")
    reference = load_form(loaded["own predict"])
    lines = ["500 trees × 63 leaves, 20 columns; times faster than LightGBM's own predict (1 thread)", ""]
    lines += ["| form | 1 row | 64 rows | 1,000 rows | largest difference | MB |", "|---|---|---|---|---|---|"]
    for name, folder in loaded.items():
        form = load_form(folder)
        ratios = [_faster(reference.predict, form.predict, held, width) for width in (1, 64, 1000)]
        off = float(np.abs(form.predict(held) - reference.predict(held)).max())
        shown = " | ".join(f"{ratio:.1f} × ({after:,.0f} µs)" for ratio, after in ratios)
        lines.append(f"| {name} | {shown} | {off:.1g} | {form_bytes(folder) / 1e6:.1f} |")
    return lines


def flights_table(rows: int, place: Path) -> list[str]:
    """Today's random forest on flights against the form that is served instead."""
    dataset, spec = flights(place)
    search = part(dataset, spec, "search")
    train = search.take(np.linspace(0, len(search) - 1, min(rows, len(search))).astype(np.int64))
    held = part(dataset, spec, "holdout")
    encoding = learn(train)
    forest = fit_current("pipeline.py:build_model", ROOT / "examples" / "flights", train)
    save(place / "forest", forest, {})
    training = Training("binary", params=SMALL, rounds=150, threads=2)
    booster = fit(encode(train, encoding), train.y, training, categorical=encoding.categorical_features)
    boosted = Fitted(encoding, "binary", dataset.classes, booster)
    save(place / "boosted", boosted, {})
    few = held.rows(0, 200)
    today = current_latency(place / "forest", few)
    lines = ["Flights, one row, against today's random forest by its own predict", ""]
    lines += ["| served | AUC, July and August | µs a row | times faster |", "|---|---|---|---|"]
    quality = score("auc", held.y, forest.predict_table(held.table))
    lines.append(f"| today: random forest of 200 trees, pandas frame | {quality:.4f} | {today:,.0f} | 1 × |")
    quality = score("auc", held.y, boosted.predict_table(held.table))
    for name, plan in (("own predict", CURRENT), ("pylignum", INTERPRETER), ("pylignum, compiled", COMPILED)):
        call = served_call(load_form(convert(place / "boosted", plan, place / "cache")))
        calls = [_bound(call, row) for row in raw_rows(few.table, encoding)]
        took = statistics.median(abba(calls, calls, 1.0)[0])
        lines.append(f"| LightGBM, {name}, raw row to answer | {quality:.4f} | {took:,.1f} | {today / took:,.0f} × |")
    return lines


def flights(place: Path) -> tuple[Dataset, DataSpec]:
    """The example's table and its parts."""
    import pyarrow.parquet

    table = materialise("pipeline.py:table", ROOT / "examples" / "flights", place)
    names = pyarrow.parquet.read_schema(table).names
    later = tuple(name for name in names if name not in KNOWN)
    shares = {"search_share": 0.5, "holdout_share": 0.17}
    spec = DataSpec(str(table), "arr_delay > 15", "departs", later, **shares).stamped()  # type: ignore[arg-type]
    return load(spec), spec


def machine() -> str:
    """The machine in words."""
    facts = host()
    memory = f"{facts['memory_gb']} GB, Python {facts['python']}, load {facts['load']}"
    return f"{facts['cpu']}, {facts['cores']} cores, {memory}"


def _faster(reference: Any, candidate: Any, rows: Any, width: int) -> tuple[float, float]:
    parts = [rows[start : start + width] for start in range(0, len(rows) - width + 1, width)]
    before, after = abba([_bound(reference, one) for one in parts], [_bound(candidate, one) for one in parts], 2.0)
    return statistics.median(before) / statistics.median(after), statistics.median(after)


def _bound(call: Any, argument: Any) -> Any:
    return lambda: call(argument)


if __name__ == "__main__":
    main()
