"""speedup: a version of a training script that costs less CPU, no slower, with the same result or one as good.

Where a script holds GPUs, they are what is paid for, for as long as it runs: then it is its time that is to be less.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trimtab.adapters import gpus
from trimtab.adapters.files import write_whole
from trimtab.adapters.sources.tables import fingerprint
from trimtab.core.errors import InputError
from trimtab.core.model import Evidence, Failure, Guardrail, Json, Ladder, Measurement, Objective, Rung, Sample, Spend
from trimtab.core.ports import Capability
from trimtab.core.wire import digest
from trimtab.training.scripts.integrity import objections
from trimtab.training.scripts.metric import Found, Goal, gap, goal_of
from trimtab.training.scripts.patches import PATCHES, PatchFault, applicable, is_exact, may_stop, patched, repaired
from trimtab.training.scripts.plan import CURRENT, PatchPlan
from trimtab.training.scripts.running import Ran, Script, ran

LAYOUT = 2  # of what is kept of runs
SEEDS = {"search": 0, "holdout": 1_000}  # by how much a script's own seeds are shifted
SEARCH_SEEDS, HOLDOUT_SEEDS = 2, 5
EXACT = 1e-6  # relative, along the whole curve: single precision, in another order
TOLERANCE = 0.02  # of the metric's size: how much worse it may be, where a patch is not exact
SLOWER = 0.05  # of the wall time
MARGIN = 0.03  # of the cost: less is not worth a change to a script
HOLDS = 0.2  # of its time with a GPU, and a script is one that trains on it
PATIENCE = 3.0  # a version may take so many times as long as the script itself, and START_SECONDS
START_SECONDS = 10.0
SHOWN_BYTES = 6000  # of a script, in evidence
HINTS = {
    "standard input": "give it what it asks for as arguments, behind --, or as a file beside it",
    "it said no": "--metric names what the script prints or logs, such as 'loss: 0.1', before its first process ends",
    "is NaN": "nothing can be compared with NaN: mend the script first",
    "was not done after": "make it shorter, by arguments behind --",
}


class PlanRefused(ValueError):
    """A version that is not what it should be: the loop takes it for a failure of the plan."""


@dataclass(frozen=True)
class Speedup:
    """Spend less CPU on a training. Each sample shifts all seeds: holdout seeds were seen by nobody."""

    script: Script
    source: str  # the script's text, mended where it crashed
    original: str  # as it stands in the file
    goal_of_metric: Goal
    size: float  # of the metric, as the script comes out: tolerances are shares of it
    wall_seconds: float  # of the script as it is
    cache: str
    fingerprint: str  # of the script's folder
    tolerance: float = TOLERANCE
    is_on_gpu: bool = False
    name: str = "speedup"

    @property
    def goal(self) -> str:
        if self.is_on_gpu:
            return "train the same model on the same GPU in less time"
        return "train the same model with less CPU time, no slower"

    @property
    def plan_type(self) -> type[PatchPlan]:
        return PatchPlan

    @property
    def objective(self) -> Objective:
        worse = self.tolerance * self.size
        as_good = (
            Guardrail("loss", worse, "at_most", relative=True),
            Guardrail("mean_loss", worse, "at_most", relative=True),
        )
        if self.is_on_gpu:
            return Objective(self.cost, "min", as_good, MARGIN, "ratio", "time")
        no_slower = Guardrail("wall_seconds", SLOWER, "at_most", relative=True, scale="ratio")
        return Objective(self.cost, "min", (*as_good, no_slower), MARGIN, "ratio", "CPU time")

    @property
    def cost(self) -> str:
        """The metric of what is paid for."""
        return "wall_seconds" if self.is_on_gpu else "cpu_seconds"

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(1.0, SEARCH_SEEDS),), holdout_seeds=HOLDOUT_SEEDS, finalists=2, interleaved=True)

    def observe(self) -> Evidence:
        """The script itself, and which patches would change it."""
        facts: dict[str, Json] = {
            "script": self.source.encode()[:SHOWN_BYTES].decode("utf-8", "ignore"),
            "patches": {one.name: one.why for one in PATCHES if one.name in self._worth_trying()},
            "metric": self.script.metric,
            "goal_of_metric": self.goal_of_metric,
            "wall_seconds": round(self.wall_seconds, 2),
        }
        return Evidence(facts, Path(self.script.path).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, PatchPlan]:
        """The script as it is."""
        return {"current": CURRENT}

    def measure(self, plan: PatchPlan, sample: Sample) -> Measurement:
        """Run the version once. Raises PlanRefused where it fails, cheats, or is exact by name and not by result."""
        version = self._version(plan)
        shift = SEEDS.get(sample.split, 0) + sample.seed
        limit = self.script.wall_seconds
        if plan != CURRENT:
            limit = min(limit, PATIENCE * self.wall_seconds + START_SECONDS)
        reference = self.reference(shift) if plan != CURRENT else None
        made = ran(replace(self.script, wall_seconds=limit), version, shift)
        if isinstance(made, Failure):
            raise PlanRefused(made.reason)
        if reference is None:
            self._keep(shift, made)
        else:
            made = followed(made, reference) if may_stop(plan) else made
            refuse_less_work(made, reference)
            off = gap(made.found.curve, reference.found.curve)
            if is_exact(plan) and off > EXACT and self.repeats(shift):
                raise PlanRefused(f"its result differs by {off:.2g} (relative), where it should be the same")
        sign = 1.0 if self.goal_of_metric == "min" else -1.0
        finite = [one for one in made.found.curve if math.isfinite(one)]
        metrics = {
            "cpu_seconds": made.spent.cpu_seconds,
            "wall_seconds": made.spent.wall_seconds,
            "loss": sign * made.found.last,
            "mean_loss": sign * sum(finite) / max(1, len(finite)),
            "peak_rss_bytes": float(made.spent.peak_rss_bytes),
        }
        return Measurement(metrics, "run", made.spent)

    def reference(self, shift: int) -> Ran:
        """The script as it is, with its seeds so shifted: run once, and kept. Raises PlanRefused when it fails."""
        kept = recalled(self.cache, self.fingerprint, shift)
        if kept is not None:
            return kept
        made = ran(self.script, self.source, shift)
        if isinstance(made, Failure):
            raise PlanRefused(f"the script itself failed with its seeds shifted by {shift}: {made.reason}")
        self._keep(shift, made)
        return made

    def repeats(self, shift: int) -> bool:
        """Whether the script as it is comes out the same when it is run again: where not, nothing can be exact."""
        reference, again = self.reference(shift), ran(self.script, self.source, shift)
        return isinstance(again, Ran) and gap(again.found.curve, reference.found.curve) <= EXACT

    def _keep(self, shift: int, made: Ran) -> None:
        if recalled(self.cache, self.fingerprint, shift) is None:
            keep(self.cache, self.fingerprint, shift, made)

    def _worth_trying(self) -> tuple[str, ...]:
        return worth_trying(self.source, is_on_gpu=self.is_on_gpu)

    def _version(self, plan: PatchPlan) -> str:
        try:
            version = patched(self.source, plan)
        except PatchFault as error:
            raise PlanRefused(str(error)) from None
        if plan.edits and (found := objections(self.source, version)):
            raise PlanRefused("; ".join(found))
        if plan != CURRENT and version == self.source:
            raise PlanRefused("it changes nothing")
        return version


def recalled(cache: str, fingerprint: str, shift: int) -> Ran | None:
    """What the script as it is came to, with its seeds so shifted, if it was run before."""
    try:
        kept: Any = json.loads(_place(cache, fingerprint, shift).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    curve = tuple(math.nan if one is None else one for one in kept["curve"])
    return Ran(Found(kept["last"], curve), kept["steps"], Spend(**kept["spent"]))


def keep(cache: str, fingerprint: str, shift: int, made: Ran) -> None:
    """Remember what the script as it is came to."""
    curve = [one if math.isfinite(one) else None for one in made.found.curve]
    kept = {"last": made.found.last, "curve": curve, "steps": made.steps, "spent": asdict(made.spent)}
    place = _place(cache, fingerprint, shift)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_whole(place, json.dumps(kept))


def _place(cache: str, fingerprint: str, shift: int) -> Path:
    return Path(cache) / "speedup" / fingerprint[:24] / f"{shift}.json"


def worth_trying(source: str, *, is_on_gpu: bool = False) -> tuple[str, ...]:
    """The patches that change this script, on this host: half of two or three cores is one."""
    is_small = len(os.sched_getaffinity(0)) < 4
    skipped = {"half-the-threads"} if is_small else set()
    if not is_on_gpu:
        skipped |= {one.name for one in PATCHES if one.is_for_gpu}
    return tuple(one for one in applicable(source) if one not in skipped)


def followed(made: Ran, reference: Ran) -> Ran:
    """A run that may stop early, its result held for the steps that it left out."""
    curve = made.found.curve
    missing = max(0, len(reference.found.curve) - len(curve))
    whole = Found(made.found.last, (*curve, *[made.found.last] * missing))
    return replace(made, found=whole, steps=max(made.steps, reference.steps))


def refuse_less_work(made: Ran, reference: Ran) -> None:
    """Raise PlanRefused where a version skipped steps, or said less of the metric."""
    if made.steps < reference.steps:
        raise PlanRefused(f"it made {made.steps} steps of {reference.steps}: skipped work is no saving")
    if len(made.found.curve) < len(reference.found.curve):
        raise PlanRefused(
            f"it told {len(made.found.curve)} values of the metric instead of {len(reference.found.curve)}"
        )


def speeding(script: Script, *, cache: Path, goal: str = "", tolerance: float = TOLERANCE) -> tuple[Speedup, list[str]]:
    """The problem for a script, and what is to be said of it. Runs the script once or twice.

    Raises InputError for what is no Python, fails, says no such metric, or does not come out the same twice by far.
    """
    path = Path(script.path)
    original, notes, goal_of_metric = _source(path), list[str](), goal_of(script.metric, goal)
    source, first = _first_run(script, original, str(cache))
    if source != original:
        notes.append("the script fails as it is: calls that newer libraries have renamed were mended first")
    size = max(abs(first.found.last), 1e-12)
    problem = Speedup(
        script=script,
        source=source,
        original=original,
        goal_of_metric=goal_of_metric,
        size=size,
        wall_seconds=first.spent.wall_seconds,
        cache=str(cache),
        fingerprint=_fingerprint(path, source, script),
        tolerance=tolerance,
        is_on_gpu=first.spent.gpu_seconds > HOLDS * first.spent.wall_seconds,
    )
    if problem.is_on_gpu:
        notes.append("it holds a GPU, which is what is paid for: versions are compared by how long they take")
    elif gpus.unseen():
        notes.append("whether it holds a GPU is not known: pip install 'trimtab[gpu]'")
    return problem, notes


def _first_run(script: Script, original: str, cache: str) -> tuple[str, Ran]:
    """(source that runs, what it came to): the script as it is, or mended where only that runs."""
    reason = ""
    for source in dict.fromkeys((original, repaired(original))):
        fingerprint = _fingerprint(Path(script.path), source, script)
        first = recalled(cache, fingerprint, 0) or ran(script, source, 0)
        if isinstance(first, Ran):
            keep(cache, fingerprint, 0, first)
            return source, first
        reason = reason or first.reason
    raise InputError(f"{Path(script.path).name}: {reason}", hint=_hint(reason))


def _hint(reason: str) -> str:
    """What to do about a script that cannot be judged."""
    for word, hint in HINTS.items():
        if word in reason:
            return hint
    return "arguments go behind --: trimtab speedup train.py --metric loss -- --epochs 3"


def _source(path: Path) -> str:
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"{path} cannot be read: {reason}", hint="trimtab speedup train.py --metric loss") from None
    try:
        applicable(source)
    except PatchFault as error:
        raise InputError(f"{path.name} is no Python: {error}", hint="trimtab speedup train.py --metric loss") from None
    return source


def _fingerprint(path: Path, source: str, script: Script) -> str:
    """Of all that the result depends on, as far as it can be seen: code beside it, and the data's sizes and times."""
    beside: list[Json] = [[one.name, fingerprint(one)] for one in sorted(path.parent.glob("*.py")) if one != path]
    for one in sorted(path.parent.iterdir()):
        if one.is_file() and one.suffix != ".py" and not one.name.startswith("."):
            beside.append([one.name, one.stat().st_size, one.stat().st_mtime_ns])
    return digest([LAYOUT, gpus.unseen(), source, beside, list(script.arguments), script.metric, script.python])


def _sample(folder: Path, seed: int) -> Speedup:
    """A script that averages random numbers in a slow loop, its first seed drawn."""
    place = folder / f"script-{seed}"
    place.mkdir(exist_ok=True)
    to = place / "train.py"
    to.write_text(
        f"import random\nrandom.seed({seed})\ntotal = 0.0\nfor at in range(20000):\n    total += random.random()\n"
        "print('loss', total / 20000)\n",
        encoding="utf-8",
    )
    script = Script(str(to), (), "loss")
    text = to.read_text(encoding="utf-8")
    return Speedup(script, text, text, "min", 0.5, 0.3, str(folder / "cache"), f"{seed:024d}")


CAPABILITY = Capability("speedup", Speedup, _sample)
