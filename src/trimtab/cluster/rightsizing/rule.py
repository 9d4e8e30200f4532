"""The shape of a request: a level, and a margin that grows with signs of unrest. It can be written as a program."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trimtab.cluster.rightsizing.looks import IN_UNITS, PLAIN, REQUEST, Series

SIGNS: dict[str, str] = {
    "1": "1",
    "spread": "spread / peak",
    "above_p95": "1 - p95 / peak",
    "above_p99": "1 - p99 / peak",
    "above_mean": "1 - mean / peak",
    "p95_above_median": "(p95 - median) / peak",
    "steps": "steps / peak",
    "growth_of_peak": "min(9, max(0, growth_of_peak))",
    "growth_of_mean": "min(9, max(0, growth_of_mean))",
    "lowest_quarter": "1 - min(tops[0], tops[1], tops[2], tops[3]) / peak",
    "fewness": "1 / sqrt(samples)",
    "jump": "jump / peak",
    "swing": "1 - least / peak",
    "smallness": "min(9, usual / peak)",
    "swing_of_the_small": "(1 - least / peak) * min(9, usual / peak)",
}
"""Signs of unrest, as they stand in a program."""
UNCAPPED = 9.0
LEAST_LEVEL = 1e-3


@dataclass(frozen=True)
class Rule:
    """request = level × (1 + factor × min(cap, weights · signs)); level: `memory` of the peak, rest recent peak."""

    weights: tuple[float, ...]
    cap: float = UNCAPPED
    memory: float = 1.0
    factor: float = 1.0

    def levels(self, looks: Series) -> Series:
        """Shares of the peak."""
        return np.asarray(np.maximum(self.memory + (1.0 - self.memory) * looks[:, 1], LEAST_LEVEL))

    def margins(self, signs: Series) -> Series:
        """Shares of the level, before the factor."""
        return np.asarray(np.minimum(self.cap, signs @ np.array(self.weights)))


def signs_of(looks: Series) -> Series:
    """(pods, signs): the signs of unrest of each look."""
    first = len(IN_UNITS) + len(PLAIN)
    _, _, mean, median, p95, p99, spread, steps, jump, least, usual = looks.T[: len(IN_UNITS)]
    peak_growth, mean_growth, samples = looks.T[len(IN_UNITS) : first]
    lowest, smallness = looks[:, first:].min(axis=1), np.minimum(9.0, usual)
    columns = (
        np.ones(len(looks)), spread, 1.0 - p95, 1.0 - p99, 1.0 - mean, p95 - median, steps,
        np.clip(peak_growth, 0.0, 9.0), np.clip(mean_growth, 0.0, 9.0), 1.0 - lowest, 1.0 / np.sqrt(samples),
        jump, 1.0 - least, smallness, (1.0 - least) * smallness,
    )  # fmt: skip
    return np.column_stack(columns)


def drawn(rng: np.random.Generator) -> Rule:
    """A rule of a constant and one to three signs."""
    weights = np.zeros(len(SIGNS))
    weights[0] = 10 ** rng.uniform(-3.0, -0.8)
    picked = rng.choice(np.arange(1, len(SIGNS)), int(rng.integers(1, 4)), replace=False)
    weights[picked] = 10 ** rng.uniform(-1.2, 0.8, len(picked))
    cap = UNCAPPED if rng.random() < 0.5 else float(10 ** rng.uniform(-1.0, 0.0))
    memory = 1.0 if rng.random() < 2 / 3 else float(rng.random())
    return Rule(tuple(float(weight) for weight in weights), cap, memory)


def written(rule: Rule) -> str:
    """The rule as the text of a policy program."""
    terms = [
        f"{weight:.5g}" if text == "1" else f"{weight:.5g} * ({text})"
        for weight, text in zip(rule.weights, SIGNS.values(), strict=True)
        if weight > 0
    ]
    lines = [REQUEST.head, f"    unrest = {terms[0] if terms else 0}"]
    lines += [f"    unrest += {term}" for term in terms[1:]]
    if rule.cap < UNCAPPED:
        lines.append(f"    unrest = min({rule.cap:.5g}, unrest)")
    level = "peak"
    if rule.memory < 1.0:
        level = f"max({LEAST_LEVEL} * peak, {rule.memory:.5g} * peak + {1.0 - rule.memory:.5g} * recent)"
    return "\n".join([*lines, f"    return {level} * (1 + {rule.factor:.6g} * unrest)", ""])
