"""Finds a metric in what a training says: through `trimtab.hooks`, its library's callbacks, or the text it prints."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trimtab.core.errors import InputError
from trimtab.training.allocation.heard import Heard

SMALL_IS_GOOD = (
    "loss",
    "error",
    "rmse",
    "mse",
    "mae",
    "mape",
    "perplexity",
    "nll",
    "bits",
    "deviance",
    "regret",
    "logloss",
)
LARGE_IS_GOOD = ("acc", "auc", "f1", "r2", "score", "precision", "recall", "map", "ndcg", "bleu", "kappa", "gain")
NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+|nan|inf)"
NAMED = re.compile(rf"([A-Za-z][\w .@%-]{{0,40}}?)['\"]?\s*[:=]?\s*({NUMBER})(?![\w.])")
Goal = Literal["min", "max"]


@dataclass(frozen=True, slots=True)
class Found:
    """A metric's last value and all of its values in order."""

    last: float
    curve: tuple[float, ...]


def find(name: str, heard: Heard, printed: str) -> Found | None:
    """The metric by its name; what is printed last counts most, for it is what the user reads."""
    values = tuple(_printed(name, printed)) or _heard(name, heard)
    return Found(values[-1], values) if values else None


def seen(heard: Heard, printed: str) -> list[str]:
    """Names that could have been meant."""
    words = {match[0].strip().split()[-1].strip("'\"") for match in NAMED.findall(printed)}
    return sorted({*heard.metrics, *words})[:20]


def goal_of(name: str, given: str = "") -> Goal:
    """Whether less or more of it is better. Raises InputError when its name does not say so."""
    if given:
        if given not in ("min", "max"):
            raise InputError(f"--goal {given} is none", hint="--goal min or --goal max")
        return "min" if given == "min" else "max"
    word = name.lower()
    if any(one in word for one in SMALL_IS_GOOD):
        return "min"
    if any(one in word for one in LARGE_IS_GOOD):
        return "max"
    raise InputError(f"is less {name} better, or more?", hint="--goal min or --goal max")


def gap(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest relative difference between two curves, point by point; infinite where their lengths differ."""
    if len(mine) != len(theirs):
        return math.inf
    pairs = [(a, b) for a, b in zip(mine, theirs, strict=True) if not (math.isnan(a) and math.isnan(b))]
    gaps = [abs(a - b) / max(abs(a), abs(b), 1e-12) for a, b in pairs]
    return math.inf if any(math.isnan(one) for one in gaps) else max(gaps, default=0.0)


def _printed(name: str, text: str) -> list[float]:
    pattern = re.compile(rf"(?<![\w]){re.escape(name)}['\"]?\s*[:=]?\s*({NUMBER})(?![\w])", re.IGNORECASE)
    return [float(one) for one in pattern.findall(text)]


def _heard(name: str, heard: Heard) -> tuple[float, ...]:
    for key in (name, *(one for one in heard.metrics if one.split()[-1] == name)):
        if key in heard.metrics:
            values = tuple(value for _, value in heard.curves.get(key, ()))
            return values if values and values[-1] == heard.metrics[key] else (*values, heard.metrics[key])
    return ()
