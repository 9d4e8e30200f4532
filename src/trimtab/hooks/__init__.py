"""For training scripts, all optional: say how far a loop is and what it measures; let its threads be tuned.

    from trimtab import hooks

    for batch in hooks.steps(batches):
        ...
        hooks.log(loss=loss)

Under `trimtab watch` or `trimtab.track()` these are heard; anywhere else they do nothing. Trainings with torch,
LightGBM and XGBoost, and tqdm's bars, are heard without them.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from trimtab.hooks.session import Session

T = TypeVar("T")

_sessions: list[Session] = []  # the innermost hears
_is_hooked = False


def steps(over: Iterable[T], total: int | None = None) -> Iterator[T]:
    """The same values; after each, a step counts as done. total: how many there are, where `len` does not know."""
    if not _sessions:
        yield from over
        return
    from trimtab.hooks.frameworks import PoolThreads

    session, control = _sessions[-1], PoolThreads()
    session.training(total if total is not None else len(over) if isinstance(over, Sized) else 0)
    for one in over:
        yield one
        session.step(control)


def batches(rows: int, size: int, most: int) -> Iterator[slice]:
    """Slices of so many rows, `size` long; in a torch loop that is watched, up to `most`, where that pays.

    The optimizer's learning rates are scaled with the size (AdaScale), so a schedule should multiply, not set, them.
    """
    if not 0 < size <= most:
        raise ValueError(f"batches of {size} to {most} are none")
    from trimtab.hooks.sizes import batches as sliced

    yield from sliced(_sessions[-1] if _sessions else None, rows, size, most)


def log(step: int | None = None, **metrics: float) -> None:
    """Metrics as they are now."""
    for session in _sessions[-1:]:
        for name, value in metrics.items():
            session.log(name, float(value), step)


def parameters(**values: object) -> None:
    """What the training is given."""
    for session in _sessions[-1:]:
        session.parameters("", values)


def heard_by(session: Session) -> Callable[[], None]:
    """Have this session hear of all trainings in this process, until what is returned is called."""
    global _is_hooked
    if not _is_hooked:
        from trimtab.hooks.frameworks import hook_in

        _is_hooked = True
        hook_in(_current)
    _sessions.append(session)
    return lambda: _sessions.remove(session)


def _current() -> Session | None:
    return _sessions[-1] if _sessions else None


def _ending(session: Session) -> None:
    from trimtab.adapters.meters import highest_resident

    session.close()
    session.say({"event": "peak", "bytes": highest_resident(os.getpid())})


def watched(path: str, *, acts: bool, priority: str = "") -> None:
    """This process is a watched job: say what happens in it to a file of events. `priority`: as `priority_of` reads."""
    from trimtab.hooks.priority import priority_of
    from trimtab.hooks.session import Session, appending

    session = Session(appending(path), acts=acts, priority=priority_of(priority))
    heard_by(session)
    inner = sys.excepthook

    def failed(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
        session.say({"event": "failed", "error": kind.__name__})
        inner(kind, error, at)

    sys.excepthook = failed
    atexit.register(_ending, session)
