"""A private PostgreSQL server in a temporary folder, from the programs that Debian's `postgresql` package brings."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def programs() -> str | None:
    """The folder with initdb and pg_ctl, or None."""
    on_path = shutil.which("initdb")
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb")) + ([on_path] if on_path else [])
    return str(Path(found[-1]).parent) if found else None


@contextmanager
def server(bin_folder: str) -> Iterator[str]:
    """Start a server that only a socket in its folder reaches; gives the socket's folder, then stops it."""
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as folder:
        os.chmod(folder, 0o777)
        place = Path(folder) / "store"
        _as_plain_user(f"{bin_folder}/initdb", "-D", str(place), "-U", "trimtab", "-A", "trust", "-N", "-E", "UTF8")
        options = f"-k {folder} -c listen_addresses='' -c max_connections=20"
        _as_plain_user(f"{bin_folder}/pg_ctl", "-D", str(place), "-w", "-l", f"{folder}/log", "-o", options, "start")
        try:
            yield folder
        finally:
            _as_plain_user(f"{bin_folder}/pg_ctl", "-D", str(place), "-w", "-m", "immediate", "stop")


def _as_plain_user(*command: str) -> None:
    # The server refuses to run as root.
    prefix = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
    subprocess.run([*prefix, *command], check=True, stdout=subprocess.DEVNULL, cwd="/tmp", timeout=60)
