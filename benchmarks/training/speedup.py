"""speedup: scripts as people write them, in host states as people have them; and traps, which must not be taken.

python benchmarks/training/speedup.py [--scripts char_gpt,lgbm_kfold] [--state quiet|oversubscribed|quota] [--again]

Each case runs `trimtab speedup` in its state; then the script and the chosen version are run again, in turn, on three
shifts of the seeds that the search never saw. What is measured goes into speedup.jsonl, case by case: a run that was
cut off is taken up where it ended, and the table is made of all that is there.
Linux; the quota needs root. Needs torch.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from faults import PLAIN

from trimtab.adapters.meters import host
from trimtab.core.model import Brief, Proposal
from trimtab.training.scripts.plan import Edit, PatchPlan
from trimtab.training.scripts.running import Ran, Script, ran

HERE = Path(__file__).parent
METRICS = {
    "char_gpt": "loss", "cnn_digits": "loss", "grid_search": "accuracy", "knn_impute": "rmse", "lgbm_kfold": "loss",
    "lstm_sequence": "loss", "mlp_loader": "loss", "text_pipeline": "accuracy",
}  # fmt: skip
STATES = ("quiet", "oversubscribed", "quota")
QUOTA = 0.5  # cores
SHIFTS = (5001, 5002, 5003)
RAW = HERE / "speedup.jsonl"
HARM_CPU, HARM_WALL, HARM_METRIC = 1.03, 1.10, 0.03  # times as much; share of the metric
BETTER = 0.97  # of the CPU: improved
BF16 = "with torch.autocast('cpu', torch.bfloat16):\n        loss = nn.functional."
ROUNDED = "net(images.to(memory_format=torch.channels_last).bfloat16().float())"
TRAPS: dict[str, tuple[tuple[str, str], ...]] = {
    "char_gpt": (("loss = nn.functional.", BF16), ("net = Gpt()", "torch.set_num_threads(2)\nnet = Gpt()"),
                 ("range(200)", "range(150)"), ("lr=3e-3", "lr=1e-1")),
    "cnn_digits": (("batch_size=32, shuffle=True, num_workers=2", "batch_size=32, shuffle=True, num_workers=6"),
                   ("net(images)", ROUNDED),
                   ("range(8)", "range(4)"), ("batch_size=32", "batch_size=256")),
    "grid_search": (("n_jobs=-1), grid", "n_jobs=8), grid"), ("120, random_state", "10, random_state")),
    "knn_impute": (("n_neighbors=7", "n_neighbors=1"), ("cv=4, scoring", "cv=4, n_jobs=8, scoring")),
    "lgbm_kfold": (("n_jobs=-1", "n_jobs=8"), ("n_estimators=200", "n_estimators=40")),
    "lstm_sequence": (("series[at : at + 64]", "series[at : at + 32]"), ("lr=0.01", "lr=1.0")),
    "mlp_loader": (("num_workers=4", "num_workers=8"), ("shuffle=True", "shuffle=False"),
                   ("range(10)", "range(5)")),
    "text_pipeline": (("max_iter=300", "max_iter=3"), ("k=3000", "k=30")),
}  # fmt: skip


class Traps:
    """Proposes what looks faster and is not, or is worse."""

    def __init__(self, name: str) -> None:
        self.name, self._edits = "traps", list(TRAPS[name])

    def propose(self, brief: Brief[PatchPlan]) -> list[Proposal[PatchPlan]]:
        """All of them at once."""
        edits, self._edits = self._edits, []
        return [Proposal(PatchPlan(edits=(Edit(*one),)), self.name, "it looks faster") for one in edits]


def main() -> None:
    """Measure the cases that are missing, print the table and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scripts", default="", help="of these only, by commas")
    parser.add_argument("--state", default="", choices=("", *STATES))
    parser.add_argument("--again", action="store_true", help="measure anew what was measured")
    parser.add_argument("--case", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        print(json.dumps(case(given.case)))
        return
    chosen = given.scripts.split(",") if given.scripts else list(METRICS)
    for state in STATES:
        for name in METRICS:
            is_there = (name, state) in measured()
            if name in chosen and given.state in ("", state) and (given.again or not is_there):
                with RAW.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(in_state(name, state)) + "\n")
    text = table([one for _, one in sorted(measured().items(), key=lambda item: (STATES.index(item[0][1]), item[0]))])
    print(text)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def measured() -> dict[tuple[str, str], dict[str, Any]]:
    """The last word on each case."""
    lines = RAW.read_text(encoding="utf-8").splitlines() if RAW.exists() else []
    rows = [json.loads(one) for one in lines]
    return {(one["script"], one["state"]): one for one in rows if "cpu" in one}


