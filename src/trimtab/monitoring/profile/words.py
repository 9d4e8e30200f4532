"""Counts of words: exact up to a cap; beyond it, of a fixed sample of the words and of the frequent ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trimtab.monitoring.profile.sketch import EMPTY, Hashes, count_words, fill_table, hash_words

MOST_WORDS = 50_000  # distinct words of one column that are counted
LEAST_ROOM = 1024  # words that a column has room for at first
FREQUENT_SHARE = 0.001  # of the values seen: such a word is kept, whatever its hash

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Words:
    """Counts by word. Words with a hash above 2**64 / 2**halvings are counted only if they were frequent early on."""

    known: Any = field(default_factory=lambda: pa.array([], pa.string()))
    totals: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    other: int = 0
    halvings: int = 0

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """How often each known word occurs."""
        return dict(zip(self.known.to_pylist(), self.totals.tolist(), strict=True))

    def merged(self, other: Words) -> Words:
        """Exact while both are; else a frequent word may lack what either had pruned of it before."""
        tally = Tally()
        tally.halvings = max(self.halvings, other.halvings)
        for one in (self, other):
            tally.add(one.known, hashes_of(one.known), one.totals)
            tally.other += one.other
        return tally.frozen()


class Tally:
    """The state of one scan of a column of words. Words are known by their hash (64 bits: collisions are ignored)."""

    def __init__(self) -> None:
        self.other, self.halvings = 0, 0
        self._words = pa.array([], pa.string())  # in the order of their first sight, as hashes and counts are
        self._used = 0
        self._hashes, self._counts = np.empty(LEAST_ROOM, np.uint64), np.empty(LEAST_ROOM, np.int64)
        self._table = np.full(2 * LEAST_ROOM, -1, np.int32)

    def add(self, words: Any, hashes: Hashes, counts: Counts) -> None:
        """Count the words of an Arrow array of strings; counts may be zero."""
        # In pieces: what the first ones leave out of the sample is never kept with the later ones.
        for start in range(0, len(hashes), MOST_WORDS):
            piece = slice(start, start + MOST_WORDS)
            self._add(words[piece], hashes[piece], counts[piece])
            self.prune()

    def _add(self, words: Any, hashes: Hashes, counts: Counts) -> None:
        self._make_room(self._used + len(hashes))
        places = np.empty(len(hashes), np.int64)
        before = self._used
        limit = np.uint64(EMPTY >> self.halvings)
        state = (self._hashes, self._counts, self._table)
        self._used, other = count_words(hashes, counts, limit, *state, before, places)
        self.other += int(other)
        if self._used > before:
            self._words = pa.concat_arrays([self._words, words.take(places[: self._used - before])])

    def _make_room(self, needed: int) -> None:
        if needed <= len(self._hashes):
            return
        room = 1 << (needed - 1).bit_length()
        self._hashes = np.concatenate([self._hashes[: self._used], np.empty(room - self._used, np.uint64)])
        self._counts = np.concatenate([self._counts[: self._used], np.empty(room - self._used, np.int64)])
        self._refill(2 * room)

    def _refill(self, size: int) -> None:
        self._table = np.full(size, -1, np.int32)
        fill_table(self._hashes, self._used, self._table)

    def prune(self) -> None:
        """Keep a sample of the words, and the frequent ones, when there are too many."""
        if self._used <= MOST_WORDS:
            return
        hashes, counts = self._hashes[: self._used], self._counts[: self._used]
        is_frequent = counts > FREQUENT_SHARE * (int(counts.sum()) + self.other)
        is_kept = np.ones(self._used, bool)
        while int(is_kept.sum()) > MOST_WORDS:
            self.halvings += 1
            is_kept = (hashes <= np.uint64(EMPTY >> self.halvings)) | is_frequent
        self._keep(np.flatnonzero(is_kept))

    def _keep(self, places: npt.NDArray[np.int64]) -> None:
        before = int(self._counts[: self._used].sum())
        self._hashes[: len(places)], self._counts[: len(places)] = self._hashes[places], self._counts[places]
        self._words, self._used = self._words.take(places), len(places)
        self.other += before - int(self._counts[: self._used].sum())
        self._refill(len(self._table))

    def frozen(self) -> Words:
        """What was counted, in an order that does not depend on that of the rows."""
        order = np.argsort(self._hashes[: self._used])
        return Words(self._words.take(order), self._counts[order], self.other, self.halvings)


def hashes_of(words: Any) -> Hashes:
    """The hash of each word of an Arrow array of strings; missing words have that of an empty one."""
    _, offsets, letters = words.buffers()
    hashes = np.empty(len(words), np.uint64)
    if len(words):
        starts = np.frombuffer(offsets, np.int32)[words.offset : words.offset + len(words) + 1]
        text = np.frombuffer(letters, np.uint8) if letters is not None and letters.size else np.zeros(1, np.uint8)
        hash_words(np.ascontiguousarray(starts), text, hashes)
    return hashes
