"""Policy programs in files: read once, watched, and taken anew when they change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trimtab.adapters.programs import ProgramFault
from trimtab.core.errors import InputError, TrimtabError
from trimtab.core.events import Noticed
from trimtab.core.ports import Ledger

Say = Callable[[str], None]
IN_FORCE = "another policy is in force"
REFUSED = "the changed policy was refused, the old one stays: {fault}"


class Watched:
    """A file that may change. None: there is none."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._stamp = self._now()

    def changed(self) -> str | None:
        """Its text, when it has changed since it was last looked at."""
        if self._file is None or (stamp := self._now()) == self._stamp:
            return None
        self._stamp = stamp
        with suppress(OSError, UnicodeDecodeError):
            return self._file.read_text(encoding="utf-8")
        return None

    def again(self) -> None:
        """Forget that it was looked at: it has changed, the next time it is asked for."""
        self._stamp = None

    def _now(self) -> tuple[int, int] | None:
        with suppress(OSError):
            found = self._file.stat() if self._file is not None else None
            return None if found is None else (found.st_mtime_ns, found.st_size)
        return None


class Spell:
    """Work that goes on when something outside it fails; the failure is said once, until it is another or over."""

    def __init__(self, say: Say) -> None:
        self._say, self._said = say, ""

    @contextmanager
    def outlived(self) -> Iterator[None]:
        """Say what is raised in here, and go on behind it."""
        try:
            yield
            self._said = ""
        except TrimtabError as error:
            if error.message != self._said:
                self._said = error.message
                self._say(f"it goes on, and tries again: {error.message}")


def taken(take: Callable[[str], None], text: str, say: Say) -> None:
    """Take a changed program, or say why it was refused."""
    try:
        take(text)
    except ProgramFault as fault:
        say(REFUSED.format(fault=fault))


def noted(ledger: Ledger, event: Noticed, say: Say) -> None:
    """Write an event down; what runs goes on when that fails."""
    say(event.what)
    try:
        ledger.append(event)
    except TrimtabError as error:
        say(f"the ledger does not take it: {error.message}")


def text_of(file: Path) -> str:
    """A program's text. Raises InputError."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}", hint="name a file with a policy program") from None
