"""convert: the form that a trained model is served in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trimtab.adapters.models.artifact import load_fitted, model_bytes, save
from trimtab.adapters.models.metrics import GOAL, require_metric
from trimtab.adapters.sources.dataset import DataSpec, load, part
from trimtab.adapters.sources.tables import fingerprint
from trimtab.core.model import Brief, Evidence, Guardrail, Json, Ladder, Measurement, Objective, Proposal, Rung, Sample
from trimtab.core.ports import Capability
from trimtab.core.wire import digest
from trimtab.inference.conversion.forms import prepare
from trimtab.inference.conversion.measure import Setting, folder_of, measured
from trimtab.inference.conversion.plan import COMPILED, CURRENT, FEWER, INTERPRETER, ONNX, FormPlan

BLOCKS = 5
EXACT = 1e-12  # sums of leaves in another order; a form that is said to be exact is not off by more
MARGIN = 0.05  # below 5 % of the latency no change is worth it


@dataclass(frozen=True)
class Conversion:
    """Serve a model in the form that answers one raw row fastest.

    The reference of every timing is the library's own predict; measurements interleave both themselves.
    """

    data: DataSpec
    metric: str
    model: str  # the folder of a fitted model
    fingerprint: str  # of its files
    cache: str
    tolerance: float = 0.005
    most_difference: float = EXACT  # below 0: answers may differ, the metric alone decides
    seconds: float = 0.5  # of timing in one measurement
    name: str = "convert"

    @property
    def goal(self) -> str:
        return "answer one row sooner, with the same answers"

    @property
    def plan_type(self) -> type[FormPlan]:
        return FormPlan

    @property
    def objective(self) -> Objective:
        side = "at_least" if GOAL[self.metric] == "max" else "at_most"
        rails = [Guardrail(self.metric, self.tolerance, side, relative=True)]  # type: ignore[arg-type]
        if self.most_difference >= 0:
            rails.append(Guardrail("max_difference", self.most_difference, "at_most"))
        return Objective("served_ratio", "min", tuple(rails), MARGIN, "ratio", "latency of one row")

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(1.0, BLOCKS),), holdout_seeds=BLOCKS, finalists=3)

    @property
    def setting(self) -> Setting:
        return Setting(self.data, self.metric, self.model, self.fingerprint, self.cache, self.seconds)

    def observe(self) -> Evidence:
        """What kind of model it is, and how large."""
        fitted = load_fitted(Path(self.model))
        booster: Any = fitted.predictor
        facts: dict[str, Json] = {
            "kind": type(booster).__name__,
            "task": fitted.task,
            "features": len(fitted.encoding.feature_names),
            "trees": int(booster.num_trees()) if hasattr(booster, "num_trees") else 0,
            "bytes": model_bytes(Path(self.model)),
            "exact": self.most_difference >= 0,
        }
        return Evidence(facts, Path(self.model).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, FormPlan]:
        """The library's own predict; ONNX Runtime, as most would convert."""
        return {"current": CURRENT, "onnx": ONNX}

    def measure(self, plan: FormPlan, sample: Sample) -> Measurement:
        """Time the form beside the reference on one block of rows, and check its answers."""
        return measured(self.setting, plan, sample, BLOCKS)

    def write(self, plan: FormPlan) -> Path:
        """The folder of the chosen form, for packaging."""
        return folder_of(self.setting, plan)


def converting(
    data: DataSpec, metric: str, model: Path, *, cache: Path, tolerance: float = 0.005, exact: bool = True
) -> Conversion:
    """The problem for a fitted model's folder. Raises InputError when model, data or metric cannot be used."""
    data = data if data.fingerprint else data.stamped()
    require_metric(metric, load_fitted(model).task)
    return Conversion(
        data, metric, str(model), model_fingerprint(model), str(cache), tolerance, EXACT if exact else -1.0
    )


def convert(model: Path, plan: FormPlan, cache: Path) -> Path:
    """Write a model in a form; returns its folder. Raises ValueError when the model cannot take it."""
    return prepare(model, model_fingerprint(model), plan, cache)


def model_fingerprint(model: Path) -> str:
    """A hash over the files of a fitted model."""
    return digest([[file.name, fingerprint(file)] for file in sorted(model.iterdir())])


def ideas(brief: Brief[Any]) -> Sequence[Proposal[FormPlan]]:
    """Every form that ever won, best first."""
    found = [
        (COMPILED, "trees as native code"),
        (INTERPRETER, "a bit-exact interpreter"),
        (FEWER, "half of the trees"),
    ]
    return [Proposal(plan, "forms", because) for plan, because in found]


def _sample(folder: Path, seed: int) -> Conversion:
    """Breast cancer (bundled with scikit-learn) in an order drawn by the seed, and a small boosted model."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet
    from sklearn.datasets import load_breast_cancer

    from trimtab.adapters.models.artifact import Fitted
    from trimtab.adapters.models.boosting import Training, fit
    from trimtab.adapters.models.learn_encoding import encode, learn

    to, model = folder / f"cancer-{seed}.parquet", folder / f"model-{seed}"
    data = DataSpec(str(to), "benign", search_share=0.6, holdout_share=0.3)
    if not to.exists():
        found = load_breast_cancer()
        order = np.random.default_rng(seed).permutation(len(found.target))
        columns = {f"c{i}": found.data[order, i] for i in range(8)} | {"benign": found.target[order]}
        pyarrow.parquet.write_table(pa.table(columns), to)
    if not model.exists():
        rows = part(load(data.stamped()), data, "train")
        encoding = learn(rows)
        booster = fit(encode(rows, encoding), rows.y, Training("binary", rounds=20, seed=seed))
        save(model, Fitted(encoding, "binary", rows.classes, booster), {})
    data = data.stamped()
    cache = str(folder / "cache")
    return Conversion(data, "log_loss", str(model), model_fingerprint(model), cache, 0.01, seconds=0.03)


CAPABILITY = Capability("convert", Conversion, _sample)
