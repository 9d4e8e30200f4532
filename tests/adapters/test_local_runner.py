"""The local runner, with real children that do what bad children do."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trimtab.adapters.meters import process_usage
from trimtab.adapters.runners.local import LocalRunner
from trimtab.adapters.runners.process import LOG_BYTES
from trimtab.adapters.runners.worker import MOST_BYTES
from trimtab.core.errors import OutsideError
from trimtab.core.model import Failure
from trimtab.core.ports import Limits, Result, Returned, Task

HERE = "tests.adapters.test_local_runner"


def add(a: int, b: int) -> int:
    return a + b


def leave(code: int) -> None:
    os._exit(code)


def detach_and_wait(to: str) -> None:
    """Start a process in a session of its own, tell both numbers, and wait for ever."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
    for name, pid in (("worker", os.getpid()), ("child", child.pid)):
        (Path(to) / "new").write_text(str(pid))
        (Path(to) / "new").rename(Path(to) / name)
    time.sleep(1000)


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash() -> None:
    ctypes.string_at(0)


def grow() -> None:
    held = []
    while True:
        held.append(bytearray(b"x" * 10_000_000))


def spin() -> None:
    while True:
        pass


def spin_in_grandchild() -> None:
    subprocess.run([sys.executable, "-c", "while True: pass"], check=False)


def detach_and_spin() -> int:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    return child.pid


def sleep() -> None:
    time.sleep(1000)


def shout() -> str:
    for _ in range(100):
        print("x" * 1_000_000)
    return "said it"


def nothing_finite() -> float:
    return float("nan")


def stumble() -> None:
    raise ValueError("no such thing")


def burn(seconds: float) -> int:
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass
    return os.getpid()


def sleeper(**options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], **options)


def leave_children_and_die() -> None:
    print([sleeper().pid, sleeper(start_new_session=True).pid])
    os.kill(os.getpid(), signal.SIGKILL)


def fork_and_die() -> None:
    if os.fork() == 0:
        time.sleep(1000)  # and holds the pipe to the parent open
    os._exit(5)


def breed() -> None:
    """Four children that keep four more alive, each of them gone from the tree by a double fork."""
    code = "import os, time\nfor _ in range(4):\n  if os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n"
    for _ in range(4):
        subprocess.Popen([sys.executable, "-c", code + "while True: pass"])
    spin()


def shout_forever() -> None:
    while True:
        print("x" * 1_000_000)


def size_of_output() -> int:
    return os.fstat(2).st_size


def complain() -> None:
    print("a complaint of its own", file=sys.stderr)
    os._exit(1)


def addresses() -> int:
    return resource.getrlimit(resource.RLIMIT_AS)[0]


def huge() -> str:
    return "x" * (MOST_BYTES + 1)


def an_object() -> object:
    return object()


def paths() -> list[str]:
    return sys.path


def threads() -> str:
    return os.environ["OMP_NUM_THREADS"]


def hold(megabytes: int) -> int:
    return len(bytearray(b"x") * (megabytes * 2**20))


def burn_in_child(seconds: float) -> None:
    code = f"import time\nwhile time.process_time() < {seconds}: pass"
    subprocess.run([sys.executable, "-c", code], check=True)


def task(name: str, limits: Limits | None = None, **arguments: object) -> Task:
    return Task(f"{HERE}:{name}", arguments, name, limits or Limits())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def runner() -> Iterator[LocalRunner]:
    with LocalRunner() as runner:
        yield runner


def one(runner: LocalRunner, wanted: Task) -> Result:
    (result,) = runner.map([wanted])
    return result


def test_a_task_returns_its_value_and_what_it_spent(runner: LocalRunner) -> None:
    one(runner, task("burn", seconds=0.0))  # what a worker's start and imports cost differs from machine to machine
    result = one(runner, task("burn", seconds=1.0))
    assert isinstance(result.outcome, Returned)
    assert 0.95 < result.cost.cpu_seconds < 1.9  # charged once
    assert result.cost.peak_rss_bytes > 5_000_000


