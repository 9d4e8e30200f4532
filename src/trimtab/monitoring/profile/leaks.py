"""Leaks: columns that are only known after the moment of prediction. Found in the data, whatever the names say.

Two signs: a column that is missing where the target is missing and nowhere else is written with it; and a column that
alone predicts better than all others together is suspect.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.adapters.models import boosting
from trimtab.adapters.models.learn_encoding import encode, learn
from trimtab.adapters.models.metrics import auc
from trimtab.adapters.sources.dataset import Dataset, blocks

GONE_SHARE = 0.5  # missing in more than that of the rows without a target
WHOLE_SHARE = 0.01  # and in less than that of the others
MOST_ROWS = 40_000
NEAR = 0.05  # a column that comes so near all others together is compared with them without itself
CLEARLY = 0.1  # how much better than all others together is suspect
NEARLY_PERFECT = 0.98
RIVALS = 0.05  # above the floor: less is no rival
Z = 3.0  # standard errors over the blocks that must lie between


@dataclass(frozen=True)
class Strength:
    """How well one column predicts alone, and all the others together: AUC, or R² of values, on held-out rows."""

    column: str
    alone: float
    others: float
    error: float  # standard error of the difference
    floor: float = 0.5  # what knowing nothing scores

    @property
    def is_suspect(self) -> bool:
        """Whether it predicts too well to be known beforehand."""
        gap = self.alone - self.others
        # To be better than columns that know nothing is no sign: one column may be all there is to know.
        is_clear = gap > CLEARLY and gap > Z * self.error and self.others > self.floor + RIVALS
        return self.alone > NEARLY_PERFECT or is_clear


def written_with_target(table: pa.Table, target: pa.ChunkedArray, names: tuple[str, ...]) -> tuple[str, ...]:
    """Columns that are missing where the target is missing, and hardly anywhere else."""
    gone = pc.is_null(target)
    if not pc.any(gone).as_py():
        return ()
    whole = pc.invert(gone)
    found = []
    for name in names:
        missing = pc.is_null(table.column(name))
        share_gone, share_whole = (pc.mean(missing.filter(mask)).as_py() or 0.0 for mask in (gone, whole))
        if share_gone > GONE_SHARE and share_whole < WHOLE_SHARE:
            found.append(name)
    return tuple(found)


def strengths(train: Dataset, held_out: Dataset, names: tuple[str, ...], trusted: tuple[str, ...]) -> list[Strength]:
    """Each column's strength alone against that of all `trusted` columns (but itself) together.

    `trusted`: columns that are not suspect for another reason.
    """
    if train.task == "multiclass":
        return []
    train, held_out = _thinned(train), _thinned(held_out)
    singles = {name: _predicted(train, held_out, (name,), rounds=30) for name in names}
    together = _predicted(train, held_out, trusted, rounds=60)
    found = []
    for name in names:
        rivals = together
        if name in trusted:
            rest = tuple(other for other in trusted if other != name)
            alone_is_near = _score(held_out, singles[name]) > _score(held_out, together) - NEAR
            # Only a column that comes near all others together is worth a training without it.
            rivals = _predicted(train, held_out, rest, rounds=60) if rest and alone_is_near else together
        found.append(_compared(name, held_out, singles[name], rivals))
    return found


def _compared(
    name: str, held_out: Dataset, alone: npt.NDArray[np.float64], rivals: npt.NDArray[np.float64]
) -> Strength:
    gaps = []
    for place in blocks(len(held_out), 8):
        rows = held_out.rows(place.start, place.stop)
        gap = _score(rows, alone[place]) - _score(rows, rivals[place])
        if np.isfinite(gap):
            gaps.append(gap)
    error = float(np.std(gaps, ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else float("inf")
    floor = 0.5 if held_out.task == "binary" else 0.0
    return Strength(name, _score(held_out, alone), _score(held_out, rivals), error, floor)


def _predicted(train: Dataset, held_out: Dataset, names: tuple[str, ...], *, rounds: int) -> npt.NDArray[np.float64]:
    if not names:
        return np.full(len(held_out), float(train.y.mean()))
    encoding = learn(train, names)
    training = boosting.Training(train.task, params={"num_leaves": 15, "min_data_in_leaf": 50}, rounds=rounds)
    booster = boosting.fit(encode(train, encoding), train.y, training, categorical=encoding.categorical_features)
    return np.asarray(booster.predict(encode(held_out, encoding)), float)


def _score(rows: Dataset, predicted: npt.NDArray[np.float64]) -> float:
    if rows.task == "binary":
        return auc(rows.y, predicted)
    spread = float(((rows.y - rows.y.mean()) ** 2).sum())
    return 1 - float(((rows.y - predicted) ** 2).sum()) / spread if spread else float("nan")


def _thinned(dataset: Dataset) -> Dataset:
    if len(dataset) <= MOST_ROWS:
        return dataset
    return dataset.take(np.linspace(0, len(dataset) - 1, MOST_ROWS).astype(np.int64))
