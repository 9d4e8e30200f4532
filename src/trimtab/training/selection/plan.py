"""What may change about a model: its family and how it is trained. The defaults are LightGBM's own defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from trimtab.core.space import Choice, Float, Int, When

Family = Literal["lightgbm", "linear", "trees", "current"]
Categories = Literal["native", "smooth", "ranks"]


@dataclass(frozen=True)
class Selection:
    """One way to make a model.

    Families: `lightgbm` boosts trees, `linear` is regularised linear or logistic regression on one-hot columns, `trees`
    are extremely randomised trees, `current` is the user's own model as it stands.
    """

    family: Annotated[Family, Choice("lightgbm", "linear", "trees", "current")] = "lightgbm"
    rounds: Annotated[int, Int(20, 3000, log=True), When("family", "lightgbm")] = 100
    # Rounds without a gain on the last rows of the training part end the training: `rounds` is then an upper bound.
    is_stopped_early: Annotated[bool, Choice(False, True), When("family", "lightgbm")] = False
    learning_rate: Annotated[float, Float(0.01, 0.3, log=True), When("family", "lightgbm")] = 0.1
    leaves: Annotated[int, Int(4, 255, log=True), When("family", "lightgbm")] = 31
    leaf_rows: Annotated[int, Int(1, 500, log=True), When("family", "lightgbm")] = 20
    row_share: Annotated[float, Float(0.4, 1.0), When("family", "lightgbm")] = 1.0
    column_share: Annotated[float, Float(0.2, 1.0), When("family", "lightgbm")] = 1.0
    l2: Annotated[float, Float(1e-6, 50.0, log=True), When("family", "lightgbm")] = 1e-6
    bins: Annotated[int, Choice(63, 255, 1023), When("family", "lightgbm")] = 255
    # Categories: LightGBM's own splits, the same with strong smoothing, or ranks by frequency as plain numbers.
    categories: Annotated[Categories, Choice("native", "smooth", "ranks"), When("family", "lightgbm")] = "native"
    is_random_split: Annotated[bool, Choice(False, True), When("family", "lightgbm")] = False
    linear_strength: Annotated[float, Float(1e-3, 1e3, log=True), When("family", "linear")] = 1.0
    tree_leaf_rows: Annotated[int, Int(1, 100, log=True), When("family", "trees")] = 5
    tree_column_share: Annotated[float, Float(0.1, 1.0), When("family", "trees")] = 0.5


DEFAULT = Selection()
CURRENT = Selection(family="current")