def test_results_come_in_the_order_of_the_tasks() -> None:
    with LocalRunner(workers=2) as runner:
        wanted = [task("burn", seconds=0.3), *(task("add", a=i, b=1) for i in range(5))]
        values = [result.outcome.value for result in runner.map(wanted)]  # type: ignore[union-attr]
    assert values[1:] == [1, 2, 3, 4, 5]


def test_workers_keep_what_they_imported(runner: LocalRunner) -> None:
    first, second = (one(runner, task("burn", seconds=0.0)).outcome for _ in range(2))
    assert first == second  # the same process


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("kill_self", "killed by signal 9"),
        ("crash", "killed by signal 11"),
        ("stumble", "raised ValueError: no such thing (test_local_runner.py, line"),
        ("nothing_finite", "not JSON"),
        ("an_object", "not JSON"),
        ("huge", "the result has"),
        ("fork_and_die", "exited with code 5"),
        ("missing", "raised AttributeError"),
    ],
)
def test_a_task_that_dies_is_a_failure_and_the_next_one_runs(runner: LocalRunner, name: str, reason: str) -> None:
    results = list(runner.map([task(name), task("add", a=1, b=2)]))
    assert isinstance(results[0].outcome, Failure)
    assert reason in results[0].outcome.reason
    assert results[1].outcome == Returned(3)


def test_an_exit_is_a_failure_with_its_code(runner: LocalRunner) -> None:
    assert "exited with code 3" in one(runner, task("leave", code=3)).outcome.reason  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "limits", "reason"),
    [
        ("spin", Limits(cpu_seconds=0.5), "used more than 0.5 CPU-s"),
        ("spin_in_grandchild", Limits(cpu_seconds=0.5), "used more than 0.5 CPU-s"),
        ("sleep", Limits(wall_seconds=0.5), "gave no answer within 0.5 s"),
        ("sleep", Limits(idle_seconds=1.0), "did nothing for 1 s"),
        ("grow", Limits(memory_bytes=300 * 2**20), "needed more than 300 MiB"),
    ],
)
def test_limits_are_kept(runner: LocalRunner, name: str, limits: Limits, reason: str) -> None:
    result = one(runner, task(name, limits))
    assert isinstance(result.outcome, Failure)
    assert reason in result.outcome.reason
    assert result.cost.cpu_seconds < 1.5
    assert result.cost.peak_rss_bytes < 600 * 2**20


def test_the_cpu_of_children_is_the_tasks_own(runner: LocalRunner) -> None:
    # Beside what it burns, the child has to start: that costs more on a busy host. Counted twice, it would be 2 s.
    assert 1.0 <= one(runner, task("burn_in_child", seconds=1.0)).cost.cpu_seconds < 1.9
    assert one(runner, task("add", a=1, b=1)).cost.cpu_seconds < 0.1


def test_the_peak_is_that_of_one_task_alone(runner: LocalRunner) -> None:
    large, small = (one(runner, task("hold", megabytes=size)).cost.peak_rss_bytes for size in (200, 1))
    assert large > 200 * 2**20 > small + 100 * 2**20


def test_what_all_tasks_cost_is_what_the_worker_used() -> None:
    with LocalRunner() as runner:
        costs = [one(runner, task("burn", seconds=0.05)).cost.cpu_seconds for _ in range(10)]
        pid = int(one(runner, task("burn", seconds=0.0)).outcome.value)  # type: ignore[union-attr, arg-type]
        usage = process_usage(pid)
    assert usage is not None
    assert sum(costs) == pytest.approx(usage.cpu_seconds, abs=0.05)


def test_whole_families_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_TEST_FAMILY", f"family-{os.getpid()}")
    with LocalRunner() as runner:
        result = one(runner, task("breed", Limits(cpu_seconds=1.0)))
    assert isinstance(result.outcome, Failure)
    assert not [pid for pid in family(f"family-{os.getpid()}") if _is_running(pid)]


def test_what_outlives_a_dead_worker_is_killed(runner: LocalRunner) -> None:
    outcome = one(runner, task("leave_children_and_die")).outcome
    assert isinstance(outcome, Failure)
    left = [int(word.strip(" []")) for word in outcome.reason.rsplit("[", 1)[1].split(",")]
    assert len(left) == 2
    assert not any(_is_running(pid) for pid in left)


