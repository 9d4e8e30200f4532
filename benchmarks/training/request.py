"""watch report: the memory request for the next run, on runs that it has not seen.

python benchmarks/training/request.py [--runs 240] [--again]

Real trainings of random sizes, watched one after the other; each of the later half is sized by those before it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from trimtab.adapters.meters import host
from trimtab.training.allocation.job import Orders, run
from trimtab.training.allocation.request import Past, memory_request

RISK = 0.005
RAW = Path(__file__).with_name("request_raw.json")
ENOUGH = 200  # runs of each script, for a table that is kept
SCRIPTS = {
    "LightGBM": """
import sys, numpy as np, lightgbm
from trimtab import hooks
rows, columns, leaves = map(int, sys.argv[1:])
hooks.parameters(rows=rows, columns=columns, leaves=leaves)
x = np.random.default_rng(0).normal(size=(rows, columns)); y = x[:, 0] + x[:, 1] ** 2
lightgbm.train({"num_leaves": leaves, "verbose": -1, "num_threads": 1}, lightgbm.Dataset(x, y), 5)
""",
    "ridge on polynomial features": """
import sys, numpy as np
from sklearn.linear_model import Ridge
from sklearn.preprocessing import PolynomialFeatures
from trimtab import hooks
rows, columns, degree = int(sys.argv[1]) // 10, int(sys.argv[2]) // 4 + 2, 2
hooks.parameters(rows=rows, columns=columns)
x = np.random.default_rng(0).normal(size=(rows, columns)); y = x[:, 0]
Ridge().fit(PolynomialFeatures(degree).fit_transform(x), y)
""",
    "batches in numpy": """
import sys, numpy as np
from trimtab import hooks
rows, width, batch = map(int, sys.argv[1:])
batch *= 16
hooks.parameters(rows=rows, width=width, batch=batch)
x = np.random.default_rng(0).normal(size=(rows, 8)).astype(np.float32); w = np.ones((8, width * 8), np.float32)
for at in range(0, min(rows, 4 * batch), batch):
    h = np.tanh(x[at:at + batch] @ w); h @ h[:64].T
""",
}


def main() -> None:
    """Print the table and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=240, help="of each script")
    parser.add_argument("--again", action="store_true", help="watch all runs anew")
    given = parser.parse_args()
    if given.again:
        RAW.unlink(missing_ok=True)
    facts = host()
    lines = [
        f"{facts['cpu']}, Python {facts['python']}. {given.runs} runs of each script, the later half asked for; "
        f"risk {RISK}.",
        "",
        "| script | way | slack | median | runs over |",
        "|---|---|---:|---:|---:|",
    ]
    for name, code in SCRIPTS.items():
        past = kept(name, code, given.runs)
        for way, requests in ways(past).items():
            peaks = np.array([one.peak_bytes for one in past[len(past) - len(requests) :]], float)
            slack = np.maximum(0.0, np.array(requests) / peaks - 1)
            over = int((np.array(requests) < peaks).sum())
            lines.append(f"| {name} | {way} | {slack.mean():.1%} | {np.median(slack):.1%} | {over} of {len(peaks)} |")
            print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if given.runs >= ENOUGH:
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def kept(name: str, code: str, count: int) -> list[Past]:
    """Runs as they were seen when the benchmark last ran so many; watched now where it did not."""
    raw = json.loads(RAW.read_text(encoding="utf-8")) if RAW.exists() else {}
    if len(raw.get(name, ())) != count:
        raw[name] = [[one.numbers, one.peak_bytes] for one in watched(code, count)]
        if count >= ENOUGH:
            RAW.write_text(json.dumps(raw) + "\n", encoding="utf-8")
    return [Past(*one) for one in raw[name]]


def watched(code: str, count: int) -> list[Past]:
    """Runs of random sizes, as they were seen."""
    rng = np.random.default_rng(2)
    found = []
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        script = Path(folder) / "train.py"
        script.write_text(code, encoding="utf-8")
        for _ in range(count):
            size = int(10 ** rng.uniform(4, 5.3)), int(rng.integers(5, 60)), int(rng.integers(7, 64))
            ended = run([sys.executable, str(script), *map(str, size)], Orders(acts=False, output=output))
            assert ended.exit_code == 0
            numbers = {name: float(value) for name, value in ended.heard.parameters.items() if isinstance(value, int)}
            found.append(Past(numbers, ended.spent.peak_rss_bytes))
    return found


def ways(past: list[Past]) -> dict[str, list[float]]:
    """By way of asking, the requests for the later half, each from the runs before it."""
    half = len(past) // 2
    found: dict[str, list[float]] = {"trimtab": [], "largest so far": [], "largest of the last 12, + 15 %": []}
    for at in range(half, len(past)):
        found["trimtab"].append(memory_request(past[:at], past[at].numbers, RISK).bytes)
        found["largest so far"].append(max(one.peak_bytes for one in past[:at]))
        found["largest of the last 12, + 15 %"].append(1.15 * max(one.peak_bytes for one in past[at - 12 : at]))
    return found


if __name__ == "__main__":
    main()
