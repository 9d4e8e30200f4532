"""Trains the plan that `tune` chose, for areas that may not know it: named by its import path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.adapters.models.artifact import Fitted
from trimtab.adapters.sources.dataset import Dataset
from trimtab.core.wire import load
from trimtab.training.selection.fitting import Request, Rows, train

TRAINER = "trimtab.stages.trainer:train_request"


def train_request(recipe: Mapping[str, Any], rows: Dataset) -> Fitted:
    """A fitted model of a Request, given as JSON, on these rows."""
    return train(Rows.of(rows), load(Request, dict(recipe))).fitted
