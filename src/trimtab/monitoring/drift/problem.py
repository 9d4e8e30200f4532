"""drift: the detector that notices most at one false alarm in a hundred clean windows, measured on other days."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.adapters.sources.dataset import DataSpec, load, part
from trimtab.core.model import (
    Brief,
    Evidence,
    Guardrail,
    Ladder,
    Measurement,
    Objective,
    Proposal,
    Rung,
    Sample,
)
from trimtab.core.ports import Capability
from trimtab.monitoring.drift.counts import FINEST, Counts, count_by_day, learn_bins
from trimtab.monitoring.drift.detect import Detector, calibrate, clean_windows
from trimtab.monitoring.drift.plan import CALIBRATED, PSI, TEXTBOOK, DriftPlan

WINDOWS = 100  # clean windows a sample
SHIFTED = 40  # windows with one column shifted a sample
SHIFTS = (0.05, 0.1, 0.2)  # share of a column's values that move to its highest tenth, or go missing


@dataclass(frozen=True)
class DriftWatch:
    """Choose a detector. Days of the search part with even numbers serve the search, the odd ones the holdout."""

    data: DataSpec
    window_days: int = 7
    false_alarms_per_100: float = 1.0
    name: str = "drift"
    goal: str = "notice columns that moved, with at most one false alarm in a hundred clean windows"

    @property
    def plan_type(self) -> type[DriftPlan]:
        return DriftPlan

    @property
    def objective(self) -> Objective:
        rail = Guardrail("false_alarms_per_100", self.false_alarms_per_100, "at_most")
        # What is noticed less what is cried without cause: a detector that always cries is worth nothing.
        return Objective("informed_share", "max", (rail,), unit="of shifts noticed")

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(0.3, 3), Rung(1.0, 6)), holdout_seeds=10)

    def observe(self) -> Evidence:
        """How many days, columns and rows there are to learn from."""
        daily = by_day(self.data)
        facts = {"days": len(daily), "columns": daily.shape[1], "rows": float(daily[:, 0].sum())}
        return Evidence(facts, Path(self.data.table).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, DriftPlan]:
        """What common tools do: KS at 5 % for each column, and PSI above 0.2."""
        return {"current": TEXTBOOK, "psi": PSI, "calibrated": CALIBRATED}

    def measure(self, plan: DriftPlan, sample: Sample) -> Measurement:
        """False alarms on clean windows, and how many windows with one shifted column are noticed."""
        daily = by_day(self.data)
        days = daily[0::2] if sample.split == "search" else daily[1::2]
        rng = np.random.default_rng([sample.seed, sample.split == "holdout"])
        clean, _ = clean_windows(days, self.window_days, max(10, int(WINDOWS * sample.fraction)), rng)
        detector = self.detector(plan, on_even_days=True)
        alarms = detector.moved(np.stack(clean)).any(axis=1)
        shifted = [_shifted(clean[i % len(clean)], rng) for i in range(max(8, int(SHIFTED * sample.fraction)))]
        windows = np.stack([window for window, _ in shifted])
        moved = detector.moved(windows)
        found = [bool(moved[i, column]) for i, (_, column) in enumerate(shifted)]
        cried, noticed = float(alarms.mean()), float(np.mean(found))
        metrics = {"informed_share": noticed - cried, "false_alarms_per_100": 100 * cried, "detected_share": noticed}
        return Measurement(metrics, "simulation")

    def detector(self, plan: DriftPlan, *, on_even_days: bool = False) -> Detector:
        """The plan, calibrated on all days; while it is being judged, on the even ones only."""
        return _calibrated(self.data, self.window_days, plan, on_even_days)


@functools.lru_cache(maxsize=32)
def _calibrated(data: DataSpec, window_days: int, plan: DriftPlan, on_even_days: bool) -> Detector:
    daily = by_day(data)
    return calibrate(plan, daily[0::2] if on_even_days else daily, window_days, seed=0)


@functools.lru_cache(maxsize=4)
def by_day(data: DataSpec) -> Counts:
    """The search part's counts by day."""
    reference = part(load(data), data, "search")
    return count_by_day(reference, data, learn_bins(reference, data))


def ideas(brief: Brief[Any]) -> Sequence[Proposal[DriftPlan]]:
    """Calibrated detectors of each statistic, at a few levels."""
    return [
        Proposal(DriftPlan(statistic, "calibrated", alpha, bins=bins), "ideas", "thresholds from clean windows")
        for statistic, bins in (("distance", 64), ("psi", 16), ("chi2", 16))
        for alpha in (0.003, 0.008)
    ]


def _shifted(window: Counts, rng: np.random.Generator) -> tuple[Counts, int]:
    """The window with a share of one column's values moved to the highest tenth of its bins, or gone missing."""
    shifted = window.copy()
    column = int(rng.integers(window.shape[0]))
    moved = shifted[column] * SHIFTS[int(rng.integers(len(SHIFTS)))]
    shifted[column] -= moved
    if rng.random() < 0.5:
        shifted[column, FINEST] += moved.sum()
    else:
        used = np.flatnonzero(window[column, :FINEST])
        highest = used[-max(1, len(used) // 10) :] if len(used) else np.array([0])
        shifted[column, highest] += moved.sum() / len(highest)
    return shifted, column


def _sample(folder: Path, seed: int) -> DriftWatch:
    """Eighty days of three columns, drawn by the seed."""
    import pyarrow as pa
    import pyarrow.parquet

    rng = np.random.default_rng(seed)
    count = 8000
    day = np.sort(rng.integers(0, 80, count))
    table = pa.table(
        {
            "day": (np.datetime64("2026-01-01") + day).astype("datetime64[ms]"),
            "a": rng.normal(size=count),
            "b": rng.exponential(size=count),
            "c": rng.choice(["x", "y", "z"], count),
            "y": rng.integers(0, 2, count),
        }
    )
    to = folder / f"days-{seed}.parquet"
    pyarrow.parquet.write_table(table, to)
    return DriftWatch(DataSpec(str(to), "y", "day", search_share=0.8, fingerprint=str(seed)))


CAPABILITY = Capability("drift", DriftWatch, _sample)