def case(name: str) -> dict[str, Any]:
    """One script in the state that this process is in."""
    from trimtab.stages.speedup import Order, speedup

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.py"
        path.write_text((HERE / "scripts" / f"{name}.py").read_text(encoding="utf-8"), encoding="utf-8")
        os.chdir(folder)
        result = speedup(Order(path, METRICS[name]), Traps(name))  # type: ignore[arg-type]
        versions: Any = result.facts["tables"][0]  # type: ignore[index]
        script = Script(str(path), (), METRICS[name])
        pairs = []
        for shift in SHIFTS:
            before, after = ran(script, path.read_text(), shift), ran(script, str(result.facts["text"]), shift)
            assert isinstance(before, Ran)
            assert isinstance(after, Ran), after
            pairs.append((before, after))
    ratios = [
        (a.spent.cpu_seconds / b.spent.cpu_seconds, a.spent.wall_seconds / b.spent.wall_seconds) for b, a in pairs
    ]
    return {
        "chosen": result.row.chosen,
        "by": result.row.by,
        "cpu_before": mean(one.spent.cpu_seconds for one, _ in pairs),
        "cpu": math.exp(mean(math.log(one) for one, _ in ratios)),
        "wall": math.exp(mean(math.log(one) for _, one in ratios)),
        "metric_before": mean(one.found.last for one, _ in pairs),
        "metric": mean(one.found.last for _, one in pairs),
        "search_cpu": result.spent.cpu_seconds,
        "traps": [[row[0], row[2]] for row in versions["rows"] if row[1] == "traps"],
    }


def in_state(name: str, state: str) -> dict[str, Any]:
    """A case in a process of its own, in its state."""
    began = time.monotonic()
    with placed(state) as group:
        command = [sys.executable, __file__, "--case", name]
        environment = {**os.environ, "TRIMTAB_MODEL": "none"}
        place = None if group is None else lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
        done = subprocess.run(command, capture_output=True, text=True, env=environment, preexec_fn=place, check=False)
    found = {"script": name, "state": state, "load": os.getloadavg()[1], "minutes": (time.monotonic() - began) / 60}
    found |= {"failed": done.stderr[-400:]} if done.returncode else json.loads(done.stdout.splitlines()[-1])
    print(found, flush=True)
    return found


@contextlib.contextmanager
def placed(state: str) -> Iterator[Path | None]:
    """Neighbours on every core, or a group with a quota, or nothing."""
    if state == "quota":
        with quota() as group:
            yield group
        return
    count = (os.cpu_count() or 1) if state == "oversubscribed" else 0
    busy = [subprocess.Popen([sys.executable, "-c", PLAIN, "1000"]) for _ in range(count)]
    try:
        yield None
    finally:
        for one in busy:
            one.kill()
            one.wait()


@contextlib.contextmanager
def quota() -> Iterator[Path]:
    """A control group with few cores, of version 1 or 2."""
    first = Path("/sys/fs/cgroup/cpu")
    group = (first if first.is_dir() else first.parent) / f"trimtab-{os.getpid()}"
    group.mkdir()
    limit = int(QUOTA * 100_000)
    if first.is_dir():
        (group / "cpu.cfs_quota_us").write_text(str(limit))
    else:
        (group / "cpu.max").write_text(f"{limit} 100000")
    try:
        yield group
    finally:
        group.rmdir()


def table(rows: list[dict[str, Any]]) -> str:
    """As markdown, with the figures that are asked for."""
    facts = host()
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores; oversubscribed: a busy process on each core; quota: {QUOTA} cores.",
        "Load: the five-minute average at a case's end; other work ran beside a case with a quota where it is high.",
        "",
        "| script | state | chosen | CPU-s before | CPU, times less | wall, times less | metric | search CPU-s "
        "| load |",
        "|---|---|---|---:|---:|---:|---|---:|---:|",
        *map(row, rows),
        "",
        *(summary(state, [one for one in rows if one["state"] == state]) for state in STATES),
    ]
    improved = sum(one["cpu"] < BETTER and one["by"] != "current" for one in rows)
    harmful = [one for one in rows if is_harmful(one)]
    traps = [trap for one in rows for trap in one["traps"]]
    lines.append(f"- improved: {improved} of {len(rows)} cases; harmful when run again: {len(harmful)}")
    lines.append(f"- traps: {len(traps)} proposed, {sum(one['by'] == 'traps' for one in rows)} taken")
    return "\n".join(lines) + "\n"


def row(one: dict[str, Any]) -> str:
    """A case as a line of the table."""
    told = f"{METRICS[one['script']]} {one['metric_before']:.4g} → {one['metric']:.4g}"
    return (
        f"| {one['script']} | {one['state']} | {one['chosen']} | {one['cpu_before']:.1f} | {1 / one['cpu']:.2f} | "
        f"{1 / one['wall']:.2f} | {told} | {one['search_cpu']:.0f} | {one['load']:.1f} |"
    )


def summary(state: str, rows: list[dict[str, Any]]) -> str:
    """A state's means."""
    if not rows:
        return f"- {state}: not measured"
    cpu, wall = (math.exp(mean(-math.log(one[key]) for one in rows)) for key in ("cpu", "wall"))
    return f"- {state}: CPU {cpu:.2f} × less, wall {wall:.2f} × less (geometric means of {len(rows)})"


def is_harmful(one: dict[str, Any]) -> bool:
    """Whether the version, run again on other seeds, costs more or comes out worse; what was left as it is, cannot."""
    if one["chosen"] == "as it is":
        return False
    sign = 1 if METRICS[one["script"]] in ("loss", "rmse") else -1
    worse = sign * (one["metric"] - one["metric_before"]) / abs(one["metric_before"])
    return bool(one["cpu"] > HARM_CPU or one["wall"] > HARM_WALL or worse > HARM_METRIC)


if __name__ == "__main__":
    main()
