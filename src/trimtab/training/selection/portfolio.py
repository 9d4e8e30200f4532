"""Strong and diverse starts, best first. Derived by benchmarks/training/portfolio.py on tables of its own."""

from __future__ import annotations

from trimtab.adapters.sources.dataset import Task
from trimtab.core.model import Proposal
from trimtab.training.selection.plan import Selection

BOOSTED = (
    Selection(rounds=2000, is_stopped_early=True, learning_rate=0.05, leaves=31, row_share=0.8, column_share=0.7),
    Selection(rounds=3000, is_stopped_early=True, learning_rate=0.04, leaves=12, leaf_rows=20, column_share=0.5, l2=5.0),
    Selection(
        rounds=2000, is_stopped_early=True, learning_rate=0.05, leaves=100, leaf_rows=40, row_share=0.7,
        column_share=0.5, l2=5.0, categories="smooth",
    ),
    Selection(
        rounds=2000, is_stopped_early=True, learning_rate=0.05, leaves=40, leaf_rows=20, row_share=0.8,
        column_share=0.5, categories="ranks",
    ),
    Selection(
        rounds=2000, is_stopped_early=True, learning_rate=0.08, leaves=60, leaf_rows=10, column_share=0.7,
        is_random_split=True, categories="ranks",
    ),
)  # fmt: skip
OTHERS = (Selection(family="linear"),)


def starts(task: Task) -> tuple[Proposal[Selection], ...]:
    """What is tried before any search: boosting in several tempers, then the cheap linear model."""
    because = f"a strong start on other {task} tables"
    return tuple(Proposal(plan, "portfolio", because) for plan in (*BOOSTED, *OTHERS))
