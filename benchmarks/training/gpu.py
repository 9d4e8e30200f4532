"""On a machine with an NVIDIA GPU: is a job on it labelled rightly, and are scripts that train on it made shorter?

python benchmarks/training/gpu.py [--only labels|gpt_gpu|cnn_gpu] [--budget CPU_SECONDS]

Labels: jobs whose trouble is known are watched for a quarter of a minute each. Scripts: `trimtab speedup`, then the
script and the chosen version again, in turn, on three shifts of the seeds that the search never saw; what is paid for
is the time that the GPU is held. Needs torch with CUDA and nvidia-ml-py.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from trimtab.adapters.meters import host
from trimtab.stages.speedup import Order, speedup
from trimtab.training.allocation.job import Moment, Orders, run
from trimtab.training.scripts.running import Ran, Script, ran

HERE = Path(__file__).parent
RAW = HERE / "gpu.jsonl"
SHIFTS = (5001, 5002, 5003)
SCRIPTS = ("gpt_gpu", "cnn_gpu")
SECONDS = 11.0
START = """
import time, numpy as np, torch
net = torch.nn.Sequential(torch.nn.Linear(512, 4096), torch.nn.ReLU(), torch.nn.Linear(4096, 512)).cuda()
optimizer = torch.optim.Adam(net.parameters())
def step(rows):
    loss = net(rows.cuda()).square().mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    return loss.item()
end = time.monotonic() + {seconds}
"""
JOBS = {
    "gpu-bound": "rows = torch.randn(16384, 512).cuda()\nwhile time.monotonic() < end: step(rows)",
    "gpu-bound, large products": "a = torch.randn(8192, 8192).cuda()\n"
    "while time.monotonic() < end: a = torch.nn.functional.normalize(a @ a); torch.cuda.synchronize()",
    "gpu-starved": "rng = np.random.default_rng(0)\n"
    "while time.monotonic() < end:\n"
    "    rows = np.sort(rng.normal(size=(4096, 512)), axis=1)\n    step(torch.tensor(rows, dtype=torch.float32))",
    "gpu-starved, python": "while time.monotonic() < end:\n"
    "    rows = [[(i * j) % 7 / 7 for i in range(512)] for j in range(256)]\n    step(torch.tensor(rows))",
    "loader-starved": "while time.monotonic() < end: time.sleep(0.1); step(torch.randn(64, 512))",
    "loader-starved, slow store": "while time.monotonic() < end: time.sleep(0.4); step(torch.randn(4096, 512))",
}


def main() -> None:
    """Measure what is not yet measured, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--budget", type=float, default=0.0)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no GPU with CUDA is here")
    parts = {"labels": labels, **{name: lambda name=name: case(name, given.budget) for name in SCRIPTS}}
    for name, part in parts.items():
        if given.only in ("", name):
            machine = f"{torch.cuda.get_device_name()}, {host()['cpu']}, {host()['cores']} cores"
            found = {"part": name, "machine": machine, **part()}
            print(json.dumps(found), flush=True)
            with RAW.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")
    text = table({one["part"]: one for one in map(json.loads, RAW.read_text(encoding="utf-8").splitlines())})
    print(text)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def labels() -> dict[str, Any]:
    """What each job is called for most of its time, and what looking cost."""
    rows = []
    for name, body in JOBS.items():
        seen: list[Moment] = []
        code = START.format(seconds=SECONDS) + body
        ended = run([sys.executable, "-c", code], Orders(acts=False, on_look=seen.append))
        # The start, imports and all, is another job: a look counts once the window lies behind it.
        counted = [one for one in seen if one.signals is not None and one.seconds > ended.spent.wall_seconds - 5]
        found = Counter(one.label.name for one in counted if one.label is not None)
        busy = [one.signals.gpu for one in counted if one.signals is not None and one.signals.gpu is not None]
        spent = ended.spent
        row = {
            "job": name,
            "label": found.most_common(1)[0][0] if found else "",
            "busy": mean(busy) if busy else None,
            "held": spent.gpu_seconds / spent.wall_seconds,
            "memory": spent.peak_gpu_bytes,
            "looking": ended.looking_cpu / spent.wall_seconds,
            "exit": ended.exit_code,
        }
        print(row, flush=True)
        rows.append(row)
    return {"rows": rows}


def case(name: str, budget: float) -> dict[str, Any]:
    """A script, and its chosen version, on seeds that nobody saw."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.py"
        path.write_text((HERE / "gpu_scripts" / f"{name}.py").read_text(encoding="utf-8"), encoding="utf-8")
        before = os.getcwd()
        os.chdir(folder)
        try:
            result = speedup(Order(path, "loss", budget=budget))
            script, pairs = Script(str(path), (), "loss"), []
            for shift in SHIFTS:
                old, new = ran(script, path.read_text(), shift), ran(script, str(result.facts["text"]), shift)
                assert isinstance(old, Ran)
                assert isinstance(new, Ran), new
                pairs.append((old, new))
        finally:
            os.chdir(before)
    versions: Any = result.facts["tables"]
    return {
        "chosen": result.row.chosen,
        "wall_before": mean(old.spent.wall_seconds for old, _ in pairs),
        "wall": _ratio([(old.spent.wall_seconds, new.spent.wall_seconds) for old, new in pairs]),
        "gpu": _ratio([(old.spent.gpu_seconds, new.spent.gpu_seconds) for old, new in pairs]),
        "cpu": _ratio([(old.spent.cpu_seconds, new.spent.cpu_seconds) for old, new in pairs]),
        "loss_before": mean(old.found.last for old, _ in pairs),
        "loss": mean(new.found.last for _, new in pairs),
        "search_seconds": result.spent.wall_seconds,
        "notes": result.facts["notes"],
        "versions": versions[0]["rows"],
    }


def _ratio(pairs: list[tuple[float, float]]) -> float:
    return math.exp(mean(math.log(max(new, 1e-9) / max(old, 1e-9)) for old, new in pairs))


def table(parts: dict[str, dict[str, Any]]) -> str:
    """As markdown."""
    lines = []
    if "labels" in parts:
        lines += [
            f"{parts['labels']['machine']}.",
            "",
            "| job | label | GPU busy | GPU held | its memory, MiB | looking, of a core |",
            "|---|---|---:|---:|---:|---:|",
        ]
        for one in parts["labels"]["rows"]:
            busy = "-" if one["busy"] is None else f"{one['busy']:.0%}"
            lines.append(
                f"| {one['job']} | {one['label']} | {busy} | {one['held']:.0%} | {one['memory'] / 2**20:,.0f} | "
                f"{one['looking']:.2%} |"
            )
        lines.append("")
    scripts = {name: parts[name] for name in SCRIPTS if name in parts}
    if scripts:
        lines += [
            "| script | machine | chosen | s before | time, times less | CPU, times less | loss | search, s |",
            "|---|---|---|---:|---:|---:|---|---:|",
        ]
        for name, one in scripts.items():
            lines.append(
                f"| {name} | {one['machine']} | {one['chosen']} | {one['wall_before']:.1f} | {1 / one['wall']:.2f} | "
                f"{1 / one['cpu']:.2f} | {one['loss_before']:.4g} → {one['loss']:.4g} | {one['search_seconds']:.0f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
