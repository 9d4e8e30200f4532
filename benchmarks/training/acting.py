"""watch, acting: the same training under `trimtab watch`, with its threads tuned and without.

python benchmarks/training/acting.py [--only NAME] [--state quiet|contended] [--runs 2]

Runs of both kinds take turns, in the same state of the host. The scripts are those of speedup.py that train in steps.
Needs torch.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median

from faults import PLAIN

from trimtab.adapters.meters import host
from trimtab.training.allocation.job import Ended, Orders, run

HERE = Path(__file__).parent
SCRIPTS = ("char_gpt", "cnn_digits", "lgbm_kfold", "lstm_sequence", "mlp_loader")
STATES = ("quiet", "contended")


def main() -> None:
    """Print the table and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--state", default="", choices=("", *STATES))
    parser.add_argument("--runs", type=int, default=2)
    given = parser.parse_args()
    facts = host()
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores. Contended: one busy process that may use any core.",
        "",
        "| script | state | CPU-s | acting | times less | wall, s | acting | times less | kept | put back |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    ratios: dict[str, list[tuple[float, float]]] = {state: [] for state in STATES}
    for state in STATES:
        for name in SCRIPTS:
            if given.only in ("", name) and given.state in ("", state):
                line, ratio = measured(name, state, given.runs)
                print(line, flush=True)
                lines.append(line)
                ratios[state].append(ratio)
    lines.append("")
    for state, found in ratios.items():
        if found:
            cpu, wall = median(one for one, _ in found), median(one for _, one in found)
            lines.append(f"- {state}: {cpu:.2f} × less CPU, {wall:.2f} × less wall (medians)")
    text = "\n".join(lines) + "\n"
    print(text)
    if not given.only and not given.state:
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def measured(name: str, state: str, runs: int) -> tuple[str, tuple[float, float]]:
    """A row of the table, and how much less CPU and wall acting took."""
    plain, acting = list[Ended](), list[Ended]()
    with placed(state), tempfile.TemporaryFile() as output:
        for _ in range(runs):
            for acts, kept in ((False, plain), (True, acting)):
                command = [sys.executable, str(HERE / "scripts" / f"{name}.py")]
                kept.append(run(command, Orders(acts=acts, output=output)))
    cpu = [mean(one.spent.cpu_seconds for one in some) for some in (plain, acting)]
    wall = [mean(one.spent.wall_seconds for one in some) for some in (plain, acting)]
    changes = [change for one in acting for change in one.heard.changes]
    kept_count = sum(one.is_kept for one in changes)
    line = (
        f"| {name} | {state} | {cpu[0]:.1f} | {cpu[1]:.1f} | {cpu[0] / cpu[1]:.2f} | {wall[0]:.1f} | {wall[1]:.1f} | "
        f"{wall[0] / wall[1]:.2f} | {kept_count} | {len(changes) - kept_count} |"
    )
    return line, (cpu[0] / cpu[1], wall[0] / wall[1])


@contextlib.contextmanager
def placed(state: str) -> Iterator[None]:
    """A neighbour, or nobody."""
    count = (os.cpu_count() or 1) // 2 if state == "contended" else 0
    busy = [subprocess.Popen([sys.executable, "-c", PLAIN, "1000"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            one.wait()


if __name__ == "__main__":
    main()