def test_endless_output_does_not_fill_the_disk(runner: LocalRunner) -> None:
    assert "within 1 s" in one(runner, task("shout_forever", Limits(wall_seconds=1.0))).outcome.reason  # type: ignore[union-attr]
    one(runner, task("shout"))
    size = one(runner, task("size_of_output")).outcome
    assert isinstance(size, Returned)
    assert int(size.value) < LOG_BYTES  # type: ignore[arg-type]


def test_a_failure_quotes_the_output_of_its_own_task(runner: LocalRunner) -> None:
    reason = one(runner, task("complain")).outcome.reason  # type: ignore[union-attr]
    assert reason == "the process exited with code 1: a complaint of its own"


def test_a_task_finds_the_modules_that_the_parent_finds(
    runner: LocalRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    with LocalRunner(threads=2) as fresh:
        outcomes = [result.outcome for result in fresh.map([task("paths"), task("threads")])]
    assert isinstance(outcomes[0], Returned)
    assert str(tmp_path) in list(outcomes[0].value)  # type: ignore[arg-type]
    assert outcomes[1] == Returned("2")


def test_a_burst_of_memory_is_bounded_and_the_bound_ends_with_the_task(runner: LocalRunner) -> None:
    limited, free = runner.map([task("addresses", Limits(memory_bytes=2**28)), task("addresses")])
    assert isinstance(limited.outcome, Returned)
    assert 2**28 < int(limited.outcome.value) < 2**28 + 20 * 2**30  # type: ignore[arg-type]
    assert free.outcome == Returned(resource.getrlimit(resource.RLIMIT_AS)[0])


@pytest.mark.parametrize(
    ("program", "reason"), [("/bin/false", "exited with code 1"), ("/no/such/python", "could not be started")]
)
def test_workers_that_cannot_start_are_the_operators_to_mend(
    program: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    with LocalRunner() as broken, pytest.raises(OutsideError, match=reason):
        one(broken, task("add", a=1, b=1))


def test_closing_ends_a_task_that_would_never_end() -> None:
    runner = LocalRunner()
    results = runner.map([task("sleep"), task("sleep")])
    threading.Timer(1.0, runner.close).start()
    outcome = next(results).outcome
    assert isinstance(outcome, Failure)
    assert "killed by signal 9" in outcome.reason


def test_what_a_task_leaves_running_is_killed(runner: LocalRunner) -> None:
    outcome = one(runner, task("detach_and_spin")).outcome
    assert isinstance(outcome, Returned)
    deadline = time.monotonic() + 5
    while _is_running(int(outcome.value)) and time.monotonic() < deadline:  # type: ignore[arg-type]
        time.sleep(0.05)
    assert not _is_running(int(outcome.value))  # type: ignore[arg-type]


def test_a_flood_of_output_harms_nobody(runner: LocalRunner) -> None:
    assert one(runner, task("shout")).outcome == Returned("said it")


def test_a_worker_that_is_killed_between_tasks_is_replaced(runner: LocalRunner) -> None:
    pid = one(runner, task("burn", seconds=0.0)).outcome.value  # type: ignore[union-attr]
    os.kill(int(pid), signal.SIGKILL)  # type: ignore[arg-type]
    time.sleep(0.1)
    assert one(runner, task("add", a=1, b=1)).outcome == Returned(2)


def test_all_below_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    places = [tmp_path / "worker", tmp_path / "child"]
    script = (
        "from trimtab.adapters.runners.local import LocalRunner\n"
        "from trimtab.core.ports import Limits, Task\n"
        f"next(LocalRunner().map([Task('{HERE}:detach_and_wait', {{'to': {str(tmp_path)!r}}}, 'k', Limits())]))"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while not all(place.exists() for place in places) and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [int(place.read_text()) for place in places]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while any(map(_is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_is_running, pids))


def _is_running(pid: int) -> bool:
    usage = process_usage(pid)
    return usage is not None and usage.rss_bytes > 0


def family(mark: str) -> list[int]:
    """Processes with a mark in their environment."""
    return [int(one.parent.name) for one in Path("/proc").glob("[0-9]*/environ") if mark.encode() in _bytes(one)]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
