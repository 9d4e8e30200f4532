"""Exact versions of what a service needs, and of what that needs, as they are installed here."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from trimtab.adapters.models.form import PACKAGES
from trimtab.core.errors import InputError

SERVER = ("fastapi", "uvicorn", "uvloop", "httptools", "numpy")


def pins(kind: str, reads_frames: bool) -> str:
    """The text of a constraints file. Raises InputError when a needed package is not installed here."""
    roots = (*SERVER, *PACKAGES[kind], *(("pandas",) if reads_frames else ()))
    return "".join(f"{name}=={version}\n" for name, version in sorted(closure(roots).items()))


def closure(roots: Iterable[str]) -> dict[str, str]:
    """Names and versions of packages and all that they require, extras aside."""
    found: dict[str, str] = {}
    queue = [canonicalize_name(name) for name in roots]
    while queue:
        name = queue.pop()
        if name in found:
            continue
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise InputError(f"the service needs {name}, which is not installed", hint=f"pip install {name}") from None
        found[name] = package.version
        for line in package.requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                queue.append(canonicalize_name(needed.name))
    return found
