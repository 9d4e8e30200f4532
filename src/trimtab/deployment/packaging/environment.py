"""Environments that hold exactly what a service pins, made once for the same pins."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from trimtab.core.errors import OutsideError

INSTALL_SECONDS = 600


def environment(constraints: Path, cache: Path) -> Path:
    """The python of a virtual environment with what a constraints file pins, and nothing else.

    Raises OutsideError when the packages cannot be installed, as without a network.
    """
    key = hashlib.sha256(constraints.read_bytes() + sys.version.encode()).hexdigest()[:24]
    to = cache / "venvs" / key
    if not (to / "bin" / "python").exists():
        to.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{key}-"))
        try:
            _build(building, constraints)
            _put(building, to)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return to / "bin" / "python"


def own_variables() -> dict[str, str]:
    """The variables of this process without those that would let its packages into another Python."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")
    return {name: value for name, value in os.environ.items() if name not in hidden} | {"PYTHONNOUSERSITE": "1"}


def _build(folder: Path, constraints: Path) -> None:
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    python = str(folder / "bin" / "python")
    # The pip of this environment installs into that one, which is spared a pip of its own.
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    pip = [sys.executable, "-m", "pip", "--python", python, "install", *quiet]
    _run([*pip, "--no-deps", "-r", str(constraints)])


def _put(building: Path, to: Path) -> None:
    try:
        os.replace(building, to)
    except OSError:
        if not (to / "bin" / "python").exists():
            raise


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, env=own_variables(), capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise OutsideError(f"installing took over {INSTALL_SECONDS} s", hint="is the package index in reach?") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.strip().splitlines() if "WARNING" not in line]
        raise OutsideError(
            f"an environment for the service could not be made: {' '.join(lines[-2:])[:400]}",
            hint="is the package index in reach? The pins are in constraints.txt",
        )
