"""Shifts the seeds that a script sets, so that it is judged on draws that nobody has seen.

A script that is given no seed stays as random as it is; one that is given a generator stays with that.
"""

from __future__ import annotations

import random
from typing import Any

from trimtab.hooks.imports import when_imported

LARGEST = 2**32


def shift_seeds(by: int) -> None:
    """Add `by` to every seed that is given as a whole number, in `random`, numpy and torch, from now on."""
    if not by:
        return
    inner = random.seed

    def seed(a: Any = None, version: int = 2) -> None:
        inner(_shifted(a, by), version)

    random.seed = seed
    when_imported(
        {"numpy.random": lambda module: _numpy(module, by), "torch.random": lambda module: _torch(module, by)}
    )


def _numpy(module: Any, by: int) -> None:
    seed, state, generator = module.seed, module.RandomState, module.default_rng

    class RandomState(state):  # type: ignore[misc, valid-type]
        """numpy's, with its seed shifted."""

        def __init__(self, seed: Any = None) -> None:
            super().__init__(_shifted(seed, by))

    module.seed = lambda seed_=None: seed(_shifted(seed_, by))
    module.RandomState = RandomState
    module.default_rng = lambda seed_=None: generator(_shifted(seed_, by))


def _torch(module: Any, by: int) -> None:
    manual_seed = module.manual_seed

    def shifted(seed: Any) -> Any:
        return manual_seed(_shifted(int(seed), by))

    module.manual_seed = shifted


def _shifted(seed: Any, by: int) -> Any:
    is_number = isinstance(seed, int) or (hasattr(seed, "__index__") and getattr(seed, "shape", ()) == ())
    return (int(seed) + by) % LARGEST if is_number and not isinstance(seed, bool) else seed
