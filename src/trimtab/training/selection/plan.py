"""What `tune` may choose: a family of models and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from trimtab.core.space import Choice, Float, Int, When

BOOSTED = When("family", "lightgbm")
LIKE_NONE = 1e-6  # the low end of the log range of `l2` stands for none at all
LINEAR = {"linear_tree": True, "linear_lambda": 1.0}
SMOOTH = {"cat_smooth": 60.0, "cat_l2": 30.0, "min_data_per_group": 200}


@dataclass(frozen=True)
class ModelPlan:
    """A model to train.

    Families: `lightgbm` boosts until the last tenth of the training rows gains no more; `lightgbm-default` is LightGBM
    as it comes, 100 rounds; `linear` is ridge or logistic regression on one-hot columns; `current` is the user's own.
    """

    family: Annotated[str, Choice("lightgbm", "lightgbm-default", "linear", "current")] = "lightgbm"
    learning_rate: Annotated[float, Float(0.02, 0.2, log=True), BOOSTED] = 0.06
    leaves: Annotated[int, Int(4, 255, log=True), BOOSTED] = 31
    min_leaf: Annotated[int, Int(1, 300, log=True), BOOSTED] = 20
    feature_share: Annotated[float, Float(0.2, 1.0), BOOSTED] = 0.7
    node_share: Annotated[float, Float(0.1, 1.0), BOOSTED] = 1.0  # of the columns, drawn anew for every split
    bagging_share: Annotated[float, Float(0.4, 1.0), BOOSTED] = 0.8
    l2: Annotated[float, Float(LIKE_NONE, 50.0, log=True), BOOSTED] = LIKE_NONE
    # LightGBM's own splits of categories, the same with strong smoothing, or ranks by frequency as plain numbers.
    categories: Annotated[str, Choice("native", "smooth", "ranks"), BOOSTED] = "native"
    max_bin: Annotated[int, Choice(63, 255, 1023), BOOSTED] = 255
    # Where a column is split: at the best place, or at one drawn at random, as extremely randomised trees do.
    splits: Annotated[str, Choice("best", "random"), BOOSTED] = "best"
    strength: Annotated[float, Float(1e-3, 100.0, log=True), When("family", "linear")] = 1.0
    # No knobs of a search, `twins` proposes them: the target's logarithm, where it is above zero, in its place; and
    # linear models of a path's columns in the leaves (Shi et al., IJCAI 2019), of a quantity.
    target: Literal["plain", "log"] = "plain"
    leaf: Literal["constant", "linear"] = "constant"
    trees: Literal["leafwise", "symmetric"] = "leafwise"  # as LightGBM grows them; as CatBoost does, all else its own
    hidden: Literal[0, 128] = 0  # units of a layer, and half as many of a second: they make `linear` a network
    # Plans whose predictions are averaged with this one's: a blend of what was found. Boosted ones share one booster.
    others: tuple[ModelPlan, ...] = ()

    @property
    def draws(self) -> bool:
        """Whether its own training draws rows, columns or splits, so that another seed makes another model."""
        if self.hidden or self.trees == "symmetric":
            return True
        shares = (self.feature_share, self.node_share, self.bagging_share)
        return self.family == "lightgbm" and (min(shares) < 1 or self.splits == "random")

    @property
    def members(self) -> tuple[ModelPlan, ...]:
        """The plans that are trained: this one alone, or all of a blend."""
        return (replace(self, others=()), *self.others)


DEFAULT = ModelPlan(family="lightgbm-default")
CURRENT = ModelPlan(family="current")
# Where classical search looks: other families have next to nothing to tune, and blends are made of what it finds.
SEARCHED: dict[str, Any] = {"family": "lightgbm", "others": ()}


def boosting_params(plan: ModelPlan, metric: str) -> dict[str, Any]:
    """LightGBM's names for the plan's knobs; none but the objective for LightGBM as it comes."""
    params: dict[str, Any] = {"objective": "regression_l1"} if metric == "mae" else {}
    if plan.family == "lightgbm-default":
        return params
    params |= {
        "learning_rate": plan.learning_rate,
        "num_leaves": plan.leaves,
        "min_data_in_leaf": plan.min_leaf,
        "feature_fraction": plan.feature_share,
        "feature_fraction_bynode": plan.node_share,
        "lambda_l2": plan.l2 if plan.l2 > LIKE_NONE else 0.0,
        "max_bin": plan.max_bin,
    }
    if plan.splits == "random":
        params["extra_trees"] = True
    if plan.leaf == "linear":
        params |= LINEAR
    if plan.bagging_share < 1:
        params |= {"bagging_fraction": plan.bagging_share, "bagging_freq": 1}
    return params | SMOOTH if plan.categories == "smooth" else params
