"""Has torch's loaders try fewer workers, from one epoch to the next."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

from trimtab.hooks.session import Session


def hook_loaders(module: ModuleType, current: Callable[[], Session | None]) -> None:
    """In `torch.utils.data.dataloader`: an epoch begins with an iterator, and ends with its StopIteration."""
    begin, following = module.DataLoader.__iter__, module._BaseDataLoaderIter.__next__
    under_way: dict[int, int] = {}  # a loader, by the iterator of its epoch; one at a time

    @functools.wraps(begin)
    def __iter__(self: Any) -> Any:
        session, own = current(), self.num_workers
        tuner = session.loaders if session is not None else None
        if tuner is None or not _can_change(self, module):
            return begin(self)
        if id(self) in under_way.values():  # its last epoch was broken off
            under_way.clear()
            tuner.drop()
        is_tried = not under_way  # within another's epoch, costs cannot be told apart
        self.num_workers = tuner.begin("loader", own) if is_tried else own
        try:
            made = begin(self)
        finally:
            self.num_workers = own
        if is_tried:
            under_way[id(made)] = id(self)
        return made

    @functools.wraps(following)
    def __next__(self: Any) -> Any:
        try:
            return following(self)
        except StopIteration:
            session = current()
            if under_way.pop(id(self), None) is not None and session is not None and session.loaders is not None:
                with suppress(Exception):
                    session.loaders.end(self._num_yielded)
            raise

    module.DataLoader.__iter__ = __iter__
    module._BaseDataLoaderIter.__next__ = __next__


def _can_change(loader: Any, module: ModuleType) -> bool:
    """Whether its rows are the same with any number of workers: not where workers share a stream, or are set up."""
    is_plain = loader.worker_init_fn is None and not loader.timeout and not loader.persistent_workers
    return bool(loader.num_workers and is_plain and loader._dataset_kind == module._DatasetKind.Map)
