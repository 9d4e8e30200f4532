"""speedup: scripts as people write them, in host states as people have them; and traps, which must not be taken.

python benchmarks/training/speedup.py [--only NAME] [--state quiet|oversubscribed|quota]

Each case runs `trimtab speedup` in its state; then the script and the chosen version are run again, in turn, on three
shifts of the seeds that the search never saw. Linux; the quota needs root (cgroup v1). Needs torch.
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
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median

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
BF16 = ("loss = nn.functional.", "with torch.autocast('cpu', torch.bfloat16):\n            loss = nn.functional.")
TRAPS: dict[str, tuple[tuple[str, str], ...]] = {
    "char_gpt": (("optimizer.zero_grad()", "torch.set_num_threads(2)\n    optimizer.zero_grad()"),
                 ("range(200)", "range(150)"), ("lr=3e-3", "lr=1e-1")),
    "cnn_digits": (("batch_size=32, shuffle=True, num_workers=2", "batch_size=32, shuffle=True, num_workers=6"),
                   ("net = Net()", "net = Net().to(memory_format=torch.channels_last).bfloat16().float()"),
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
    """Print the table and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--state", default="", choices=("", *STATES))
    parser.add_argument("--case", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        print(json.dumps(case(given.case)))
        return
    rows = [
        (name, state, in_state(name, state))
        for state in STATES
        for name in METRICS
        if given.only in ("", name) and given.state in ("", state)
    ]
    text = table(rows)
    print(text)
    if not given.only:
        to = Path(__file__).with_suffix(".md") if not given.state else HERE / f"speedup_{given.state}.md"
        to.write_text(text, encoding="utf-8")


def case(name: str) -> dict[str, object]:
    """One script in the state that this process is in."""
    from trimtab.stages.speedup import Order, speedup

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.py"
        path.write_text((HERE / "scripts" / f"{name}.py").read_text(encoding="utf-8"), encoding="utf-8")
        os.chdir(folder)
        result = speedup(Order(path, METRICS[name]), Traps(name))  # type: ignore[arg-type]
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
    }


def in_state(name: str, state: str) -> dict[str, object]:
    """A case in a process of its own, in its state."""
    with placed(state) as group:
        command = [sys.executable, __file__, "--case", name]
        environment = {**os.environ, "TRIMTAB_MODEL": "none"}
        place = None if group is None else lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
        done = subprocess.run(command, capture_output=True, text=True, env=environment, preexec_fn=place, check=False)
    if done.returncode:
        print(f"{name}, {state}: {done.stderr[-400:]}", flush=True)
        return {}
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    print(name, state, found, flush=True)
    return found


@contextlib.contextmanager
def placed(state: str) -> Iterator[Path | None]:
    """Neighbours on every core, or a group with a quota, or nothing."""
    if state == "quota":
        group = Path("/sys/fs/cgroup/cpu") / f"trimtab-{os.getpid()}"
        group.mkdir()
        (group / "cpu.cfs_quota_us").write_text(str(int(QUOTA * 100_000)))
        try:
            yield group
        finally:
            group.rmdir()
        return
    count = (os.cpu_count() or 1) if state == "oversubscribed" else 0
    busy = [subprocess.Popen([sys.executable, "-c", PLAIN, "1000"]) for _ in range(count)]
    try:
        yield None
    finally:
        for one in busy:
            one.kill()
            one.wait()


def table(rows: list[tuple[str, str, dict[str, object]]]) -> str:
    """As markdown, with the figures that are asked for."""
    facts = host()
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores; oversubscribed: a busy process on each core; quota: {QUOTA} cores.",
        "",
        "| script | state | chosen | CPU-s before | CPU, times less | wall, times less | metric | search CPU-s |",
        "|---|---|---|---:|---:|---:|---|---:|",
    ]
    for name, state, one in rows:
        if one:
            cpu, wall = 1 / float(str(one["cpu"])), 1 / float(str(one["wall"]))
            told = f"{METRICS[name]} {float(str(one['metric_before'])):.4g} → {float(str(one['metric'])):.4g}"
            lines.append(f"| {name} | {state} | {one['chosen']} | {float(str(one['cpu_before'])):.1f} | {cpu:.2f} | "
                         f"{wall:.2f} | {told} | {float(str(one['search_cpu'])):.0f} |")  # fmt: skip
        else:
            lines.append(f"| {name} | {state} | failed | | | | | |")
    lines.append("")
    done = [(state, one) for _, state, one in rows if one]
    for state in STATES:
        found = [1 / float(str(one["cpu"])) for which, one in done if which == state]
        walls = [1 / float(str(one["wall"])) for which, one in done if which == state]
        if found:
            geometric = math.exp(mean(math.log(one) for one in found))
            lines.append(f"- {state}: CPU {geometric:.2f} × less (geometric mean of {len(found)}), "
                         f"wall {median(walls):.2f} × less (median)")  # fmt: skip
    improved = sum(float(str(one["cpu"])) < 0.97 for _, one in done)
    trapped = sum(one["by"] == "traps" for _, one in done)
    worse = sum(float(str(one["cpu"])) > 1.03 or float(str(one["wall"])) > 1.1 for _, one in done)
    lines.append(f"- improved: {improved} of {len(rows)}; traps taken: {trapped}; worse when run again: {worse}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
