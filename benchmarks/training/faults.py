"""Jobs with a fault each, and what `watch` is to call them: as root, for quotas, caps and slow disks (cgroup v1)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CRUNCH = """
import numpy as np, threading, time, sys
count, pause = int(sys.argv[1]), float(sys.argv[2])
def work():
    a = np.random.default_rng(0).random((300, 300))
    while True:
        began = time.perf_counter()
        while time.perf_counter() - began < 0.05:
            a = a @ a; a /= np.abs(a).max()
        if pause: time.sleep(pause)
for _ in range(count): threading.Thread(target=work, daemon=True).start()
time.sleep(600)
"""
PLAIN = """
import sys
total = 0
while True:
    for i in range(int(sys.argv[1])): total = (total * 31 + i) % 1000003
"""
LOADER = """
import multiprocessing as mp, sys, time
def load(queue, cost):
    while True:
        began, total = time.process_time(), 0
        while time.process_time() - began < cost: total += sum(i * i for i in range(1000))
        queue.put(total)
def main():
    cost, step, count = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    queue = mp.Queue(2)
    for _ in range(count): mp.Process(target=load, args=(queue, cost), daemon=True).start()
    while True:
        queue.get()
        began = time.process_time()
        while time.process_time() - began < step: sum(i * i for i in range(1000))
if __name__ == "__main__": main()
"""
ALTERNATE = """
import sys, threading, time
share, turns = float(sys.argv[1]), [threading.Semaphore(1), threading.Semaphore(0)]
def work(own, other):
    while True:
        own.acquire()
        began = time.perf_counter()
        while time.perf_counter() - began < 0.05: sum(range(200))
        other.release()
threading.Thread(target=work, args=(turns[0], turns[1]), daemon=True).start()
work(turns[1], turns[0])
"""
READER = """
import os, sys, time
path, step = sys.argv[1], float(sys.argv[2])
file = os.open(path, os.O_RDONLY)
size = os.fstat(file).st_size
while True:
    for at in range(0, size, 1 << 18):
        os.pread(file, 1 << 18, at)
        began = time.process_time()
        while time.process_time() - began < step: sum(range(200))
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
"""
MAPPED = """
import mmap, os, random, sys
path = sys.argv[1]
file = os.open(path, os.O_RDONLY)
size = os.fstat(file).st_size
area = mmap.mmap(file, size, prot=mmap.PROT_READ)
area.madvise(mmap.MADV_RANDOM)
draw, total = random.Random(0), 0
while True:
    for _ in range(2000): total += area[draw.randrange(size)]
    sum(range(int(sys.argv[2])))
"""
CHECKPOINTS = """
import os, sys, time
path, compute, megabytes = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
block = os.urandom(1 << 20)
while True:
    began = time.process_time()
    while time.process_time() - began < compute: sum(range(2000))
    with open(path, "wb") as file:
        for _ in range(megabytes): file.write(block)
        file.flush(); os.fsync(file.fileno())
