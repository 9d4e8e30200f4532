"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from trimtab.core.errors import TargetError


def make_store(folder: Path) -> Path:
    """The pipeline's own folder for trimtab. Raises TargetError when it cannot be made."""
    store = folder / ".trimtab"
    try:
        store.mkdir(exist_ok=True)
    except OSError as error:
        raise TargetError(
            f"{store} cannot be made: {error.strerror}", hint="choose a folder that you may write"
        ) from None
    if not os.access(store, os.W_OK):
        raise TargetError(f"{store} cannot be written", hint="choose a folder that you may write")
    return store


def write_whole(to: Path, text: str) -> None:
    """Write a text file beside its place, then move it there. Raises TargetError when it cannot be written."""
    try:
        with tempfile.NamedTemporaryFile("w", dir=to.parent, prefix=".", delete=False, encoding="utf-8") as file:
            building = Path(file.name)
            try:
                file.write(text)
                file.close()
                building.chmod(0o644)
                os.replace(building, to)
            except BaseException:
                building.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise TargetError(f"{to} cannot be written: {error.strerror}", hint="choose another place") from None
