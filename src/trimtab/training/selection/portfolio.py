"""Strong and different starts, best first: what is known to do well on tables of many kinds, in several tempers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trimtab.core.model import Brief, Comparison, Proposal, Trial
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


BLENDED_SHARE = 0.25  # of what all fits have cost: a blend that is chosen is trained once more, on more rows
LEAST_FITS = 4


def blends(brief: Brief[Any]) -> Sequence[Proposal[ModelPlan]]:
    """Means of the two, three and four best boosted models found so far, as far as their training is affordable.

    Models that err differently err less together (Caruana et al., ICML 2004), and on the search split it costs nothing
    to see by how much.
    """
    fits = [one for one in brief.history if isinstance(one.verdict, Comparison) and not one.proposal.plan.others]
    full = [one for one in fits if one.proposal.plan.family == "lightgbm" and one.verdict.fraction == 1.0]  # type: ignore[union-attr]
    if len(full) < LEAST_FITS:
        return ()
    affordable = BLENDED_SHARE * sum(_training(one) for one in fits)
    best = sorted(full, key=lambda one: -one.verdict.gain.mid)  # type: ignore[union-attr]
    made = []
    for count in (2, 3, 4):
        if sum(map(_training, best[:count])) <= affordable:
            first, *others = (one.proposal.plan for one in best[:count])
            made.append(Proposal(replace(first, others=tuple(others)), "blend", f"the mean of the {count} best so far"))
    return made


def _training(trial: Trial[Any]) -> float:
    return trial.verdict.metrics["train_cpu_seconds"] if isinstance(trial.verdict, Comparison) else 0.0
