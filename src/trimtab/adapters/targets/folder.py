"""A folder that is switched as a whole: a link to one of several kept versions, each named by its content."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from trimtab.core.errors import InputError, TargetError


@dataclass(frozen=True)
class Folder:
    """A link at `path` to one of the versions in `path`.versions. Its plan is a version's name, None without a link."""

    path: Path

    @property
    def name(self) -> str:
        """The target's name in the ledger."""
        return f"folder:{self.path.name}"

    @property
    def versions(self) -> Path:
        """Where the versions are kept."""
        return self.path.with_name(f"{self.path.name}.versions")

    def keep(self, folder: Path) -> str:
        """Copy a folder into the versions, synced to disk; returns its name. Raises InputError, TargetError."""
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder", hint="name the folder to put in place")
        try:
            self.versions.mkdir(parents=True, exist_ok=True)
            version = _content(folder)
            if not (self.versions / version).exists():
                self._copy(folder, version)
        except OSError as error:
            raise TargetError(f"{self.versions} cannot be written: {error}", hint="make room, or check it") from None
        return version

    def read(self) -> str | None:
        """The version that stands. Raises TargetError when something else than our link is there."""
        if not os.path.lexists(self.path):
            return None
        try:
            linked = Path(os.readlink(self.path))
        except OSError:
            raise TargetError(f"{self.path} is no link of ours", hint="move it away: it is not overwritten") from None
        return linked.name

    def write(self, plan: str | None) -> None:
        """Switch to a version, or to none, in one step. Raises TargetError; what stood stays in place then."""
        self.read()
        try:
            if plan is None:
                self.path.unlink(missing_ok=True)
            else:
                self._link(plan)
            _sync(self.path.parent)
        except OSError as error:
            raise TargetError(f"{self.path} cannot be switched: {error}", hint="check its folder") from None

    def _link(self, version: str) -> None:
        if not (self.versions / version).is_dir() or Path(version).name != version:
            raise TargetError(f"{self.versions} holds no version {version!r}", hint="`keep` it first")
        with tempfile.TemporaryDirectory(dir=self.path.parent) as folder:
            link = Path(folder) / "link"
            link.symlink_to(Path(self.versions.name) / version)
            os.replace(link, self.path)

    def _copy(self, folder: Path, version: str) -> None:
        with tempfile.TemporaryDirectory(dir=self.versions) as scratch:
            copy = Path(scratch) / version
            shutil.copytree(folder, copy)
            for one in [*sorted(copy.rglob("*")), copy]:
                _sync(one)
            if _content(copy) != version:
                raise TargetError(f"{folder} changed while it was copied", hint="try again")
            os.replace(copy, self.versions / version)
        _sync(self.versions)


def _content(folder: Path) -> str:
    """A name that two folders share only when they hold the same files."""
    total = hashlib.sha256()
    for one in sorted(folder.rglob("*")):
        if one.is_file():
            with one.open("rb") as file:
                inside = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{one.relative_to(folder).as_posix()}\0{inside}\0".encode())
    return total.hexdigest()[:16]


def _sync(place: Path) -> None:
    opened = os.open(place, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
