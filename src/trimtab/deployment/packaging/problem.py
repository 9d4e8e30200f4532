"""package: how a model is served, judged by real services under real load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trimtab.adapters.sources.dataset import DataSpec
from trimtab.core.model import Brief, Evidence, Guardrail, Json, Ladder, Measurement, Objective, Proposal, Rung, Sample
from trimtab.core.ports import Capability
from trimtab.deployment.packaging.measure import Setting, measured
from trimtab.deployment.packaging.plan import CHOSEN, CURRENT, ServicePlan

RUNS = 4
MARGIN = 0.1  # neighbours on the same cores shift the CPU time of equal requests by some per cent


@dataclass(frozen=True)
class Packaging:
    """Serve a model for the least CPU time a request, within the latency objective.

    `chosen` and `current` are folders of forms; without a current one, the chosen form as it comes is the current plan.
    """

    data: DataSpec
    chosen: str
    cache: str
    current: str = ""
    latency_ms: float = 100.0
    seconds: float = 1.0  # of one load run
    requests: int = 4000
    own_environment: bool = True
    name: str = "package"

    @property
    def goal(self) -> str:
        return "answer each request for the least CPU time, within the latency objective"

    @property
    def plan_type(self) -> type[ServicePlan]:
        return ServicePlan

    @property
    def objective(self) -> Objective:
        rails = (Guardrail("p99_ms", self.latency_ms, "at_most"), Guardrail("errors", 0.0, "at_most"))
        return Objective("cpu_ms_per_request", "min", rails, MARGIN, "ratio", "CPU a request")

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(1.0, RUNS),), holdout_seeds=RUNS, finalists=2)

    @property
    def setting(self) -> Setting:
        return Setting(
            self.data,
            self.chosen,
            self.current or self.chosen,
            self.cache,
            self.seconds,
            self.requests,
            self.own_environment,
        )

    def observe(self) -> Evidence:
        """What is served, and how long one load run is."""
        facts: dict[str, Json] = {
            "has_current": bool(self.current),
            "latency_ms": self.latency_ms,
            "seconds": self.seconds,
        }
        return Evidence(facts, Path(self.chosen).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, ServicePlan]:
        """Today's pickled model behind the same service, and the chosen form with plain options."""
        return {"current": CURRENT, "plain": CHOSEN} if self.current else {"current": CHOSEN}

    def measure(self, plan: ServicePlan, sample: Sample) -> Measurement:
        """One load run; the seed shifts the rows."""
        return measured(self.setting, plan, sample)


def ideas(brief: Brief[Any]) -> Sequence[Proposal[ServicePlan]]:
    """What usually helps."""
    found = [
        (CHOSEN, "the converted form, one worker"),
        (ServicePlan("chosen", workers=2), "a worker for each of two cores"),
        (ServicePlan("chosen", batch_window_ms=1.0), "rows of one millisecond together"),
    ]
    return [Proposal(plan, "serving", because) for plan, because in found]


def _sample(folder: Path, seed: int) -> Packaging:
    """A small boosted model on bundled data, served from this environment and kept alive between measurements."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet
    from sklearn.datasets import load_breast_cancer

    from trimtab.adapters.models.artifact import Fitted
    from trimtab.adapters.models.boosting import Training, fit
    from trimtab.adapters.models.learn_encoding import encode, learn
    from trimtab.adapters.sources.dataset import load, part

    to, form = folder / f"cancer-{seed}.parquet", folder / f"form-{seed}"
    data = DataSpec(str(to), "benign", search_share=0.6, holdout_share=0.3)
    if not to.exists():
        found = load_breast_cancer()
        order = np.random.default_rng(seed).permutation(len(found.target))
        columns = {f"c{i}": found.data[order, i] for i in range(8)} | {"benign": found.target[order]}
        pyarrow.parquet.write_table(pa.table(columns), to)
    data = data.stamped()
    if not form.exists():
        rows = part(load(data), data, "train")
        encoding = learn(rows)
        booster = fit(encode(rows, encoding), rows.y, Training("binary", rounds=20, seed=seed))
        _write_native(Fitted(encoding, "binary", rows.classes, booster), form)
    return Packaging(data, str(form), str(folder / "cache"), requests=60, seconds=1.0, own_environment=False)


def _write_native(fitted: Any, folder: Path) -> None:
    # Forms are made by the conversion area, which areas may not import: the plainest one is two files.
    import json

    folder.mkdir(parents=True)
    fitted.predictor.save_model(str(folder / "model.txt"))
    about = {"kind": "native", "task": fitted.task, "classes": list(fitted.classes), "reads_frames": False}
    about["encoding"] = json.loads(fitted.encoding.to_json())
    (folder / "form.json").write_text(json.dumps(about), encoding="utf-8")


CAPABILITY = Capability("package", Packaging, _sample)
