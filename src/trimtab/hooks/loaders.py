"""Has torch's loaders try fewer workers, and more batches read ahead, from one epoch to the next."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from trimtab.hooks.session import Session

WAITING = 0.1  # of an epoch, for its next batch: below it, nothing is gained by reading further ahead


@dataclass(slots=True)
class _Epoch:
    """One that is under way; one at a time. loader: its id."""

    loader: int
    kind: str
    began: float
    waited: float = 0.0


def hook_loaders(module: ModuleType, current: Callable[[], Session | None]) -> None:
    """In `torch.utils.data.dataloader`: an epoch begins with an iterator, and ends with its StopIteration."""
    begin, following = module.DataLoader.__iter__, module._BaseDataLoaderIter.__next__
    under_way: dict[int, _Epoch] = {}  # by its iterator
    waiting: dict[str, float] = {}  # the share of a kind's last epoch

    @functools.wraps(begin)
    def __iter__(self: Any) -> Any:
        session = current()
        if session is None or session.loaders is None or not _can_change(self, module):
            return begin(self)
        if any(one.loader == id(self) for one in under_way.values()):  # its last epoch was broken off
            under_way.clear()
            session.drop_epoch()
        if under_way:  # within another's epoch, costs cannot be told apart
            return begin(self)
        own, kind = (self.num_workers, self.prefetch_factor), _kind(self)
        self.num_workers, self.prefetch_factor = session.begin_epoch(
            kind, *own, is_starved=waiting.get(kind, 0.0) > WAITING
        )
        try:
            made = begin(self)
        finally:
            self.num_workers, self.prefetch_factor = own
        under_way[id(made)] = _Epoch(id(self), kind, time.perf_counter())
        return made

    @functools.wraps(following)
    def __next__(self: Any) -> Any:
        epoch, since = under_way.get(id(self)), time.perf_counter()
        try:
            return following(self)
        except StopIteration:
            session = current()
            if under_way.pop(id(self), None) is not None and session is not None:
                with suppress(Exception):
                    session.end_epoch(self._num_yielded)
            raise
        finally:
            if epoch is not None:
                now = time.perf_counter()
                epoch.waited += now - since
                waiting[epoch.kind] = epoch.waited / (now - epoch.began)

    module.DataLoader.__iter__ = __iter__
    module._BaseDataLoaderIter.__next__ = __next__


def _kind(loader: Any) -> str:
    """What its epochs may be compared by: those for training and for testing cost different things."""
    data = loader.dataset
    return f"{type(data).__name__} of {len(data)} by {loader.batch_size}"


def _can_change(loader: Any, module: ModuleType) -> bool:
    """Whether its rows are the same with any number of workers: not where workers share a stream, or are set up."""
    is_plain = loader.worker_init_fn is None and not loader.timeout and not loader.persistent_workers
    return bool(loader.num_workers and is_plain and loader._dataset_kind == module._DatasetKind.Map)
