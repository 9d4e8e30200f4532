"""The meters, on real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from trimtab.adapters.meters import Sampler, TreeMeter, host, process_usage, tree

BURN = "import time\nt = time.process_time()\nwhile time.process_time() - t < {}: pass\n"
TICKS = 0.03  # seconds: the kernel counts in ticks of 10 ms, by user and system time each
THEN_SLEEP = "print('done', flush=True)\ntime.sleep(60)\n"


def child(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> None:
    for pid in reversed(tree(process.pid)):
        os.kill(pid, signal.SIGKILL)
    process.wait(timeout=10)
    assert process.stdout is not None
    process.stdout.close()


def metered(code: str) -> TreeMeter:
    """The meter of a child that says "done" and then sleeps."""
    process = child(code)
    try:
        meter = TreeMeter(process.pid)
        assert process.stdout is not None
        while process.stdout.readline().strip() != "done":
            assert process.poll() is None
        meter.sample()
        return meter
    finally:
        end(process)


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert holds()


def test_the_cpu_of_a_process_is_what_it_burnt() -> None:
    assert 0.3 - TICKS <= metered(BURN.format(0.3) + THEN_SLEEP).spent().cpu_seconds < 0.6


def test_children_that_ended_and_were_waited_for_are_counted_once() -> None:
    inner = f"subprocess.run([sys.executable, '-c', {BURN.format(0.3)!r}])\n"
    spent = metered("import subprocess, sys, time\n" + inner + THEN_SLEEP).spent()
    assert 0.3 - TICKS <= spent.cpu_seconds < 0.65


def test_children_that_ended_and_were_not_waited_for_are_counted() -> None:
    inner = f"p = subprocess.Popen([sys.executable, '-c', {BURN.format(0.3)!r}])\n"
    ended = "while open(f'/proc/{p.pid}/stat').read().split()[2] != 'Z': time.sleep(0.01)\n"
    spent = metered("import subprocess, sys, time\n" + inner + ended + THEN_SLEEP).spent()
    assert 0.3 - TICKS <= spent.cpu_seconds < 0.65


def test_what_was_spent_before_the_meter_started_is_not_counted() -> None:
    process = child(BURN.format(0.3) + THEN_SLEEP)
    assert process.stdout is not None
    process.stdout.readline()
    meter = TreeMeter(process.pid)
    meter.sample()
    end(process)
    assert meter.spent().cpu_seconds < 0.1


def test_what_was_counted_stays_counted_when_the_process_ends() -> None:
    process = child(BURN.format(0.2) + THEN_SLEEP)
    meter = TreeMeter(process.pid)
    assert process.stdout is not None
    process.stdout.readline()
    meter.sample()
    before = meter.spent().cpu_seconds
    end(process)
    meter.sample()
    assert meter.spent().cpu_seconds == before > 0.1


def test_the_peak_is_that_of_the_whole_tree() -> None:
    hold = "held = bytearray(b'x' * 60_000_000)\nprint('up', flush=True)\ntime.sleep(60)\n"
    inner = f"p = subprocess.Popen([sys.executable, '-c', {'import time' + chr(10) + hold!r}], stdout=-1)\n"
    spent = metered("import subprocess, sys, time\n" + inner + "p.stdout.readline()\n" + hold.replace("up", "done"))
    assert spent.spent().peak_rss_bytes > 120_000_000


def test_bytes_written_to_disk_are_counted(tmp_path: Path) -> None:
    write = f"f = open({str(tmp_path / 'out')!r}, 'wb')\nf.write(bytes(5_000_000))\nf.flush()\nos.fsync(f.fileno())\n"
    assert metered("import os, time\n" + write + THEN_SLEEP).spent().written_bytes >= 5_000_000


def test_waiting_for_a_core_is_not_idleness() -> None:
    pin = f"import os\nos.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n"
    rival = child(pin + "while True: pass")
    try:
        spent = metered(pin + BURN.format(0.3) + THEN_SLEEP).spent()
    finally:
        end(rival)
    assert spent.run_delay_seconds > 0.05


def test_an_orphan_that_was_seen_is_followed() -> None:
    spin = [sys.executable, "-c", "while True: pass"]
    process = child(
        f"import subprocess, time\nprint(subprocess.Popen({spin!r}, stdout=-3).pid, flush=True)\ntime.sleep(60)"
    )
    assert process.stdout is not None
    orphan = int(process.stdout.readline())
    meter = TreeMeter(process.pid)
    process.kill()
    process.wait(timeout=10)
    process.stdout.close()
    try:
        wait_for(lambda: bool(meter.sample()) and meter.spent().cpu_seconds > 0.2)
    finally:
        os.kill(orphan, 9)
    assert orphan in meter.pids


def test_a_process_that_is_gone_has_no_usage() -> None:
    process = child("")
    process.communicate(timeout=10)
    assert process_usage(process.pid) is None


def test_the_tree_is_that_which_psutil_sees() -> None:
    spin = [sys.executable, "-c", "import time; time.sleep(60)"]
    start = f"import subprocess, time\nps = [subprocess.Popen({spin!r}) for _ in range(3)]\nprint(flush=True)\n"
    process = child(start + "time.sleep(60)")
    assert process.stdout is not None
    process.stdout.readline()
    seen = {one.pid for one in psutil.Process(process.pid).children(recursive=True)} | {process.pid}
    found = set(tree(process.pid))
    end(process)
    assert found == seen
    assert len(found) == 4


def test_the_sampler_sees_a_peak_that_has_passed() -> None:
    code = "import time\nheld = bytearray(b'x' * 80_000_000)\ntime.sleep(1)\ndel held\nprint('done', flush=True)\n"
    process = child(code + "time.sleep(60)")
    sampler = Sampler(process.pid)
    assert process.stdout is not None
    process.stdout.readline()
    spent = sampler.stop()
    end(process)
    assert spent.peak_rss_bytes > 80_000_000


@pytest.mark.parametrize("name", ["cpu", "cores", "memory_gb", "kernel", "python", "load"])
def test_the_host_is_described(name: str) -> None:
    assert host()[name]


def test_the_host_is_not_named() -> None:
    assert os.uname().nodename not in str(host())
