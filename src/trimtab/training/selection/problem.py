"""tune: which model, trained how, predicts best. The user's own model and plain LightGBM are always in the race."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from trimtab.adapters.models.metrics import GOAL, require_metric
from trimtab.adapters.sources.dataset import DataSpec, Dataset, load, part
from trimtab.core.model import Evidence, Guardrail, Ladder, Measurement, Objective, Rung, Sample
from trimtab.core.ports import Capability
from trimtab.training.selection.evidence import facts
from trimtab.training.selection.measure import Setting, measured
from trimtab.training.selection.plan import CURRENT, DEFAULT, Selection

PIECES = 10
LEAST_BLOCK_ROWS = 60
FIRST_LOOK = 0.2
LEAST_ROWS_FOR_A_LOOK = 8_000  # below, a full fit is cheap and a part of the rows misleads


@dataclass(frozen=True)
class Selecting:
    """Choose a model for a table. Without `current`, plain LightGBM is the current plan."""

    data: DataSpec
    metric: str
    current: str = ""  # "file.py:function" of the user's model
    folder: str = ""  # that `current` is relative to
    cache: str = ""  # folder where fits are kept between runs; empty: in memory only
    pieces: int = PIECES  # blocks of rows that plans are compared on, pair by pair
    first_look: float = FIRST_LOOK  # share of the rows on the first rung; 1: there is only one
    most_predict_us: float = 0.0  # CPU microseconds that one prediction in a batch may cost; 0: no bound
    name: str = "tune"
    goal: str = "find the model that predicts best on rows it has not seen"

    @property
    def plan_type(self) -> type[Selection]:
        return Selection

    @property
    def objective(self) -> Objective:
        bound = Guardrail("predict_us_per_row", self.most_predict_us, "at_most")
        return Objective(self.metric, GOAL[self.metric], (bound,) if self.most_predict_us else (), unit=self.metric)

    @property
    def ladder(self) -> Ladder:
        full = Rung(1.0, self.pieces)
        rungs = (full,) if self.first_look >= 1 else (Rung(self.first_look, self.pieces), full)
        return Ladder(rungs, holdout_seeds=self.pieces, finalists=2, keep=0.25)

    @property
    def setting(self) -> Setting:
        """What fits depend on beside the plan."""
        data = self.data if self.data.fingerprint else self.data.stamped()
        return Setting(data, self.metric, self.current, self.folder, self.cache)

    def observe(self) -> Evidence:
        """What the search part shows: never a row of the holdout."""
        rows = part(load(self.setting.data), self.data, "search")
        return Evidence(facts(rows, self.metric, self.data.time), Path(self.data.table).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, Selection]:
        if self.current:
            return {"current": CURRENT, "lightgbm-default": DEFAULT}
        return {"current": DEFAULT}

    def measure(self, plan: Selection, sample: Sample) -> Measurement:
        """The metric on one block of rows, by `sample.seed`; the fit behind it is shared by all blocks."""
        return measured(self.setting, plan, sample, self.pieces)


def selecting(
    data: DataSpec,
    metric: str,
    *,
    current: tuple[str, Path] | None = None,
    cache: Path | None = None,
    most_predict_us: float = 0.0,
) -> Selecting:
    """The problem for a table, its race fitted to the number of rows. `current`: import path and its folder.

    Raises InputError when the table, the target or the metric cannot be used.
    """
    data = data if data.fingerprint else data.stamped()
    dataset = load(data)
    require_metric(metric, dataset.task)
    source, folder = (current[0], str(current[1])) if current else ("", "")
    return Selecting(
        data,
        metric,
        source,
        folder,
        str(cache) if cache else "",
        _pieces(dataset, data),
        FIRST_LOOK if len(part(dataset, data, "train")) >= LEAST_ROWS_FOR_A_LOOK else 1.0,
        most_predict_us,
    )


def _pieces(dataset: Dataset, data: DataSpec) -> int:
    fewest = min(len(part(dataset, data, "valid")), len(part(dataset, data, "holdout")))
    return max(3, min(PIECES, fewest // LEAST_BLOCK_ROWS))


def sample(folder: Path, seed: int) -> Selecting:
    """Breast cancer (569 rows, bundled with scikit-learn), shuffled by the seed."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet
    from sklearn.datasets import load_breast_cancer

    bundled = load_breast_cancer()
    order = np.random.default_rng(seed).permutation(len(bundled.target))
    columns = {name: bundled.data[order, place] for place, name in enumerate(bundled.feature_names)}
    file = folder / f"cancer-{seed}.parquet"
    pyarrow.parquet.write_table(pa.table({**columns, "is_benign": bundled.target[order]}), file)
    return selecting(DataSpec(str(file), "is_benign"), "log_loss")


CAPABILITY = Capability("tune", Selecting, sample)
