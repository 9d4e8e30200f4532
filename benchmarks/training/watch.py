"""watch: are jobs with injected faults called what they are, and what does looking cost?

python benchmarks/training/watch.py [--only LABEL] [--seconds 8]

As root on Linux (quotas, memory caps and slow disks are made with control groups); two cores.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

from faults import Case, cases, running, workplace

from trimtab.adapters.meters import host
from trimtab.training.allocation.labels import label
from trimtab.training.allocation.looks import Watched

SHOWN = ("running", "waiting", "others", "top", "idle", "blocked", "main_idle", "throttled")  # of a wrong case


def main() -> None:
    """Print the table and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases of this label")
    parser.add_argument("--seconds", type=float, default=8.0, help="that each job is looked at")
    given = parser.parse_args()
    chosen = [one for one in cases() if given.only in ("", one.right)]
    right: Counter[str] = Counter()
    wrong: list[str] = []
    cost = seconds = 0.0
    with workplace() as folder:
        for case in chosen:
            name, because, spent = watched(case, Path(folder), given.seconds)
            cost, seconds = cost + spent, seconds + given.seconds
            right[case.right] += name == case.right
            if name != case.right:
                wrong.append(f"{case.name}: {name} instead of {case.right} ({because})")
                print(wrong[-1], flush=True)
    facts, asked = host(), Counter(one.right for one in chosen)
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores. Right: {sum(right.values())} of {len(chosen)} "
        f"({sum(right.values()) / len(chosen):.1%}). Looking cost {cost / seconds:.2%} of a core.",
        "",
        "| label | cases | right |",
        "|---|---:|---:|",
        *(f"| {name} | {count} | {right[name]} |" for name, count in asked.items()),
        "",
        *(f"- {one}" for one in wrong),
    ]
    text = "\n".join(lines)
    print(text)
    if not given.only:
        Path(__file__).with_suffix(".md").write_text(text + "\n", encoding="utf-8")


def watched(case: Case, folder: Path, seconds: float) -> tuple[str, str, float]:
    """(label, why, CPU seconds of looking) of a case, after two seconds in which the job starts."""
    with running(case, folder) as pid:
        time.sleep(2.0)
        tree = Watched(pid)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            tree.look()
            time.sleep(tree.pause)
        signals = tree.signals(seconds)
    if signals is None:
        return "gone", "the job ended", tree.cost
    found = label(signals)
    shares = ", ".join(f"{one} {getattr(signals, one):.2f}" for one in SHOWN)
    return found.name, f"{found.because}; {shares}", tree.cost


if __name__ == "__main__":
    main()
