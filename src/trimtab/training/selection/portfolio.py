"""Strong and different starts, best first. Derived by benchmarks/training/portfolio.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trimtab.core.model import Brief, Proposal
from trimtab.training.selection.plan import ModelPlan

IDEAS: tuple[tuple[str, ModelPlan], ...] = (
    ("slow learning, stopped early", ModelPlan()),
    ("small trees", ModelPlan(leaves=12, feature_share=0.5, l2=5.0)),
    (
        "large trees, careful with categories",
        ModelPlan(leaves=100, min_leaf=40, feature_share=0.5, l2=5.0, categories="smooth"),
    ),
    ("categories by their frequency", ModelPlan(leaves=40, feature_share=0.5, categories="ranks")),
    ("a linear model", ModelPlan(family="linear")),
)


def portfolio(brief: Brief[Any]) -> Sequence[Proposal[ModelPlan]]:
    """What is tried before any search."""
    return [Proposal(plan, "portfolio", because) for because, plan in IDEAS]
