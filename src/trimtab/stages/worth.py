"""What a better or a cheaper model is worth in a month, by the stated prices and requests."""

from __future__ import annotations

from trimtab.bill import DAYS_PER_MONTH
from trimtab.cluster.scaling.problem import history
from trimtab.stages.traffic import traffic_of
from trimtab.training.selection.problem import Worth
from trimtab.workplace import Workplace


def worth_of(workplace: Workplace) -> Worth | None:
    """By the traffic, or the requests a month where no traffic is known; None where neither is."""
    config = workplace.config
    requests = config.traffic.requests_per_month
    if config.traffic.times:
        requests = float(history(traffic_of(workplace)).rates.mean()) * 86400 * DAYS_PER_MONTH
    if not requests:
        return None
    return Worth(
        quality_value=config.production.quality_value,
        cpu_hour=config.prices.cpu_hour,
        requests_per_month=requests,
        trainings_per_month=config.model.trainings_per_month,
        tolerance=config.model.tolerance,
    )
