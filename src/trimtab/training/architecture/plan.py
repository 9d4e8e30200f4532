"""What `shrink` may choose: a smaller model in the place of today's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trimtab.core.space import Choice, Float, Int, When

MOST_TREES = 128
STUDENT = When("kind", "boosted", "linear", "network")
TAUGHT = When("kind", "boosted", "network")
BOOSTED = When("kind", "boosted")


@dataclass(frozen=True)
class ShrinkPlan:
    """A model.

    Kinds: `current` is today's; `cut` its first trees; `boosted`, `linear` and `network` are small models trained in
    its place; `resized` is today's with another width and depth, where its function or its torch module has them.
    """

    kind: Annotated[str, Choice("current", "cut", "boosted", "linear", "network", "resized")] = "current"
    kept: Annotated[float, Float(0.001, 1.0, log=True), When("kind", "cut")] = 1.0  # share of the rounds
    trees: Annotated[int, Int(1, MOST_TREES, log=True), BOOSTED] = 32
    leaves: Annotated[int, Int(2, 512, log=True), BOOSTED] = 16
    rate: Annotated[float, Float(0.02, 0.8, log=True), BOOSTED] = 0.3
    hidden: Annotated[int, Int(2, 256, log=True), When("kind", "network")] = 16
    rows: Annotated[float, Float(0.01, 1.0, log=True), STUDENT] = 1.0  # share of the training rows
    columns: Annotated[float, Float(0.02, 1.0), STUDENT] = 1.0  # share of the columns, the most telling ones
    taught: Annotated[float, Float(0.0, 1.0), TAUGHT] = 0.0  # how much of the target is today's model's answer
    width: Annotated[float, Float(0.02, 1.0, log=True), When("kind", "resized")] = 1.0
    depth: Annotated[float, Float(0.1, 1.0), When("kind", "resized")] = 1.0


CURRENT = ShrinkPlan()
RANKER = ShrinkPlan("boosted", trees=64)  # whose gains say which columns tell most


def described(plan: ShrinkPlan) -> str:
    """A plan in a few words."""
    match plan.kind:
        case "cut":
            words = [f"first {plan.kept:.2g} of the trees"]
        case "boosted":
            words = [f"{plan.trees} trees of {plan.leaves} leaves, rate {plan.rate:.2g}"]
        case "network":
            words = [f"network of {plan.hidden}"]
        case "resized":
            words = [f"width × {plan.width:.2g}, depth × {plan.depth:.2g}"]
        case _:
            words = [{"current": "today's model", "linear": "linear model"}[plan.kind]]
    words += [f"{plan.rows:.0%} of the rows"] * (plan.rows < 1) + [f"{plan.columns:.0%} of the columns"] * (
        plan.columns < 1
    )
    return ", ".join(words) + " (taught)" * (plan.taught > 0)
