"""tune: the model and how it is trained, by a race in which the current model and default LightGBM always run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from trimtab.adapters.models.metrics import GOAL, require_metric
from trimtab.adapters.sources.dataset import Dataset, DataSpec, load, part
from trimtab.adapters.sources.tables import fingerprint
from trimtab.core.model import Evidence, Guardrail, Ladder, Measurement, Objective, Rung, Sample
from trimtab.core.ports import Capability
from trimtab.training.sample import cancer
from trimtab.training.selection.evidence import facts
from trimtab.training.selection.measure import FEWEST_ROWS, Setting, measured
from trimtab.training.selection.plan import CURRENT, DEFAULT, ModelPlan
from trimtab.training.selection.portfolio import portfolio as portfolio

BLOCKS = 20  # of the rows that plans are compared on, pair by pair; with 10, real gains often stay unproven
LEAST_BLOCK_ROWS = 60
LARGEST_LOOK = 0.3  # share of a full look's cost that a first one may have
LEAST_ROWS = 5_000  # with fewer, full looks cost next to nothing


@dataclass(frozen=True)
class Worth:
    """What a month costs: by this, a model that is as good and cheaper wins. Prices in dollars."""

    quality_value: float  # of one whole unit of the metric
    cpu_hour: float
    requests_per_month: float
    trainings_per_month: float
    tolerance: float  # of the metric, in its own unit: what may be lost at the most

    def dollars(self, loss: float, metrics: Mapping[str, float]) -> float:
        """A month's cost of a model: CPU time of training and of answering one row at a time, and lost quality."""
        training = self.trainings_per_month * metrics["train_cpu_seconds"]
        serving = self.requests_per_month * metrics["predict_ms_single"] / 1000
        return loss * self.quality_value + (training + serving) / 3600 * self.cpu_hour


@dataclass(frozen=True)
class Selection:
    """Choose a model for a table. Without a current model, default LightGBM is the current plan."""

    data: DataSpec
    metric: str
    cache: str = ""  # a folder where fits are kept between runs; empty: in memory only
    current: str = ""  # "file.py:function", relative to `folder`
    folder: str = "."
    threads: int = 1
    first_look: float = 1.0  # the first rung's fraction of a full look; 1: every look is a full one
    blocks: int = BLOCKS
    most_predict_us: float = 0.0  # CPU microseconds that a prediction, one of many, may cost; 0: no bound
    worth: Worth | None = None  # None: the best metric wins, whatever it costs
    code: str = ""  # a hash of the current model's source: an edited model is another study
    name: str = "tune"

    @property
    def goal(self) -> str:
        return f"predict {self.data.target} with the best {self.metric} on rows not seen yet"

    @property
    def plan_type(self) -> type[ModelPlan]:
        return ModelPlan

    @property
    def objective(self) -> Objective:
        rails = []
        if self.most_predict_us:
            rails.append(Guardrail("predict_us_per_row", self.most_predict_us, "at_most"))
        if self.worth is None:
            return Objective(self.metric, GOAL[self.metric], tuple(rails), unit=self.metric)
        side: Literal["at_least", "at_most"] = "at_least" if GOAL[self.metric] == "max" else "at_most"
        rails.append(Guardrail(self.metric, self.worth.tolerance, side, relative=True))
        return Objective("dollars_per_month", "min", tuple(rails), unit="$ a month")

    @property
    def ladder(self) -> Ladder:
        full = Rung(1.0, self.blocks)
        rungs = (full,) if self.first_look >= 1 else (Rung(self.first_look, self.blocks), full)
        return Ladder(rungs, holdout_seeds=self.blocks, finalists=1, keep=0.25, steadiest="models")

    @property
    def setting(self) -> Setting:
        """What fits depend on beside the plan."""
        data = self.data if self.data.fingerprint else self.data.stamped()
        return Setting(data, self.metric, self.current, self.folder, self.cache, self.threads)

    def observe(self) -> Evidence:
        """What the training rows show: statistics only, and nothing of the holdout."""
        rows = part(load(self.setting.data), self.data, "train")
        return Evidence(facts(rows, self.metric, self.data.time), Path(self.data.table).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, ModelPlan]:
        """The current model, and LightGBM as it comes."""
        return {"current": CURRENT, "lightgbm-default": DEFAULT} if self.current else {"current": DEFAULT}

    def measure(self, plan: ModelPlan, sample: Sample) -> Measurement:
        """The metric on one block of rows, by `sample.seed`; the fit behind it is shared by all blocks."""
        made = measured(self.setting, plan, sample, self.blocks)
        if self.worth is None:
            return made
        quality = made.metrics[self.metric]
        loss = quality if GOAL[self.metric] == "min" else 1 - quality
        return replace(made, metrics={**made.metrics, "dollars_per_month": self.worth.dollars(loss, made.metrics)})


def selecting(
    data: DataSpec, metric: str, *, cache: Path | None, current: str = "", folder: Path = Path(), threads: int = 1
) -> Selection:
    """The problem for a table, its race fitted to the number of rows.

    Raises InputError when the table, the target or the metric cannot be used.
    """
    data = data if data.fingerprint else data.stamped()
    dataset = load(data)
    require_metric(metric, dataset.task)
    rows = len(part(dataset, data, "train"))
    first_look = min(LARGEST_LOOK, FEWEST_ROWS / rows) if rows >= LEAST_ROWS else 1.0
    code = fingerprint(folder / (current.partition(".py:")[0] + ".py")) if current else ""
    return Selection(
        data=data,
        metric=metric,
        cache=str(cache or ""),
        current=current,
        folder=str(folder),
        threads=threads,
        first_look=first_look,
        blocks=blocks_for(dataset, data),
        code=code,
    )


def blocks_for(dataset: Dataset, data: DataSpec) -> int:
    """As many blocks as the rows allow, from 3 to 20."""
    fewest = min(len(part(dataset, data, "valid")), len(part(dataset, data, "holdout")))
    return max(3, min(BLOCKS, fewest // LEAST_BLOCK_ROWS))


def _sample(folder: Path, seed: int) -> Selection:
    return selecting(cancer(folder, seed), "log_loss", cache=folder / "cache")


CAPABILITY = Capability("tune", Selection, _sample)
