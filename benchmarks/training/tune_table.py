"""The table of `tune.py`: every arm on every set, wins of peers included."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LOWER_IS_BETTER = ("rmse", "mae", "log_loss")
NEAR = 0.2  # bootstrap deviations of the metric: as good as AutoGluon


@dataclass(frozen=True)
class Ran:
    """One run. `deviation`: of the metric, over 100 bootstrap draws of the rows that it is scored on."""

    name: str
    metric: str
    arm: str
    seed: int
    value: float
    deviation: float
    cpu_seconds: float
    chosen: str
    machine: str


@dataclass(frozen=True)
class Arm:
    """Means over the seeds of one arm on one set."""

    runs: list[Ran]

    @property
    def quality(self) -> float:
        """More is better."""
        sign = -1.0 if self.runs[0].metric in LOWER_IS_BETTER else 1.0
        return sign * statistics.fmean(one.value for one in self.runs)

    @property
    def cpu_seconds(self) -> float:
        return statistics.fmean(one.cpu_seconds for one in self.runs)

    @property
    def deviation(self) -> float:
        return statistics.fmean(one.deviation for one in self.runs)

    def shown(self) -> str:
        values = [one.value for one in self.runs]
        spread = f" ({min(values):.5g} to {max(values):.5g})" if max(values) > min(values) else ""
        return f"{statistics.fmean(values):.5g}{spread}, {self.cpu_seconds:.1f} CPU-s"

    def over(self, other: Arm) -> float:
        """How much better, in bootstrap deviations of the other's metric."""
        return (self.quality - other.quality) / other.deviation


def arm(runs: Sequence[Ran], name: str, which: str) -> Arm | None:
    found = [one for one in runs if (one.name, one.arm) == (name, which)]
    return Arm(found) if found else None


def table(runs: Sequence[Ran], sets: Sequence[str], longer: Sequence[str], peers: Sequence[str]) -> str:
    """`longer`: arms of trimtab with a budget of their own."""
    ours, others = ("trimtab", *longer), ("default", "optuna", *peers)
    arms = ("default", "optuna", *ours, *peers)
    names = [name for name in sets if any(one.name == name for one in runs)]
    metrics = {one.name: one.metric for one in runs}
    rows = [
        f"| {name} ({metrics[name]}) | " + " | ".join(_cell(arm(runs, name, which)) for which in arms) + " |"
        for name in names
    ]
    machines = sorted({one.machine.partition(", load")[0] for one in runs})
    loads = [float(one.machine.rpartition("load ")[2]) for one in runs]
    seeds = {which: sorted({one.seed for one in runs if one.arm == which}) for which in arms}
    counted = ", ".join(f"{which} {len(found)}" for which, found in seeds.items())
    return "\n".join([
        "# tune against default LightGBM, Optuna, FLAML and AutoGluon\n",
        "The metric on 30 % of the rows that nothing was chosen on: the mean over seeds (lowest to highest), and CPU "
        "seconds of everything that the arm did. trimtab is `trimtab.Tuner` with 0.3 of Optuna's CPU for its budget, "
        "trimtab-60 with 60 CPU-s. "
        "Peers run on the clock of their CPU time. `-`: not measured yet. When the search ends and how folds follow "
        "the budget was changed after a first look at spam, churn and diamonds, and when the default is kept after one "
        "at spam and churn: those three are not unseen. Logarithms of targets and linear leaves were thought of after "
        "AutoGluon's rows of diamonds, deliveries and weather, and tried on the rows of those sets that are not "
        "reported on, and on others. Networks, members picked one at a time and which plans go on to all folds were "
        "tried on the rows of churn, digits, spam, deliveries, ames and weather that are not reported on, and on "
        "others; that logarithms and linear leaves do came after a look at weather's reported ones. Symmetric trees "
        "(the extra catboost) came after AutoGluon's row of deliveries and were tried on rows that are not reported "
        "on, of deliveries, churn, spam, ames, digits, diamonds and others; their share of the budget, their most "
        "rounds and that a cheap look decides of them came after looks at diamonds and weather. On 25 sets that are "
        "not here they bring nothing in the mean (members.md). That the default is kept less readily came after a "
        "look at ames. Half as many linear leaves, far values drawn in, and more columns sooner came after the spread "
        "of weather's reported rows over seeds; they were tried on its other rows and on sets of leaves.md. Means of "
        "the best few were drawn up on twelve sets that are not here. Where Optuna is cheapest, three more seeds of it "
        "and of trimtab were run after a look at three.\n",
        "| set | default LightGBM | Optuna 50 | " + " | ".join((*ours, *peers)) + " |",
        "|---" * (len(arms) + 1) + "|",
        *rows,
        "",
        *itertools.chain(*(_beside(runs, names, one, others) for one in ours)),
        f"\nMost seeds by arm: {counted}. Machine: {'; '.join(machines)}, load {min(loads):.1f} to {max(loads):.1f}. "
        "Made by `python benchmarks/training/tune.py`; every run is in `tune_raw.json`.\n",
    ])  # fmt: skip


