"""A/A for every capability: how often a plan wins against itself. At most 5 of 100 runs may find a winner."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import tempfile
import time
from pathlib import Path

from trimtab.core.portable import imported
from trimtab.testing.same import winners

AREAS = ("data", "training", "inference", "cluster", "deployment", "monitoring")


def main() -> None:
    """Print the table and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--only", default="", help="one verb")
    given = parser.parse_args()
    lines = [f"# A/A: winners in {given.runs} runs, at most {given.runs // 20} allowed", ""]
    lines += ["| capability | winners | seconds a run |", "|---|---:|---:|"]
    for path in [path for area in AREAS for path in importlib.import_module(f"trimtab.{area}").PROBLEMS]:
        if given.only in ("", imported(path).verb):
            lines.append(row(path, given.runs))
            print(lines[-1], flush=True)
    lines += ["", f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}"]
    table = "\n".join(lines) + "\n"
    print(table)
    if not given.only:
        Path(__file__).with_suffix(".md").write_text(table, encoding="utf-8")


def row(path: str, runs: int) -> str:
    """One capability."""
    capability, start = imported(path), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = winners(capability.sample, Path(folder), runs)
    return f"| {capability.verb} | {found} | {(time.perf_counter() - start) / runs:.2f} |"


if __name__ == "__main__":
    main()
