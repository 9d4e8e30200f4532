"""Sums a run: what a month costs today, with the strong free defaults, and as chosen; the search is deducted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trimtab.bill import DAYS_PER_MONTH, Bill, MonthlyUse, monthly_bill, search_dollars
from trimtab.pipeline import Results, total
from trimtab.workplace import Workplace

WAYS = ("current", "free", "chosen")


@dataclass(frozen=True)
class Totals:
    """The three ways to run the pipeline, and what it cost to find the third."""

    current: Bill
    free: Bill
    chosen: Bill
    search_dollars: float
    note: str

    @property
    def saved_dollars(self) -> float:
        """Saved in the first month against today's pipeline, search deducted."""
        return self.current.dollars - self.chosen.dollars - self.search_dollars

    @property
    def saved_against_free_dollars(self) -> float:
        """The same against the strong free defaults."""
        return self.free.dollars - self.chosen.dollars - self.search_dollars


def totals(workplace: Workplace, results: Results) -> Totals | None:
    """The bills, or None when the stages that they rest on did not run."""
    if not {"tune", "retrain", "scale"} <= set(results):
        return None
    bills = {way: monthly_bill(_use(workplace, results, way), workplace.config.prices) for way in WAYS}
    prices, serving = workplace.config.prices, workplace.config.serving
    note = (
        f"By the stated prices: ${prices.cpu_hour} a CPU-hour, ${prices.gb_hour} a GB-hour, {prices.cpu_watts} W a "
        f"booked core, {prices.co2_per_kwh} g CO2 a kWh, ${prices.label} a label; replicas of {serving.replica_cpus} "
        f"cores and {serving.replica_gb} GB. Today: its own model and form, replicas for the peak. Free defaults: "
        "default LightGBM, its own predict, HPA at 70 %. Booked cores count whether busy or not."
    )
    return Totals(bills["current"], bills["free"], bills["chosen"], search_dollars(total(results), prices), note)


def _use(workplace: Workplace, results: Results, way: str) -> MonthlyUse:
    serving = workplace.config.serving
    tune: Any = results["tune"].facts["ways"]
    retrain: Any = results["retrain"].facts["ways"]
    scale: Any = results["scale"].facts["ways"]
    replica_hours = scale[way]["replica_hours_per_day"] * DAYS_PER_MONTH
    return MonthlyUse(
        training_cpu_hours=tune[way]["train_cpu_seconds"] / 3600 * retrain[way]["trainings_per_month"],
        serving_cpu_hours=replica_hours * serving.replica_cpus,
        serving_gb_hours=replica_hours * serving.replica_gb,
        labels=retrain[way]["labels_per_month"],
        training_dollars=retrain[way]["trainings_per_month"] * workplace.config.production.training_dollars,
    )
