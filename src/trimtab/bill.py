"""One bill per month: what a way to run the pipeline costs in money, CPU-hours, kWh and CO2, by the stated prices."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.config import Prices
from trimtab.core.model import Spend

HOURS_PER_MONTH = 730.0
DAYS_PER_MONTH = HOURS_PER_MONTH / 24


@dataclass(frozen=True)
class MonthlyUse:
    """What one way to run the pipeline uses in a month. Booked cores count whether they are busy or not."""

    training_cpu_hours: float
    serving_cpu_hours: float
    serving_gb_hours: float
    labels: float = 0.0
    training_dollars: float = 0.0  # beside the CPU time


@dataclass(frozen=True)
class Bill:
    """A month's bill. `dollars` covers compute, memory and labels; energy is inside the price of a CPU-hour."""

    training_dollars: float
    serving_dollars: float
    label_dollars: float
    cpu_hours: float
    kwh: float
    co2_kg: float

    @property
    def dollars(self) -> float:
        return self.training_dollars + self.serving_dollars + self.label_dollars


def monthly_bill(use: MonthlyUse, prices: Prices) -> Bill:
    """Price a month's use."""
    cpu_hours = use.training_cpu_hours + use.serving_cpu_hours
    kwh = cpu_hours * prices.cpu_watts / 1000
    return Bill(
        training_dollars=use.training_cpu_hours * prices.cpu_hour + use.training_dollars,
        serving_dollars=use.serving_cpu_hours * prices.cpu_hour + use.serving_gb_hours * prices.gb_hour,
        label_dollars=use.labels * prices.label,
        cpu_hours=cpu_hours,
        kwh=kwh,
        co2_kg=kwh * prices.co2_per_kwh / 1000,
    )


def search_dollars(spent: Spend, prices: Prices) -> float:
    """What a search cost: its CPU time by the stated price, and what a language model charged."""
    return spent.cpu_seconds / 3600 * prices.cpu_hour + spent.dollars