def _cell(found: Arm | None) -> str:
    return found.shown() if found else "-"


def _beside(runs: Sequence[Ran], names: Sequence[str], which: str, others: Sequence[str]) -> list[str]:
    """One arm of trimtab against each of the others."""
    return [
        f"{which} against each, in bootstrap deviations of the metric (above 0: trimtab is better), and its CPU as a "
        "share of theirs:\n",
        "| set | " + " | ".join((*others, "search, × oracle")) + " |",
        "|---" * (len(others) + 2) + "|",
        *(_against(runs, name, which, others) for name in names),
        "",
        *_figures(runs, names, which, others),
        "",
    ]


def _against(runs: Sequence[Ran], name: str, which: str, others: Sequence[str]) -> str:
    ours = arm(runs, name, which)
    cells = []
    for other in others:
        theirs = arm(runs, name, other)
        both = ours and theirs
        cells.append(f"{ours.over(theirs):+.2f} at {ours.cpu_seconds / theirs.cpu_seconds:.2f}" if both else "-")  # type: ignore[union-attr]
    return f"| {name} | " + " | ".join(cells) + f" | {_multiple(ours)} |"


def _multiple(ours: Arm | None) -> str:
    found = multiples(ours)
    return f"{statistics.fmean(found):.1f}" if found else "-"


def multiples(ours: Arm | None) -> list[float]:
    """What each search cost, in trainings of its winner."""
    said = [one.chosen.partition(" x oracle")[0] for one in ours.runs] if ours else []
    return [float(one) for one in said if one.replace(".", "").isdigit()]


def _figures(runs: Sequence[Ran], names: Sequence[str], mine: str, others: Sequence[str]) -> list[str]:
    def counted(which: str, said: str, holds: Callable[[Arm, Arm], bool]) -> str:
        pairs = [(arm(runs, name, mine), arm(runs, name, which)) for name in names]
        both = [(ours, theirs) for ours, theirs in pairs if ours and theirs]
        return f"- {said}: {sum(holds(*pair) for pair in both)} of {len(both)} sets"

    cheap = [
        counted(which, f"better than {which} at a third of its CPU or less",
                lambda ours, theirs: ours.quality > theirs.quality and ours.cpu_seconds <= theirs.cpu_seconds / 3)
        for which in others if which.startswith(("optuna", "flaml"))
    ]  # fmt: skip
    near = [
        counted(which, f"within {NEAR} deviations of {which}, or better, at a twentieth of its CPU or less",
                lambda ours, theirs: ours.over(theirs) >= -NEAR and ours.cpu_seconds <= theirs.cpu_seconds / 20)
        for which in others if which.startswith("autogluon")
    ]  # fmt: skip
    dear = [multiples(arm(runs, name, mine)) for name in names]
    few = sum(statistics.fmean(one) <= 8 for one in dear if one)
    return [
        counted("default", "worse than default LightGBM by more than its noise (1 deviation)",
                lambda ours, theirs: ours.over(theirs) < -1),
        counted("default", "worse than default LightGBM at all", lambda ours, theirs: ours.quality < theirs.quality),
        *cheap,
        *near,
        f"- search at 8 trainings of the winner or fewer: {few} of {sum(map(bool, dear))} sets",
    ]  # fmt: skip
