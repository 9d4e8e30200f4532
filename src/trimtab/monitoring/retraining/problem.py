"""retrain: the policy that costs least over production: trainings, labels, and the worth of lost quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.adapters.models import boosting
from trimtab.adapters.models.artifact import Fitted
from trimtab.adapters.models.learn_encoding import encode, learn
from trimtab.adapters.models.metrics import GOAL
from trimtab.adapters.sources.dataset import Dataset, DataSpec
from trimtab.core.errors import InputError
from trimtab.core.model import Brief, Evidence, Json, Ladder, Measurement, Objective, Proposal, Rung, Sample
from trimtab.core.ports import Capability
from trimtab.monitoring.performance.estimate import LEAST_LABELS, estimate, sample_rows
from trimtab.monitoring.retraining.losses import (
    Production,
    loss_between,
    model_before,
    production_rows,
    production_windows,
    training_cpu_seconds,
)
from trimtab.monitoring.retraining.plan import ALWAYS, NEVER, SKI_RENTAL, TRIGGERED, RetrainingPlan
from trimtab.monitoring.retraining.replay import Costs, Outcome, hindsight, replay

LEAST_WINDOWS = 6
DAYS_PER_MONTH = 365 / 12
ROWS_SHARE = 0.5  # of each window's rows that one sample looks at: what differs between samples


@dataclass(frozen=True)
class Retraining:
    """Choose a policy. Search: the first half of the production windows; holdout: the second half.

    `quality_value`: dollars a month for one unit of the metric; `training_dollars`: what one training costs beside CPU.
    """

    production: Production
    quality_value: float
    cpu_hour: float
    label: float
    training_dollars: float = 0.0
    current: RetrainingPlan = NEVER
    name: str = "retrain"
    goal: str = "train again when it pays, and only then"

    @property
    def plan_type(self) -> type[RetrainingPlan]:
        return RetrainingPlan

    @property
    def objective(self) -> Objective:
        return Objective("dollars_per_month", "min", unit="$ a month")

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(1.0, 6),), holdout_seeds=6)

    def observe(self) -> Evidence:
        """Windows and prices."""
        facts: dict[str, Json] = {
            "windows": len(production_windows(self.production)),
            "days_per_window": self.window_days,
            "metric": self.production.metric,
            "training_dollars": self.costs.training,
            "label_dollars": self.label,
            "dollars_per_unit_of_loss_and_window": self.costs.loss_window,
        }
        return Evidence(facts, Path(self.production.data.table).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, RetrainingPlan]:
        """Today's policy, the two extremes and two that look at bought labels."""
        return {
            "current": self.current,
            "never": NEVER,
            "every-window": ALWAYS,
            "triggered": TRIGGERED,
            "ski-rental": SKI_RENTAL,
        }

    def measure(self, plan: RetrainingPlan, sample: Sample) -> Measurement:
        """Replay a policy over one half of the windows, on a half of each window's rows drawn by the seed."""
        made = self.outcome(plan, self.half(sample.split), sample.seed)
        best = hindsight(self.half(sample.split), self._loss(sample.seed), self.costs)
        months = len(self.half(sample.split)) * self.window_days / DAYS_PER_MONTH
        metrics = {
            "dollars_per_month": made.dollars / months,
            "trainings_per_month": len(made.trained_before) / months,
            "labels_per_month": made.labels / months,
            "mean_loss": made.mean_loss,
            "regret_dollars_per_month": (made.dollars - best.dollars) / months,
        }
        return Measurement(metrics, "replay")

    def outcome(self, plan: RetrainingPlan, windows: range, seed: int | None) -> Outcome:
        """What a policy does over some windows; without a seed, on all of their rows."""
        return replay(plan, windows, self._loss(seed), self._estimated(seed or 0), self.costs)

    def best(self, windows: range) -> Outcome:
        """What hindsight does over some windows, on all of their rows."""
        return hindsight(windows, self._loss(None), self.costs)

    def half(self, split: str) -> range:
        """The windows of a half. Raises InputError when there are too few of them."""
        count = len(production_windows(self.production))
        if count < LEAST_WINDOWS:
            raise InputError(f"production has {count} windows, {LEAST_WINDOWS} are needed", hint="shorter window_days")
        return range(0, count // 2) if split == "search" else range(count // 2, count)

    @property
    def window_days(self) -> float:
        """Days in one (joined) window, on average."""
        made = production_windows(self.production)
        whole = len(made)
        joined = max(1, round(whole and _windows_before_joining(self.production) / whole))
        return float(self.production.window_days * joined)

    @property
    def costs(self) -> Costs:
        """What things cost, by the prices and the measured training time."""
        training = training_cpu_seconds(self.production) / 3600 * self.cpu_hour + self.training_dollars
        return Costs(training, self.label, self.quality_value * self.window_days / DAYS_PER_MONTH)

    def _loss(self, seed: int | None) -> Any:
        def loss(model: int, window: int) -> float:
            return loss_between(self.production, model, window, self._rows(window, seed))

        return loss

    def _rows(self, window: int, seed: int | None) -> Any:
        if seed is None:
            return None
        place = production_windows(self.production)[window]
        count = place.stop - place.start
        return np.flatnonzero(np.random.default_rng([window, seed]).random(count) < ROWS_SHARE)

    def _estimated(self, seed: int) -> Any:
        def estimated(model: int, window: int, labels: int) -> float:
            windows = production_windows(self.production)
            place, offset = windows[window], windows[model].start
            predicted = model_before(self.production, model).predicted[place.start - offset : place.stop - offset]
            bought = sample_rows(len(predicted), max(LEAST_LABELS, labels), seed * 1000 + window)
            y = production_rows(self.production).y[place][bought]
            found = estimate(self.production.metric, predicted, bought, y)
            return found.mid if GOAL[self.production.metric] == "min" else 1 - found.mid

        return estimated


def ideas(brief: Brief[Any]) -> Sequence[Proposal[RetrainingPlan]]:
    """Calendars of other lengths, and triggers of other sensitivity."""
    plans = [
        RetrainingPlan("every", windows=2),
        RetrainingPlan("every", windows=3),
        RetrainingPlan("every", windows=4),
        replace(TRIGGERED, rise=0.02, labels=200),
        replace(SKI_RENTAL, labels=200),
        replace(SKI_RENTAL, factor=0.5, labels=200),
    ]
    return [Proposal(plan, "ideas", "a usual policy") for plan in plans]


def train_default(recipe: Mapping[str, Json], rows: Dataset) -> Fitted:
    """LightGBM with the recipe's `rounds`: the trainer of the contract checks, and a simple one for users."""
    encoding = learn(rows)
    rounds = recipe.get("rounds", 100)
    training = boosting.Training(
        rows.task, max(2, len(rows.classes)), rounds=rounds if isinstance(rounds, int) else 100
    )
    booster = boosting.fit(encode(rows, encoding), rows.y, training, categorical=encoding.categorical_features)
    return Fitted(encoding, rows.task, rows.classes, booster)


def _windows_before_joining(production: Production) -> int:
    from trimtab.monitoring.windows import windows

    return len(windows(production_rows(production), production.data, production.window_days))


def _sample(folder: Path, seed: int) -> Retraining:
    """Rows whose rule turns slowly, drawn by the seed."""
    import pyarrow as pa
    import pyarrow.parquet

    rng = np.random.default_rng(seed)
    count = 4000
    x = rng.normal(size=(count, 3))
    turn = np.linspace(0, 1.5, count)
    y = (x[:, 0] * np.cos(turn) + x[:, 1] * np.sin(turn) + rng.normal(0, 0.5, count) > 0).astype(int)
    day = np.datetime64("2026-01-01") + np.arange(count) // 40
    columns = {"day": day.astype("datetime64[ms]"), "a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": y}
    to = folder / f"turning-{seed}.parquet"
    pyarrow.parquet.write_table(pa.table(columns), to)
    data = DataSpec(str(to), "y", "day", exclude=("day",), search_share=0.3, holdout_share=0.1, fingerprint=str(seed))
    trainer = "trimtab.monitoring.retraining.problem:train_default"
    made = Production(data, "auc", trainer, {"rounds": 10}, 7, str(folder / "cache"))
    return Retraining(made, quality_value=2000.0, cpu_hour=0.04, label=0.02, training_dollars=5.0)


CAPABILITY = Capability("retrain", Retraining, _sample)
