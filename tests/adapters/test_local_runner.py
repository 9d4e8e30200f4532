"""The local runner, with real children that do what bad children do."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time

import pytest

from trimtab.adapters.meters import process_usage
from trimtab.adapters.runners.local import LocalRunner
from trimtab.core.model import Failure
from trimtab.core.ports import Limits, Result, Returned, Task

HERE = "tests.adapters.test_local_runner"


def add(a: int, b: int) -> int:
    return a + b


def leave(code: int) -> None:
    os._exit(code)


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


def task(name: str, limits: Limits | None = None, **arguments: object) -> Task:
    return Task(f"{HERE}:{name}", arguments, name, limits or Limits())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def runner():  # type: ignore[no-untyped-def]
    with LocalRunner() as runner:
        yield runner


def one(runner: LocalRunner, wanted: Task) -> Result:
    (result,) = runner.map([wanted])
    return result


def test_a_task_returns_its_value_and_what_it_spent(runner: LocalRunner) -> None:
    result = one(runner, task("burn", seconds=0.3))
    assert isinstance(result.outcome, Returned)
    assert 0.25 < result.cost.cpu_seconds < 0.6
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
        ("grow", Limits(memory_bytes=300 * 2**20), "needed more than 300 MiB"),
    ],
)
def test_limits_are_kept(runner: LocalRunner, name: str, limits: Limits, reason: str) -> None:
    result = one(runner, task(name, limits))
    assert isinstance(result.outcome, Failure)
    assert reason in result.outcome.reason
    assert result.cost.cpu_seconds < 1.5
    assert result.cost.peak_rss_bytes < 600 * 2**20


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


def test_workers_die_with_a_parent_that_is_killed() -> None:
    script = (
        "from trimtab.adapters.runners.local import LocalRunner\n"
        "from trimtab.core.ports import Limits, Task\n"
        f"r = LocalRunner(); print(next(r.map([Task('{HERE}:burn', {{'seconds': 0}}, 'k', Limits())])).outcome.value,"
        " flush=True)\nimport time; time.sleep(100)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 5
    while _is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_running(worker)


def _is_running(pid: int) -> bool:
    usage = process_usage(pid)
    return usage is not None and usage.rss_bytes > 0
