"""The packaged service under load on this machine: own environment, load generator beside it, peers in the same run.

python benchmarks/deployment/service.py [--seconds 4] [--rows 60000]

Peers: a plain FastAPI service around LightGBM's predict, as users write one, and today's pickled random forest behind
the same service directory. When `wrk` is installed, it confirms the throughput.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from trimtab.adapters.meters import host
from trimtab.adapters.models.artifact import Fitted, save
from trimtab.adapters.models.boosting import Training, fit
from trimtab.adapters.models.current import fit_current
from trimtab.adapters.models.form import load_form
from trimtab.adapters.models.learn_encoding import encode, learn
from trimtab.adapters.sources.dataset import Dataset, DataSpec, load, part
from trimtab.adapters.sources.tables import materialise
from trimtab.deployment.packaging.environment import environment
from trimtab.deployment.packaging.measure import Setting, ask_all, asked_of, example_of
from trimtab.deployment.packaging.server import running
from trimtab.deployment.packaging.service import ServiceOptions, write_service
from trimtab.inference.conversion.plan import COMPILED, CURRENT, FormPlan
from trimtab.inference.conversion.problem import convert

SMALL = {"num_leaves": 12, "feature_fraction": 0.5, "lambda_l2": 5.0, "learning_rate": 0.06}
ROOT = Path(__file__).parents[2]
KNOWN = (
    "month", "day", "hour", "minute", "sched_dep_time", "sched_arr_time",
    "carrier", "flight", "tailnum", "origin", "dest", "distance", "departs",
)  # fmt: skip
PLAIN = '''"""A FastAPI service around LightGBM, as it is usually written."""
import json
from datetime import datetime
from pathlib import Path
import lightgbm
from encoding import Encoding
from fastapi import FastAPI
from pydantic import BaseModel
HERE = Path(__file__).parent
ABOUT = json.loads((HERE / "form" / "form.json").read_text())
ENCODING = Encoding.from_json(json.dumps(ABOUT["encoding"]))
MODEL = lightgbm.Booster(model_file=str(HERE / "form" / "model.txt"))
class Row(BaseModel):
    {fields}
class Answer(BaseModel):
    prediction: float
app = FastAPI()
@app.get("/ready")
def ready() -> dict:
    return {{}}
@app.post("/predict")
def predict(row: Row) -> Answer:
    return Answer(prediction=float(MODEL.predict(ENCODING.row(row.model_dump()))[0]))
'''
TYPES = {"number": "float | None", "category": "str | None", "time": "datetime | None"}


def main() -> None:
    """Measure, print, and write the table beside this file."""
    read = argparse.ArgumentParser(description=__doc__)
    read.add_argument("--seconds", type=float, default=4.0, help="of each load run; there are three of each")
    read.add_argument("--rows", type=int, default=60_000, help="that models are trained on")
    asked = read.parse_args()
    with tempfile.TemporaryDirectory() as place:
        lines = table(Path(place), asked.rows, asked.seconds)
    text = "\n".join(["# The service, as packaged", "", *lines, "", machine(), ""])
    sys.stdout.write(text)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def table(place: Path, rows: int, seconds: float) -> list[str]:
    """Every service under the same load, in three rounds."""
    dataset, spec = flights(place)
    held = part(dataset, spec, "holdout").rows(0, 1000)
    services = write_all(place, dataset, spec, rows)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in services}
    for _ in range(3):
        for name, (service, form) in services.items():
            with running(service, environment(service / "constraints.txt", place)) as server:
                questions = asked_of(load_form(form), held)
                ask_all(server, questions, 0.5, 500)
                before = server.cpu_seconds()
                seen = ask_all(server, questions, seconds, 10**6, connections=8)
                cpu = (server.cpu_seconds() - before) * 1000 / seen["requests"]
                found[name].append(seen | {"cpu_ms": cpu, "rss": server.resident_bytes() / 1e6})
    lines = ["Single flights over 8 keep-alive connections, load generator on the same cores; medians of 3 runs", ""]
    lines += ["| service | requests/s | p50, ms | p99, ms | CPU ms a request | errors | RSS, MB |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, runs in found.items():
        middle = {key: float(np.median([one[key] for one in runs])) for key in runs[0]}
        lines.append(
            f"| {name} | {middle['requests_per_second']:,.0f} | {middle['p50_ms']:.2f} | {middle['p99_ms']:.2f} "
            f"| {middle['cpu_ms']:.3f} | {sum(one['errors'] for one in runs):.0f} | {middle['rss']:.0f} |"
        )
    return lines + wrk(services["trimtab, compiled"][0], place, seconds)


def write_all(place: Path, dataset: Dataset, spec: DataSpec, rows: int) -> dict[str, tuple[Path, Path]]:
    """Service directories by name, with the forms that they serve."""
    search = part(dataset, spec, "search")
    train = search.take(np.linspace(0, len(search) - 1, min(rows, len(search))).astype(np.int64))
    encoding = learn(train)
    training = Training("binary", params=SMALL, rounds=150, threads=2)
    booster = fit(encode(train, encoding), train.y, training, categorical=encoding.categorical_features)
    save(place / "boosted", Fitted(encoding, "binary", dataset.classes, booster), {})
    save(place / "forest", fit_current("pipeline.py:build_model", ROOT / "examples" / "flights", train), {})
    forms = {
        "trimtab, compiled": made(place, "boosted", COMPILED),
        "plain FastAPI + LightGBM": made(place, "boosted", CURRENT),
        "today: pickled random forest": made(place, "forest", CURRENT),
    }
    found = {}
    for number, (name, form) in enumerate(forms.items()):
        setting = Setting(spec, str(form), str(form), str(place))
        options = ServiceOptions("flights", "P(late)", example_of(setting, form))
        found[name] = (write_service(form, options, place / f"service-{number}"), form)
        two = replace(options, workers=2)
        if number == 0:
            found["trimtab, compiled, 2 workers"] = (write_service(form, two, place / "service-two"), form)
    fields = "\n    ".join(f"{column.name}: {TYPES[column.kind]}" for column in encoding.columns)
    plain = found["plain FastAPI + LightGBM"][0] / "app.py"
    plain.write_text(PLAIN.format(fields=fields), encoding="utf-8")
    return found


def made(place: Path, model: str, plan: FormPlan) -> Path:
    """A form of a model."""
    return convert(place / model, plan, place / "cache")


def wrk(service: Path, place: Path, seconds: float) -> list[str]:
    """The same service asked by wrk, one row again and again; nothing where it is not installed."""
    if shutil.which("wrk") is None:
        return ["", "`wrk` is not installed here: no second generator."]
    example = json.loads((service / "service.json").read_text(encoding="utf-8"))["example"]
    script = place / "post.lua"
    body = json.dumps(example).replace("'", "\\'")
    script.write_text(f"wrk.method='POST'\nwrk.body='{body}'\nwrk.headers['content-type']='application/json'\n")
    with running(service, environment(service / "constraints.txt", place)) as server:
        url = f"http://127.0.0.1:{server.port}/predict"
        command = ["wrk", "-t1", "-c8", f"-d{seconds:.0f}s", "--latency", "-s", str(script), url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    wanted = ("99%", "Requests/sec", "Non-2xx")
    return ["", "wrk, 8 connections: " + ", ".join(" ".join(line.split()) for line in done.stdout.splitlines()
                                                   if line.strip().startswith(wanted))]  # fmt: skip


def flights(place: Path) -> tuple[Dataset, DataSpec]:
    """The example's table and its parts."""
    import pyarrow.parquet

    source = materialise("pipeline.py:table", ROOT / "examples" / "flights", place)
    names = pyarrow.parquet.read_schema(source).names
    later = tuple(name for name in names if name not in KNOWN)
    spec = DataSpec(str(source), "arr_delay > 15", "departs", later, search_share=0.5, holdout_share=0.17).stamped()
    return load(spec), spec


def machine() -> str:
    """The machine in words."""
    facts = host()
    memory = f"{facts['memory_gb']} GB, Python {facts['python']}, load {facts['load']}"
    return f"{facts['cpu']}, {facts['cores']} cores, {memory}"


if __name__ == "__main__":
    main()
