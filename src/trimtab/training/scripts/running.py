"""Runs a version of a script in a copy of its folder, with its seeds shifted, and reads off what came and what it cost.

The copy is private: what a version writes, no other finds. Files beyond a size are linked, not copied.
"""

from __future__ import annotations

import functools
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trimtab.hooks
from trimtab.adapters.gpus import GpuMeter
from trimtab.adapters.meters import TreeMeter, waited_peak
from trimtab.adapters.runners.process import end_tree, nested_mark
from trimtab.core.model import Failure, Spend
from trimtab.training.allocation.heard import EventFile, Heard
from trimtab.training.scripts.metric import Found, find, seen

LARGEST_COPY = 64 << 20  # bytes of a file
LEFT_OUT = (".git", ".trimtab", "__pycache__", ".venv", "venv", "node_modules", ".ipynb_checkpoints")
PRINTED_BYTES = 4 << 20
LOOK_SECONDS = 0.2
TAIL = 400  # characters of what a run said, for its Failure


@dataclass(frozen=True)
class Script:
    """A script as it is run: arguments, interpreter, the metric by which its result is judged."""

    path: str
    arguments: tuple[str, ...]
    metric: str
    python: str = sys.executable
    wall_seconds: float = 3600.0  # of one run, at the most


@dataclass(frozen=True, slots=True)
class Ran:
    """A run's result and cost. steps: of its optimizer or boosting, where they are seen."""

    found: Found
    steps: int
    spent: Spend


def ran(script: Script, source: str, seed: int) -> Ran | Failure:
    """Run a version of the script's source with every seed shifted by `seed`."""
    with tempfile.TemporaryDirectory(prefix="trimtab-script-", ignore_cleanup_errors=True) as place:
        folder, events = Path(place) / "copy", Path(place) / "events"
        mark = nested_mark()
        version = _copied(Path(script.path), folder, source)
        output = Path(place) / "output"
        with output.open("wb") as file:
            job = subprocess.Popen(
                [script.python, version.name, *script.arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT, env=_environment(place, events, seed, mark), start_new_session=True,
            )  # fmt: skip
            why, spent = _watched(job, script.wall_seconds, mark)
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - PRINTED_BYTES))
            printed = file.read().decode("utf-8", "replace")
        heard = Heard()
        for event in EventFile(events).news():
            heard.take(event)
    return _judged(script, why, printed, heard, spent)


def _judged(script: Script, why: str, printed: str, heard: Heard, spent: Spend) -> Ran | Failure:
    if why:
        last = printed.strip()[-TAIL:]
        hint = "; it reads standard input, which is empty here" if "EOFError" in last else ""
        return Failure(f"{why}{hint}: {last}" if last else why + hint, spent)
    found = find(script.metric, heard, printed)
    if found is None:
        known = ", ".join(seen(heard, printed)) or "nothing"
        return Failure(f"it said no {script.metric!r}; it said {known}", spent)
    if found.last != found.last:
        return Failure(f"its {script.metric} is NaN", spent)
    return Ran(found, int(heard.progress[-1][1]) if heard.progress else 0, spent)


def _watched(job: subprocess.Popen[bytes], wall_seconds: float, mark: str) -> tuple[str, Spend]:
    """Why it failed, if it did, and what it cost with all that it started; nothing of it lives on."""
    meter, held, began = TreeMeter(job.pid), GpuMeter(), time.monotonic()
    with closing_pidfd(job.pid) as poll:
        while not (is_done := bool(poll.poll(1000 * LOOK_SECONDS))) and time.monotonic() < began + wall_seconds:
            meter.sample()
            held.look(meter.pids)
    wall = time.monotonic() - began
    cpu, peak = (0.0, 0)
    if is_done:
        _, status, usage = os.wait4(job.pid, 0)
        job.returncode = os.waitstatus_to_exitcode(status)
        cpu, peak = usage.ru_utime + usage.ru_stime, waited_peak(usage)
    end_tree(job, mark)
    sampled = meter.spent()
    spent = Spend(
        cpu_seconds=max(cpu, sampled.cpu_seconds),
        wall_seconds=wall,
        peak_rss_bytes=max(peak, sampled.peak_rss_bytes),
        run_delay_seconds=sampled.run_delay_seconds,
        gpu_seconds=held.seconds,
        peak_gpu_bytes=held.memory,
    )
    if not is_done:
        return f"it was not done after {wall_seconds:.0f} s", spent
    if job.returncode == 0:
        return "", spent
    how = f"signal {-job.returncode}" if job.returncode < 0 else f"exit code {job.returncode}"
    return f"it failed with {how}", spent


@contextmanager
def closing_pidfd(pid: int) -> Iterator[select.poll]:
    """Something to wait on for the end of a process."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        yield poll
    finally:
        os.close(pidfd)


def _copied(script: Path, folder: Path, source: str) -> Path:
    """A private copy of the script's folder with this source in the script's place."""
    home = script.parent

    def link_large(source_file: str, to: str) -> None:
        if os.path.getsize(source_file) > LARGEST_COPY:
            os.symlink(source_file, to)
        else:
            shutil.copy2(source_file, to)

    shutil.copytree(
        home, folder, copy_function=link_large, ignore=shutil.ignore_patterns(*LEFT_OUT), ignore_dangling_symlinks=True
    )
    version = folder / script.name
    version.write_text(source, encoding="utf-8")
    return version


def _environment(place: str, events: Path, seed: int, mark: str) -> dict[str, str]:
    private = Path(place) / "private"
    private.mkdir()
    name, _, token = mark.partition("=")
    return {
        **os.environ,
        name: token,
        "PYTHONPATH": os.pathsep.join(one for one in (_agent(), os.environ.get("PYTHONPATH", "")) if one),
        "PYTHONHASHSEED": str(seed % 2**32),
        "PYTHONUNBUFFERED": "",
        "TMPDIR": str(private),
        "XDG_CACHE_HOME": str(private),
        "TRIMTAB_WATCH": str(events),
        "TRIMTAB_SEED": str(seed),
    }


@functools.cache
def _agent() -> str:
    return str(Path(trimtab.hooks.__file__).parent / "agent")
