"""Has torch's loaders try fewer workers, and more batches read ahead, from one epoch to the next."""

from __future__ import annotations

import functools
import time
import weakref
from collections.abc import Callable, Sized
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from trimtab.hooks.fits import EpochTuner
from trimtab.hooks.session import Session

WAITING = 0.1  # of an epoch, for its next batch: below it, nothing is gained by reading further ahead


@dataclass(slots=True)
class _Epoch:
    """One that is under way. loader: its id."""

    loader: int
    iterator: weakref.ref[Any]
    kind: str
    began: float
    waited: float = 0.0


class _Epochs:
    """Of a process's loaders: which one is under way, and how much of a kind's last one was waiting."""

    def __init__(self) -> None:
        self._now: _Epoch | None = None
        self._waiting: dict[str, float] = {}

    def begin(self, loader: Any, tuner: EpochTuner, iterate: Callable[[Any], Any]) -> Any:
        """Begin one, perhaps with fewer workers or more batches read ahead."""
        now = self._now
        if now is not None and (now.loader == id(loader) or now.iterator() is None):  # it was broken off
            self._now = now = None
            tuner.drop()
        if now is not None:  # within another's epoch, costs cannot be told apart
            return iterate(loader)
        own, kind = (loader.num_workers, loader.prefetch_factor), _kind(loader)
        is_starved = self._waiting.get(kind, 0.0) > WAITING
        loader.num_workers, loader.prefetch_factor = tuner.begin(kind, *own, is_starved=is_starved)
        try:
            made = iterate(loader)
        finally:
            loader.num_workers, loader.prefetch_factor = own
        self._now = _Epoch(id(loader), weakref.ref(made), kind, time.perf_counter())
        return made

    def waited(self, iterator: Any, since: float) -> None:
        """The next batch, or word that there is none, was waited for since then."""
        epoch = self._now
        if epoch is not None and epoch.iterator() is iterator:
            now = time.perf_counter()
            epoch.waited += now - since
            self._waiting[epoch.kind] = epoch.waited / (now - epoch.began)

    def end(self, iterator: Any, batches: int, tuner: EpochTuner | None) -> None:
        """It has given so many batches, and there are no more."""
        epoch = self._now
        if epoch is not None and epoch.iterator() is iterator:
            self._now = None
            if tuner is not None:
                with suppress(Exception):
                    tuner.end(batches)


def hook_loaders(module: ModuleType, current: Callable[[], Session | None]) -> None:
    """In `torch.utils.data.dataloader`: an epoch begins with an iterator, and ends with its StopIteration."""
    begin, following = module.DataLoader.__iter__, module._BaseDataLoaderIter.__next__
    epochs = _Epochs()

    def tuner_now() -> EpochTuner | None:
        session = current()
        return None if session is None else session.epochs

    @functools.wraps(begin)
    def __iter__(self: Any) -> Any:
        tuner = tuner_now()
        if tuner is None or not _can_change(self, module):
            return begin(self)
        return epochs.begin(self, tuner, begin)

    @functools.wraps(following)
    def __next__(self: Any) -> Any:
        since = time.perf_counter()
        try:
            made = following(self)
        except StopIteration:
            epochs.waited(self, since)
            epochs.end(self, self._num_yielded, tuner_now())
            raise
        epochs.waited(self, since)
        return made

    module.DataLoader.__iter__ = __iter__
    module._BaseDataLoaderIter.__next__ = __next__


def _kind(loader: Any) -> str:
    """What its epochs may be compared by: those for training and for testing cost different things."""
    data = loader.dataset
    rows = len(data) if isinstance(data, Sized) else 0
    return f"{type(data).__name__} of {rows} by {loader.batch_size}"


def _can_change(loader: Any, module: ModuleType) -> bool:
    """Whether its rows are the same with any number of workers: not where workers share a stream, or are set up."""
    is_plain = loader.worker_init_fn is None and not loader.timeout and not loader.persistent_workers
    return bool(loader.num_workers and is_plain and loader._dataset_kind == module._DatasetKind.Map)