"""


@dataclass(frozen=True)
class Case:
    """A job, its fault and the label that is right."""

    name: str
    right: str
    program: str
    arguments: tuple[str, ...] = ()
    cores: tuple[int, ...] = (0, 1)
    neighbours: int = 0  # busy processes on the same cores
    quota: float | None = None
    memory: int | None = None
    bytes_a_second: int | None = None
    file_bytes: int = 0


def cases() -> list[Case]:
    """A hundred and more."""
    made: list[Case] = []
    for cores in ((0,), (0, 1)):
        for threads in (4, 6, 8, 12, 16, 24):
            made.append(
                Case(f"{threads} threads, {len(cores)} cores", "oversubscribed", CRUNCH, (str(threads), "0"), cores)
            )
    for threads, cores in ((1, (0,)), (2, (0, 1))):
        for neighbours in (1, 2, 3, 4, 6, 8):
            made.append(Case(f"{threads} threads, {neighbours} neighbours, {len(cores)} cores", "contended", CRUNCH,
                             (str(threads), "0"), cores, neighbours * len(cores)))  # fmt: skip
    for quota in (0.3, 0.5, 0.8, 1.2):
        for threads in (1, 2, 4):
            if threads > quota:
                made.append(
                    Case(f"quota {quota}, {threads} threads", "quota-limited", CRUNCH, (str(threads), "0"), quota=quota)
                )
    for steps in (1000, 10_000, 100_000, 1_000_000):
        made.append(Case(f"a loop of {steps}", "single-thread-bound", PLAIN, (str(steps),)))
    for size in (50, 200, 400, 800):
        made.append(
            Case(f"one crunching thread, {size}", "single-thread-bound", CRUNCH.replace("300", str(size)), ("1", "0"))
        )
    for threads, pause in (
        (1, 0.05),
        (1, 0.1),
        (1, 0.2),
        (1, 0.4),
        (2, 0.15),
        (2, 0.3),
        (2, 0.5),
        (4, 0.6),
        (1, 0.03),
        (1, 1.0),
    ):
        made.append(
            Case(f"sleepy loader, {threads} threads, {pause} s", "loader-starved", CRUNCH, (str(threads), str(pause)))
        )
    for cost, step, count in (
        (0.05, 0.01, 1),
        (0.05, 0.02, 1),
        (0.1, 0.02, 1),
        (0.1, 0.01, 1),
        (0.02, 0.01, 1),
        (0.2, 0.05, 1),
    ):
        made.append(
            Case(
                f"loader of {cost} s a batch, step {step} s",
                "loader-starved",
                LOADER,
                (str(cost), str(step), str(count)),
            )
        )
    for share in range(6):
        made.append(Case(f"two threads in turn, {share}", "over-provisioned", ALTERNATE, ("0",)))
    for cores in ((0,), (1,)):
        made.append(Case(f"one thread on core {cores[0]}", "compute-bound", CRUNCH, ("1", "0"), cores))
        made.append(Case(f"a loop on core {cores[0]}", "compute-bound", PLAIN, ("1000",), cores))
    for size in (200, 300, 400, 600):
        made.append(
            Case(f"two threads on two cores, {size}", "compute-bound", CRUNCH.replace("300", str(size)), ("2", "0"))
        )
    mib = 2**20
    for rate in (2, 5, 10, 20):
        for step in (0.0, 0.002, 0.005):
            made.append(Case(f"disk of {rate} MiB/s, {step} s a block", "io-bound", READER, ("{file}", str(step)),
                             bytes_a_second=rate * mib, file_bytes=512 * mib))  # fmt: skip
    for memory in (32, 48, 64, 96):
        for work in (0, 2000, 20_000):
            made.append(Case(f"{memory} MiB for 512 MiB, {work}", "memory-bound", MAPPED, ("{file}", str(work)),
                             memory=memory * mib, file_bytes=512 * mib))  # fmt: skip
    for compute, size in ((0.5, 60), (1.0, 60), (1.0, 120), (0.3, 30), (0.5, 100), (1.5, 150), (2.0, 120), (0.2, 20)):
        arguments = ("{file}", str(compute), str(size))
        made.append(Case(f"{size} MB every {compute} s", "checkpoint-bound", CHECKPOINTS, arguments,
                         bytes_a_second=60 * mib, file_bytes=1))  # fmt: skip
    return made


@contextlib.contextmanager
def running(case: Case, folder: Path) -> Iterator[int]:
    """The job, held by its fault; its process number."""
    data = _file(folder, case.file_bytes) if case.file_bytes else folder / "none"
    arguments = [one.replace("{file}", str(data)) for one in case.arguments]
    with contextlib.ExitStack() as stack:
        groups = stack.enter_context(_groups(case, data))
        for place in range(case.neighbours):
            core = {case.cores[place % len(case.cores)]}
            neighbour = subprocess.Popen([sys.executable, "-c", PLAIN, "1000"], preexec_fn=_placed(core, []))
            stack.callback(_end, neighbour)
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        script = folder / "job.py"
        script.write_text(case.program)
        command = [sys.executable, str(script), *arguments]
        job = subprocess.Popen(command, preexec_fn=_placed(set(case.cores), groups), env=environment)
        stack.callback(_end, job)
        yield job.pid


def _placed(cores: set[int], groups: list[Path]) -> Callable[[], None]:
    def place() -> None:
        os.setsid()
        os.sched_setaffinity(0, cores)
        for one in groups:
            (one / "cgroup.procs").write_text(str(os.getpid()))

    return place


def _end(job: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(job.pid, 9)
    job.wait()


@contextlib.contextmanager
def _groups(case: Case, data: Path) -> Iterator[list[Path]]:
    made: list[Path] = []
    name = f"trimtab-{os.getpid()}"
    root = Path("/sys/fs/cgroup")
    try:
        if case.quota is not None:
            made.append(_group(root / "cpu" / name, {"cpu.cfs_quota_us": str(int(case.quota * 100_000))}))
        if case.memory is not None:
            made.append(_group(root / "memory" / name, {"memory.limit_in_bytes": str(case.memory)}))
        if case.bytes_a_second is not None:
            device = os.stat(data.parent).st_dev
            rule = f"{os.major(device)}:{os.minor(device)} {case.bytes_a_second}"
            limits = {f"blkio.throttle.{one}_bps_device": rule for one in ("read", "write")}
            made.append(_group(root / "blkio" / name, limits))
        yield made
    finally:
        for one in made:
            for _ in range(50):
                with contextlib.suppress(OSError):
                    one.rmdir()
                    break
                subprocess.run(["sleep", "0.05"], check=False)


def _group(place: Path, settings: dict[str, str]) -> Path:
    place.mkdir(exist_ok=True)
    for key, value in settings.items():
        (place / key).write_text(value)
    return place


def _file(folder: Path, size: int) -> Path:
    """A file of so many bytes that no cache holds."""
    path = folder / f"data-{size}"
    if not path.exists():
        with path.open("wb") as file:
            for _ in range(size >> 20):
                file.write(os.urandom(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    file_number = os.open(path, os.O_RDONLY)
    os.posix_fadvise(file_number, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file_number)
    return path


def workplace() -> tempfile.TemporaryDirectory[str]:
    """A folder on a disk, for files."""
    place = Path(".bench")
    place.mkdir(exist_ok=True)
    return tempfile.TemporaryDirectory(dir=place)
