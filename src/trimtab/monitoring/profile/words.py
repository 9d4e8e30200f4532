"""Counts of words: exact up to a cap; beyond it, of a fixed sample of the words and of the frequent ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trimtab.monitoring.profile.sketch import EMPTY, Hashes, grouped, hash_words

MOST_WORDS = 50_000  # distinct words of one column that are counted
FREQUENT_SHARE = 0.001  # of the values seen: such a word is kept, whatever its hash

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Words:
    """Counts by word. Words with a hash above 2**64 / 2**halvings are counted only if they were frequent early on."""

    counts: Mapping[str, int] = field(default_factory=dict)
    other: int = 0
    halvings: int = 0

    def merged(self, other: Words) -> Words:
        """Exact while both are; else a frequent word may lack what either had pruned of it before."""
        tally = Tally()
        for one in (self, other):
            words = pa.array(list(one.counts), pa.string())
            tally.add(words, hashes_of(words), np.array(list(one.counts.values()), np.int64))
            tally.other += one.other
            tally.halvings = max(tally.halvings, one.halvings)
        tally.prune()
        return tally.frozen()


@dataclass
class Tally:
    """The state of one scan of a column of words, in the order of their hashes (64 bits: collisions are ignored)."""

    hashes: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    counts: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    words: Any = field(default_factory=lambda: pa.array([], pa.string()))
    other: int = 0
    halvings: int = 0

    def add(self, words: Any, hashes: Hashes, counts: Counts) -> None:
        """Count the words of an Arrow array of strings; counts may be zero."""
        is_in = counts > 0
        if self.halvings:
            is_kept = is_in & ((hashes <= np.uint64(EMPTY >> self.halvings)) | self._is_known(hashes))
            self.other += int(counts[is_in & ~is_kept].sum())
            is_in = is_kept
        places = np.flatnonzero(is_in)
        every = np.concatenate([self.hashes, hashes[places]])
        before = len(self.hashes)
        self.hashes, self.counts, found = grouped(every, np.concatenate([self.counts, counts[places]]))
        if len(self.hashes) > before:
            self.words = pa.concat_arrays([self.words, words.take(places)]).take(found)
        self.prune()

    def prune(self) -> None:
        """Keep a sample of the words, and the frequent ones, when there are too many."""
        halvings, total = self.halvings, int(self.counts.sum()) + self.other
        is_kept = np.ones(len(self.hashes), bool)
        is_frequent = self.counts > FREQUENT_SHARE * total
        while int(is_kept.sum()) > MOST_WORDS:
            halvings += 1
            is_kept = (self.hashes <= np.uint64(EMPTY >> halvings)) | is_frequent
        if halvings > self.halvings:
            self.halvings = halvings
            self.other += int(self.counts[~is_kept].sum())
            self.hashes, self.counts = self.hashes[is_kept], self.counts[is_kept]
            self.words = self.words.take(np.flatnonzero(is_kept))

    def frozen(self) -> Words:
        """What was counted, in an order that does not depend on that of the rows."""
        counts = dict(zip(self.words.to_pylist(), self.counts.tolist(), strict=True))
        return Words(counts, self.other, self.halvings)

    def _is_known(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        if not len(self.hashes):
            return np.zeros(len(hashes), bool)
        places = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return np.asarray(self.hashes[places] == hashes)


def hashes_of(words: Any) -> Hashes:
    """The hash of each word of an Arrow array of strings; missing words have that of an empty one."""
    _, offsets, letters = words.buffers()
    hashes = np.empty(len(words), np.uint64)
    if len(words):
        starts = np.frombuffer(offsets, np.int32)[words.offset : words.offset + len(words) + 1]
        text = np.frombuffer(letters, np.uint8) if letters is not None and letters.size else np.zeros(1, np.uint8)
        hash_words(np.ascontiguousarray(starts), text, hashes)
    return hashes
