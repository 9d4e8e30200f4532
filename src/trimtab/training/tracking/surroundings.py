"""What a run depends on besides its parameters: packages, code, the files that it reads. Looked up rarely."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trimtab.core.events import Kept
from trimtab.core.model import Json

GIT_SECONDS = 10
DIFF_BYTES = 1 << 20  # of a diff that are kept
FRESH_SECONDS = 30.0  # for which the code's state is believed
WHOLE_BYTES = 1 << 30  # files beyond it are hashed by their ends and size
END_BYTES = 1 << 24
DATA = (".csv", ".tsv", ".parquet", ".feather", ".arrow", ".json", ".jsonl", ".npy", ".npz", ".txt", ".pkl", ".h5")


@functools.cache
def environment() -> Kept:
    """Python, the platform and the packages installed, as a text."""
    from importlib import metadata

    packages = sorted({f"{one.name}=={one.version}" for one in metadata.distributions() if one.name}, key=str.lower)
    return _kept("\n".join([f"python=={platform.python_version()}", f"platform=={platform.platform()}", *packages]))


def code(command: Sequence[str], place: Path) -> tuple[dict[str, Json], tuple[Kept, ...]]:
    """Script, commit and diff of a run's code, with the texts that they name; what is not under git has no commit."""
    script = _script(tuple(command), place)
    found: dict[str, Json] = {}
    texts: list[Kept] = []
    if script is not None:
        found |= {"script": script.name, "script_sha256": _hash_now(str(script))}
    where = script.parent if script is not None else place
    commit, diff = _git_state(str(where), int(time.monotonic() / FRESH_SECONDS))
    if commit:
        found |= {"commit": commit, "is_changed": bool(diff)}
    if diff:
        texts.append(_kept(diff))
        found["diff"] = texts[-1].sha256
    return found, tuple(texts)


def data_hashes(paths: Sequence[str]) -> Mapping[str, str]:
    """SHA-256 of the data files among these, by path as it was opened; what is gone is left out."""
    found = {}
    for path in dict.fromkeys(paths):
        if path.endswith(DATA) and os.path.isfile(path):
            found[path] = _hash_now(path)
    return found


def _hash_now(path: str) -> str:
    with_stat = os.stat(path)
    return _data_hash(os.path.abspath(path), with_stat.st_size, with_stat.st_mtime_ns)


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_listeners: list[list[str]] = []
_listens = False


def note_opened(paths: list[str]) -> Callable[[], None]:
    """Have data files that this process opens to read noted in a list, until what is returned is called."""
    global _listens
    if not _listens:  # Python's audit hooks stay for good: one serves all
        _listens = True
        sys.addaudithook(_heard)
    _listeners.append(paths)
    return lambda: _listeners.remove(paths)


def _heard(event: str, arguments: tuple[object, ...]) -> None:
    if _listeners and event == "open" and len(arguments) > 1:
        path, mode = arguments[0], arguments[1]
        if isinstance(path, str) and path.endswith(DATA) and "r" in str(mode or "r") and not _is_installed(path):
            _listeners[-1].append(path)


def _is_installed(path: str) -> bool:
    """Whether a file belongs to Python or a package."""
    return os.path.abspath(path).startswith((sys.prefix + os.sep, sys.base_prefix + os.sep)) or ".dist-info" in path


@functools.lru_cache(maxsize=1024)
def _data_hash(path: str, size: int, changed: int) -> str:
    if size <= WHOLE_BYTES:
        return file_hash(Path(path))
    ends = hashlib.sha256(f"ends of {size} bytes".encode())
    with open(path, "rb") as file:
        ends.update(file.read(END_BYTES))
        file.seek(-END_BYTES, os.SEEK_END)
        ends.update(file.read(END_BYTES))
    return f"ends-{ends.hexdigest()}"


@functools.lru_cache(maxsize=16)
def _git_state(place: str, fresh: int) -> tuple[str, str]:
    commit = _git(place, "rev-parse", "HEAD").strip()
    return (commit, _git(place, "diff", "HEAD")[:DIFF_BYTES]) if commit else ("", "")


def _git(place: str, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", place, *words], capture_output=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


@functools.lru_cache(maxsize=16)
def _script(command: tuple[str, ...], place: Path) -> Path | None:
    """The first word of a command that names a file other than an interpreter."""
    for word in command:
        path = place / word
        if path.suffix in (".py", ".sh", ".ipynb", ".R", ".jl") and path.is_file():
            return path.resolve()
    return None


def _kept(text: str) -> Kept:
    return Kept(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), text)
