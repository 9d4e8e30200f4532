"""Replays a retraining policy over windows, and finds what hindsight would have done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trimtab.monitoring.retraining.plan import RetrainingPlan

Loss = Callable[[int, int], float]  # (model trained before window, window) → loss


@dataclass(frozen=True)
class Costs:
    """Dollars: one training, one label, and one unit of loss for the length of one window."""

    training: float
    label: float
    loss_window: float


@dataclass(frozen=True)
class Outcome:
    """What a policy did and cost over some windows."""

    trained_before: tuple[int, ...]
    dollars: float
    mean_loss: float
    labels: int


def replay(
    plan: RetrainingPlan, windows: range, loss: Loss, estimated: Callable[[int, int, int], float], costs: Costs
) -> Outcome:
    """Follow a policy; it starts with a model trained before the first window, which costs nothing here.

    `loss` is what happens; `estimated(model, window, labels)` is all that the policy sees of it, afterwards.
    """
    model = windows.start
    trained: list[int] = []
    losses: list[float] = []
    first_seen: float | None = None
    regret, labels = 0.0, 0
    is_due = False
    for window in windows:
        since = window - model
        if window > windows.start and (is_due or (plan.kind == "every" and since >= plan.windows)):
            model, first_seen, regret, is_due = window, None, 0.0, False
            trained.append(window)
        losses.append(loss(model, window))
        if plan.kind in ("triggered", "ski_rental"):
            labels += plan.labels
            seen = estimated(model, window, plan.labels)
            first_seen = seen if first_seen is None else first_seen
            regret += (seen - first_seen) * costs.loss_window
            rose = plan.kind == "triggered" and seen - first_seen > plan.rise
            is_due = rose or (plan.kind == "ski_rental" and regret >= plan.factor * costs.training)
    dollars = len(trained) * costs.training + labels * costs.label + sum(losses) * costs.loss_window
    return Outcome(tuple(trained), dollars, sum(losses) / len(losses), labels)


def hindsight(windows: range, loss: Loss, costs: Costs) -> Outcome:
    """The cheapest choice of windows to train before, knowing all losses: exact, by dynamic programming."""
    stop = windows.stop
    best: dict[int, tuple[float, tuple[int, ...]]] = {stop: (0.0, ())}
    for start in reversed(windows):
        options = []
        for end in range(start + 1, stop + 1):
            held = sum(loss(start, window) for window in range(start, end)) * costs.loss_window
            after, trainings = best[end]
            again = (end, *trainings) if end < stop else ()
            options.append((held + after + (costs.training if end < stop else 0.0), again))
        best[start] = min(options)
    dollars, trainings = best[windows.start]
    mean = (dollars - len(trainings) * costs.training) / costs.loss_window / len(windows) if costs.loss_window else 0.0
    return Outcome(trainings, dollars, mean, 0)
