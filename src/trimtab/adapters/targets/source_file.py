"""A source file whose text a decision replaces, at once or not at all; its permissions stay."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from trimtab.core.errors import TargetError


@dataclass(frozen=True)
class SourceFile:
    """A text file. Its plan is its text."""

    path: Path

    @property
    def name(self) -> str:
        """The target's name in the ledger."""
        return f"source:{self.path.name}"

    def read(self) -> str:
        """The text. Raises TargetError when it cannot be read."""
        try:
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TargetError(f"{self.path} cannot be read: {error}", hint="is it still there?") from None

    def write(self, plan: str) -> None:
        """Replace the text and sync it to disk. Raises TargetError."""
        try:
            mode = self.path.stat().st_mode
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False, encoding="utf-8") as file:
                file.write(plan)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(file.name, mode & 0o7777)
            os.replace(file.name, self.path)
        except OSError as error:
            raise TargetError(f"{self.path} cannot be written: {error.strerror}", hint="check its folder") from None
