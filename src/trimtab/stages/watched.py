"""Policy programs in files: read once, watched, and taken anew when they change."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from trimtab.adapters.programs import ProgramFault
from trimtab.core.errors import InputError

Say = Callable[[str], None]


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

    def _now(self) -> tuple[int, int] | None:
        with suppress(OSError):
            found = self._file.stat() if self._file is not None else None
            return None if found is None else (found.st_mtime_ns, found.st_size)
        return None


def swapped(swap: Callable[[str], None], text: str, say: Say) -> None:
    """Put a changed program in force, or say why it was refused."""
    try:
        swap(text)
        say("another policy is in force")
    except ProgramFault as fault:
        say(f"the changed policy was refused, the old one stays: {fault}")


def text_of(file: Path) -> str:
    """A program's text. Raises InputError."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}", hint="name a file with a policy program") from None
