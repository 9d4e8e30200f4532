"""A JSON file that holds the applied plan; no file means that nothing is applied."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from trimtab.core.errors import TargetError
from trimtab.core.model import Json
from trimtab.core.wire import dump


@dataclass(frozen=True)
class PlanFile:
    """A plan as JSON in a file, replaced atomically and synced to disk. Its plan is None while there is no file."""

    path: Path

    @property
    def name(self) -> str:
        """The target's name in the ledger."""
        return f"plan-file:{self.path.name}"

    def read(self) -> Json:
        """The applied plan. Raises TargetError when the file is there but is not JSON."""
        try:
            plan: Json = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise TargetError(f"{self.path} cannot be read: {error}", hint="repair or remove it") from None
        return plan

    def write(self, plan: Json) -> None:
        """Put a plan in place, or remove the file for None. Raises TargetError."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._replace(json.dumps(dump(plan), indent=1) + "\n") if plan is not None else self._remove()
        except OSError as error:
            raise TargetError(f"{self.path} cannot be written: {error.strerror}", hint="check its folder") from None

    def _replace(self, text: str) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False, encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, self.path)
        self._sync_folder()

    def _remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._sync_folder()

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
