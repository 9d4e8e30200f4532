"""Which rows are trained on, scored on, and kept for the confirmation: spread by strata, by group, or in time order."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trimtab.core.errors import InputError

Places: TypeAlias = npt.NDArray[np.int64]

HOLDOUT_PIECES = 5  # one of them confirms
FEW_ROWS, FEWER_ROWS = 6_000, 1_500  # below: three folds, five folds; from there on one valid part says enough


@dataclass(frozen=True)
class Folds:
    """Places of rows. `search`: (train, valid) of each fold; `holdout`: what confirms."""

    search: tuple[tuple[Places, Places], ...]
    holdout: Places


@dataclass(frozen=True)
class Layout:
    """How rows hang together. `groups`: whole groups stay together, and lie together; else strata of `y` are spread."""

    y: npt.NDArray[np.float64]
    groups: Places | None = None
    is_ordered: bool = False

    def __len__(self) -> int:
        return len(self.y)

    def pieces(self, places: Places, count: int) -> Places:
        """The number of its piece for each place; pieces are as equal in size as whole groups allow."""
        if self.is_ordered:
            return np.arange(len(places)) * count // max(1, len(places))
        # The rows of a single group are spread: a fold that scores nothing else could not be compared on otherwise.
        if self.groups is not None and self.most(places, 2) > 1:
            return _by_group(self.groups[places], count)
        numbers = np.empty(len(places), np.int64)
        # Every so many rows along the order of y: each piece has its share of every class, or of every size of value.
        numbers[np.argsort(self.y[places], kind="stable")] = np.arange(len(places)) % count
        return numbers

    def most(self, places: Places, count: int) -> int:
        """As many pieces as are wanted, or as there are groups."""
        return count if self.groups is None else min(count, len(np.unique(self.groups[places])))

    def parts(self, places: Places, count: int) -> list[Places]:
        """The places of each piece."""
        numbers = self.pieces(places, count)
        return [places[numbers == one] for one in range(count)]


def _by_group(groups: Places, count: int) -> Places:
    """The largest groups first, each to the piece with the fewest rows: a huge one leaves no piece without any."""
    starts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1)) if len(groups) else np.empty(0, np.int64)
    sizes = np.diff(starts, append=len(groups))
    numbers = np.empty(len(sizes), np.int64)
    loads = [(0, piece) for piece in range(count)]
    for group in np.argsort(-sizes, kind="stable"):
        rows, numbers[group] = loads[0]
        heapq.heapreplace(loads, (rows + int(sizes[group]), int(numbers[group])))
    return np.repeat(numbers, sizes)


def folds_of(layout: Layout, affordable: float = math.inf) -> Folds:
    """Folds as the number of rows asks for and the budget allows: the last fifth confirms, the rest is searched on."""
    train, holdout = _without(layout, np.arange(len(layout)), HOLDOUT_PIECES, HOLDOUT_PIECES - 1)
    wanted = 1 if layout.is_ordered or len(layout) >= FEW_ROWS else 3 if len(layout) >= FEWER_ROWS else 5
    if affordable < wanted or wanted == 1:
        pieces = layout.most(train, HOLDOUT_PIECES)
        return Folds((_without(layout, train, pieces, pieces - 1),), holdout)
    wanted = layout.most(train, wanted)
    return Folds(tuple(_without(layout, train, wanted, fold) for fold in range(wanted)), holdout)


def _without(layout: Layout, places: Places, count: int, piece: int) -> tuple[Places, Places]:
    numbers = layout.pieces(places, count)
    return places[numbers != piece], places[numbers == piece]


def folds_from(splits: Sequence[tuple[Places, Places]]) -> Folds:
    """The user's own folds: what the last one scores confirms, the others search without it. Raises InputError."""
    if len(splits) < 2:
        raise InputError(f"cv gives {len(splits)} fold", hint="at least two: one to search on, one to confirm on")
    *others, (_, holdout) = splits
    kept = [(np.setdiff1d(one, holdout), np.setdiff1d(two, holdout)) for one, two in others]
    usable = tuple((one, two) for one, two in kept if len(one) and len(two))
    if not usable or not len(holdout):
        raise InputError("the last fold of cv holds the rows of all others", hint="use folds that differ")
    return Folds(usable, np.sort(holdout))


def are_ordered(splits: Sequence[tuple[Places, Places]]) -> bool:
    """Whether every fold trains on rows that come before those it is scored on."""
    return all(len(one) and len(two) and one.max() < two.min() for one, two in splits)


def most_pieces(parts: Callable[[int], Sequence[Places]], is_defined: Callable[[Any], bool], most: int) -> int:
    """The largest number of parts, up to `most`, on each of which a metric is defined; 0: not even on the whole."""
    sizes = sorted({most, *(one for one in (10, 5, 3, 2, 1) if one < most)}, reverse=True)
    return next((count for count in sizes if is_defined(parts(count))), 0)


def flattened(parts: Iterable[Sequence[Places]]) -> list[Places]:
    """All parts of all folds."""
    return list(itertools.chain.from_iterable(parts))
