"""Strong and different starts, best first: what is known to do well on tables of many kinds, in several tempers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trimtab.core.model import Brief, Proposal
from trimtab.training.selection.plan import ModelPlan

IDEAS: tuple[tuple[str, ModelPlan], ...] = (
    ("slow learning, stopped early", ModelPlan()),
    ("categories by their frequency", ModelPlan(leaves=40, feature_share=0.5, categories="ranks")),
    ("small trees, few features", ModelPlan(learning_rate=0.03, leaves=20, min_leaf=5, feature_share=0.3)),
    (
        "other columns at every split, like a forest",
        ModelPlan(learning_rate=0.03, leaves=20, min_leaf=100, feature_share=1.0, node_share=0.2, categories="smooth"),
    ),
    (
        "strongly regularised, careful with categories",
        ModelPlan(learning_rate=0.04, leaves=20, min_leaf=150, l2=5.0, categories="smooth"),
    ),
    (
        "little noise: all rows, most columns",
        ModelPlan(leaves=12, min_leaf=2, feature_share=0.85, bagging_share=1.0, l2=5.0),
    ),
    ("large trees, fine bins", ModelPlan(leaves=90, min_leaf=10, feature_share=0.8, max_bin=1023)),
    ("a linear model", ModelPlan(family="linear")),
)


def portfolio(brief: Brief[Any]) -> Sequence[Proposal[ModelPlan]]:
    """What is tried before any search."""
    return [Proposal(plan, "portfolio", because) for because, plan in IDEAS]
