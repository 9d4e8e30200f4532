"""shrink: a smaller model in the place of today's, by a month's dollars or by what a prediction costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from trimtab.adapters.models.metrics import GOAL, require_metric
from trimtab.adapters.sources.dataset import DataSpec, load, part
from trimtab.adapters.sources.tables import fingerprint
from trimtab.core.errors import InputError
from trimtab.core.model import Evidence, Guardrail, Ladder, Measurement, Objective, Rung, Sample
from trimtab.core.ports import Capability
from trimtab.training.architecture.measure import measured
from trimtab.training.architecture.plan import CURRENT, ShrinkPlan
from trimtab.training.architecture.students import Setting
from trimtab.training.sample import cancer
from trimtab.training.selection.evidence import facts
from trimtab.training.selection.plan import DEFAULT, ModelPlan
from trimtab.training.selection.problem import LEAST_BLOCK_ROWS, Worth, blocks_for

BLOCKS = 10  # of the holdout, that plans are compared on pair by pair
SEARCH_BLOCKS = 4  # at the most: while searching means decide, and each block costs a timing
LEAST_ROWS = 100  # to train on, to score on and to confirm on, each a share of it
FINALISTS = 4  # each keeps a wider distance from the tolerance: what only just holds often breaks on the holdout
MARGIN = 0.05  # below 5 % of a prediction no change is worth it


@dataclass(frozen=True)
class Shrink:
    """Put a smaller model in the place of today's, which loses no more than `tolerance` of the metric."""

    data: DataSpec
    metric: str
    model: ModelPlan  # today's
    current: str = ""  # "file.py:function", relative to `folder`, when `model` is the user's own
    folder: str = "."
    cache: str = ""
    code: str = ""
    tolerance: float = 0.005
    worth: Worth | None = None  # None: the cheapest prediction wins
    blocks: int = BLOCKS  # of the holdout
    search_blocks: int = SEARCH_BLOCKS
    seconds: float = 0.02  # of each timing
    name: str = "shrink"

    @property
    def goal(self) -> str:
        return f"predict {self.data.target} with a smaller model that is nearly as good"

    @property
    def plan_type(self) -> type[ShrinkPlan]:
        return ShrinkPlan

    @property
    def objective(self) -> Objective:
        side: Literal["at_least", "at_most"] = "at_least" if GOAL[self.metric] == "max" else "at_most"
        # The first holds on the mean and spreads the finalists; the second holds by its confidence bound.
        rails = (
            Guardrail("loss", self.tolerance, "at_most"),
            Guardrail(self.metric, self.tolerance, side, relative=True),
        )
        if self.worth is None:
            return Objective("predict_ratio", "min", rails, MARGIN, "ratio", "CPU time of a prediction")
        return Objective("dollars_per_month", "min", rails, unit="$ a month")

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(1.0, self.search_blocks),), holdout_seeds=self.blocks, finalists=FINALISTS)

    @property
    def setting(self) -> Setting:
        """What fits depend on beside the plan."""
        return Setting(
            self.data, self.metric, self.model, self.current, self.folder, self.cache, self.code, self.seconds
        )

    def observe(self) -> Evidence:
        """What the training rows show: statistics only, and nothing of the holdout."""
        rows = part(load(self.data), self.data, "train")
        return Evidence(facts(rows, self.metric, self.data.time), Path(self.data.table).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, ShrinkPlan]:
        """Today's model."""
        return {"current": CURRENT}

    def measure(self, plan: ShrinkPlan, sample: Sample) -> Measurement:
        """Quality and times on one block of rows; the fit behind them is shared by all blocks, and by what is cut."""
        pieces = self.search_blocks if sample.split == "search" else self.blocks
        made = measured(self.setting, plan, sample, pieces)
        if self.worth is None:
            return made
        quality = made.metrics[self.metric]
        lost = quality if GOAL[self.metric] == "min" else 1 - quality
        return replace(made, metrics={**made.metrics, "dollars_per_month": self.worth.dollars(lost, made.metrics)})


def shrinking(
    data: DataSpec, metric: str, model: ModelPlan, *, cache: Path | None, current: str = "", folder: Path = Path()
) -> Shrink:
    """The problem for a table and today's model.

    Raises InputError when the table, the target or the metric cannot be used, or there are too few rows.
    """
    data = data if data.fingerprint else data.stamped()
    dataset = load(data)
    require_metric(metric, dataset.task)
    if len(dataset) < LEAST_ROWS:
        raise InputError(f"{data.table} has {len(dataset)} usable rows", hint=f"at least {LEAST_ROWS} are needed")
    place, is_call, _ = current.partition(".py:")
    if not is_call and (current or model.family == "current"):
        raise InputError(f"model.current = {current!r} is no import path", hint="write it as 'file.py:function'")
    code = fingerprint(folder / f"{place}.py") if current else ""
    return Shrink(
        data,
        metric,
        model,
        current,
        str(folder),
        str(cache or ""),
        code,
        blocks=min(BLOCKS, blocks_for(dataset, data)),
        search_blocks=max(2, min(SEARCH_BLOCKS, len(part(dataset, data, "valid")) // LEAST_BLOCK_ROWS)),
    )


def _sample(folder: Path, seed: int) -> Shrink:
    return replace(shrinking(cancer(folder, seed), "log_loss", DEFAULT, cache=None), tolerance=0.05, seconds=0.002)


CAPABILITY = Capability("shrink", Shrink, _sample)
