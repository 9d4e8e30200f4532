"""Watching real jobs: what is seen, what is changed, what is said at their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from trimtab.adapters.cgroups import OWN, ROOT
from trimtab.adapters.gpus import Gpus, GpuUse
from trimtab.adapters.own_group import OwnGroup, own_group, write_weight
from trimtab.core.errors import InputError
from trimtab.hooks.fits import LEAST_SECONDS, EpochTuner, FitTuner, loaders, trainings
from trimtab.hooks.loaders import hook_loaders
from trimtab.hooks.priority import Priority, hurry, require_niceness
from trimtab.hooks.session import Session
from trimtab.hooks.sizes import EVERY, Batches, Noise, batches
from trimtab.hooks.threads import Knob, Tuner, better, fewer, threads
from trimtab.stages.watch import watch_command
from trimtab.training.allocation.heard import EventFile, Heard
from trimtab.training.allocation.job import Ended, Moment, Orders, attach, run
from trimtab.training.allocation.labels import LABELS, label
from trimtab.training.allocation.looks import Signals
from trimtab.training.allocation.outlook import peak_memory, time_left
from trimtab.training.allocation.request import Past, memory_request

QUIET = {
    "seconds": 10.0, "cores": 2.0, "running": 1.9, "waiting": 0.0, "others": 0.0, "top": 0.95, "idle": 0.0,
    "blocked": 0.0, "main_idle": 0.0, "main_busy": 1.0, "throttled": 0.0, "resident": 10**8, "memory_limit": None,
    "memory_used": 0.0, "memory_hits": 0.0, "faults": 0.0, "read": 0.0, "written": 0.0, "bursts": 1.0, "threads": 2,
}  # fmt: skip

CASES = {
    "quota-limited": {"throttled": 0.4},
    "contended": {"waiting": 1.0, "others": 1.0, "running": 1.0},
    "oversubscribed": {"waiting": 6.0, "running": 2.0},
    "memory-bound": {"memory_used": 0.99, "memory_hits": 50.0, "faults": 300.0, "running": 0.2},
    "checkpoint-bound": {"blocked": 0.5, "written": 5e7, "bursts": 0.2},
    "io-bound": {"blocked": 0.6, "read": 5e7, "running": 0.3},
    "gpu-starved": {"gpu": 0.2},
    "gpu-bound": {"gpu": 0.95},
    "loader-starved": {"idle": 0.6, "running": 0.4},
    "single-thread-bound": {"running": 1.0, "top": 1.0},
    "over-provisioned": {"running": 0.9, "top": 0.5},
    "compute-bound": {},
}


@pytest.mark.parametrize("name", CASES)
def test_a_label_names_what_holds_a_job_back(name: str) -> None:
    found = label(Signals(**{**QUIET, **CASES[name]}))  # type: ignore[arg-type]
    assert found.name == name
    assert found.because
    assert found.advice


def test_every_label_can_be_reached() -> None:
    assert set(CASES) == set(LABELS)


class FakeNvml:
    """Two GPUs as NVIDIA's library tells of them: one that process 7 uses, one that others use."""

    class NVMLError(Exception):
        pass

    nvmlInit = staticmethod(lambda: None)
    nvmlDeviceGetCount = staticmethod(lambda: 2)
    nvmlDeviceGetHandleByIndex = staticmethod(lambda at: at)
    nvmlDeviceGetMinorNumber = staticmethod(lambda device: device)
    nvmlDeviceGetMemoryInfo = staticmethod(lambda device: SimpleNamespace(used=5000))
    nvmlDeviceGetComputeRunningProcesses = staticmethod(
        lambda device: [SimpleNamespace(pid=7 + device, usedGpuMemory=1000)]
    )
    nvmlDeviceGetUtilizationRates = staticmethod(lambda device: SimpleNamespace(gpu=40 + 50 * device))


def test_only_the_gpus_that_the_job_uses_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml)
    assert Gpus().use({7, 100}) == GpuUse(1, 0.4, 1000)
    assert Gpus().use({7, 8}) == GpuUse(2, pytest.approx(0.65), 2000)
    assert Gpus().use({100}) is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Gpus().use({7}) is None


def test_in_a_container_open_device_files_tell_whose_a_busy_gpu_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml)
    monkeypatch.setattr(FakeNvml, "nvmlDeviceGetComputeRunningProcesses", staticmethod(lambda device: []))
    monkeypatch.setattr("trimtab.adapters.gpus.DEVICES", str(tmp_path / "nvidia"))
    monkeypatch.setattr("trimtab.adapters.gpus.in_container", lambda: True)
    gpus = Gpus()
    assert gpus.use({os.getpid()}) is None
    with (tmp_path / "nvidia1").open("w"):
        assert gpus.use({os.getpid()}) == GpuUse(1, 0.9, 5000)
        assert Gpus().use({os.getppid()}) is None
        monkeypatch.setattr("trimtab.adapters.gpus.in_container", lambda: False)
        assert Gpus().use({os.getpid()}) is None  # there the driver names who computes
    monkeypatch.setattr("trimtab.adapters.gpus.in_container", lambda: True)
    assert gpus.use({os.getpid()}) is None  # it has let go


def test_a_gpu_whose_share_is_not_told_is_held_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: int) -> None:
        raise FakeNvml.NVMLError

    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml)
    monkeypatch.setattr(FakeNvml, "nvmlDeviceGetUtilizationRates", staticmethod(refuse))
    assert Gpus().use({7}) == GpuUse(1, None, 1000)


def test_waiting_for_a_core_is_not_taken_for_idleness() -> None:
    starved = {**QUIET, "running": 0.3, "waiting": 1.5, "others": 1.7, "idle": 0.4}
    assert label(Signals(**starved)).name == "contended"  # type: ignore[arg-type]


class Training:
    """A simulated training: seconds a step by threads, which may change while it runs."""

    name = "simulated"

    def __init__(
        self, wall: dict[int, float], cpu: dict[int, float], noise: float = 0.05, seed: int = 0, start: int = 2
    ) -> None:
        self.wall, self.cpu, self.threads = wall, cpu, start
        self.now = self.used = 0.0
        self._rng, self._noise = np.random.default_rng(seed), noise

    def get(self) -> int:
        return self.threads

    def set(self, count: int) -> None:
        self.threads = count

    def train(self, tuner: Tuner, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            factor = float(np.exp(self._rng.normal(0, self._noise)))
            self.now += self.wall[self.threads] * factor
            self.used += self.cpu[self.threads] * factor
            tuner.step(self)


def tuned(training: Training, seconds: float) -> tuple[Tuner, list[dict[str, object]]]:
    changes: list[dict[str, object]] = []
    tuner = Tuner(changes.append, threads(2), lambda: training.now, lambda: training.used)
    training.train(tuner, seconds)
    return tuner, changes


def test_fewer_threads_are_kept_where_they_are_better() -> None:
    contended = Training({2: 0.3, 1: 0.1}, {2: 0.32, 1: 0.1})
    _, changes = tuned(contended, 60)
    assert contended.threads == 1
    assert changes[0]["is_kept"]


def test_fewer_threads_are_put_back_where_they_are_slower() -> None:
    quiet = Training({2: 0.06, 1: 0.1}, {2: 0.12, 1: 0.1})
    _, changes = tuned(quiet, 300)
    assert quiet.threads == 2
    assert changes
    assert not any(one["is_kept"] for one in changes)
    # Trying costs next to nothing: steps in 300 s, against those of an undisturbed run.
    assert sum(float(str(one["seconds"])) for one in changes) < 0.1 * 300


def test_a_change_goes_when_it_is_no_longer_better() -> None:
    training = Training({2: 0.3, 1: 0.1}, {2: 0.32, 1: 0.1})
    tuner, _ = tuned(training, 60)
    training.wall, training.cpu = {2: 0.055, 1: 0.1}, {2: 0.1, 1: 0.1}  # the neighbours have left
    training.train(tuner, 400)
    assert training.threads == 2


def test_no_change_is_kept_that_is_no_better_whatever_the_noise() -> None:
    kept = 0
    for seed in range(200):
        alike = Training({2: 0.1, 1: 0.1}, {2: 0.1, 1: 0.1}, noise=0.15, seed=seed)
        _, changes = tuned(alike, 30)
        kept += sum(bool(one["is_kept"]) for one in changes)
    assert kept <= 6  # and each of them is tried against the user's own setting again
    worse = Training({2: 0.1, 1: 0.11}, {2: 0.1, 1: 0.11}, noise=0.1)
    assert not any(one["is_kept"] for one in tuned(worse, 2000)[1])


def test_what_is_better_and_what_is_worth_a_try() -> None:
    assert better(1.0, 0.5)
    assert better(0.5, 0.9)
    assert not better(1.2, 0.5)
    assert not better(0.5, 1.1)
    assert fewer(16, 2) == [8, 4, 2, 1]
    assert fewer(1, 2) == []


def test_time_left_holds_the_truth_at_a_steady_and_at_a_drifting_pace() -> None:
    steady = [(float(at), 10.0 * at) for at in range(50)]
    found = time_left(steady, 1000.0)
    assert found is not None
    assert found.low <= 51.0 <= found.high
    assert found.high - found.low < 10
    held = 0
    rng = np.random.default_rng(3)
    for _ in range(200):
        pace = np.exp(np.cumsum(rng.normal(0, 0.02, 300)))
        done = np.concatenate([[0.0], np.cumsum(pace)])
        found = time_left([(float(at), float(done[at])) for at in range(100)], float(done[200]))
        assert found is not None
        held += found.low <= 101 <= found.high
    assert held >= 160  # of 200; nominally 90 %
    assert time_left(steady[:3], 1000.0) is None
    assert time_left(steady, 10.0) is None


def test_memory_that_grows_is_forecast_and_memory_that_does_not_is_not() -> None:
    level = peak_memory([(float(at), 1e9) for at in range(40)], 100.0)
    assert level.mid == 1e9
    growing = peak_memory([(float(at), 1e9 + 1e7 * at) for at in range(40)], 40.0)
    assert growing.low <= 1e9 + 1e7 * 79 <= growing.high


def test_a_memory_request_covers_what_comes() -> None:
    rng = np.random.default_rng(0)

    def past(count: int) -> list[Past]:
        rows, columns = rng.integers(1_000, 1_000_000, count), rng.integers(5, 200, count)
        peaks = (1e8 + 16.0 * rows * columns) * np.exp(rng.normal(0, 0.03, count))
        named = [
            {"rows": float(r), "columns": float(c), "seed": float(rng.integers(9))}
            for r, c in zip(rows, columns, strict=True)
        ]
        return [Past(numbers, int(peak)) for numbers, peak in zip(named, peaks, strict=True)]

    seen, coming = past(300), past(60)
    requests = [memory_request(seen, one.numbers, risk=0.01) for one in coming]
    over = sum(one.peak_bytes > asked.bytes for one, asked in zip(coming, requests, strict=True))
    assert over <= 4  # 1 % of 60, and chance
    assert requests[0].features[:2] in (("rows", "columns"), ("columns", "rows"))


def test_a_memory_request_says_what_its_past_cannot_support() -> None:
    few = [Past({"rows": 10.0 * at}, 10**8 + at * 10**6) for at in range(1, 6)]
    found = memory_request(few, {"rows": 400.0})
    assert found.bytes > 10**8
    assert any("support a risk of 1 in 6" in one for one in found.notes)
    assert any("extrapolation" in one for one in found.notes)
    with pytest.raises(InputError, match="too few"):
        memory_request(few[:2], {})
    with pytest.raises(InputError, match="no run has a number called 'lines'"):
        memory_request(few, {"lines": 3.0})


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of a job that wait do not spin: on a busy host they would take each other's cores."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")


def watched(tmp_path: Path, code: str, *arguments: str, **orders: object) -> Ended:
    script = tmp_path / "job.py"
    script.write_text(textwrap.dedent(code))
    return run([sys.executable, str(script), *arguments], Orders(**orders))  # type: ignore[arg-type]


WAITING = """
    import os, sys, time
    x = bytearray(60_000_000)
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.2)
"""


def test_a_job_that_waits_is_labelled_and_accounted(tmp_path: Path) -> None:
    enough = tmp_path / "enough"

    def look(now: Moment) -> None:  # on a busy host its start waits for a core, and counts until it is out of sight
        if (now.label is not None and now.label.name == "loader-starved") or now.seconds > 60:
            enough.touch()

    ended = watched(tmp_path, WAITING, str(enough), on_look=look)
    assert ended.exit_code == 0
    assert [one.name for _, _, one in ended.labels][-1] == "loader-starved"
    assert 60_000_000 < ended.spent.peak_rss_bytes < 300_000_000
    assert 0 < ended.spent.cpu_seconds < ended.spent.wall_seconds


def test_exit_codes_and_signals_are_told(tmp_path: Path) -> None:
    assert watched(tmp_path, "raise SystemExit(3)").exit_code == 3
    assert watched(tmp_path, "import os; os.kill(os.getpid(), 9)").exit_code == -9
    failed = watched(tmp_path, "raise MemoryError")
    assert (failed.exit_code, failed.heard.failure) == (1, "MemoryError")


@pytest.mark.parametrize("command", ["no-such-program", "/", "a\0b"])
def test_a_command_that_cannot_be_started_is_refused(command: str) -> None:
    with pytest.raises(InputError, match="cannot be started"):
        run([command], Orders())


LIGHTGBM = """
    import sys
    import lightgbm, numpy as np
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 8)); y = (x[:, 0] + rng.normal(size=4000) > 0).astype(int)
    data = lightgbm.Dataset(x[:3000], y[:3000])
    held = lightgbm.Dataset(x[3000:], y[3000:], reference=data)
    fitted = lightgbm.train(
        {"objective": "binary", "metric": "auc", "num_leaves": 7, "verbose": -1, "num_threads": 2, "seed": 1}, data,
        int(sys.argv[1]), valid_sets=[held],
    )
    from sklearn.metrics import roc_auc_score
    roc_auc_score(y[3000:], fitted.predict(x[3000:]))
    print(fitted.params["num_threads"], fitted.current_iteration())
"""


def test_a_training_is_heard_without_a_change_to_its_code(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as output:
        ended = watched(tmp_path, LIGHTGBM, "60", output=output)
    heard = ended.heard
    assert (tmp_path / "out").read_text().split() == ["2", "60"]  # as the user wrote it
    assert heard.parameters["lightgbm.num_leaves"] == 7
    assert (heard.parameters["rows"], heard.parameters["columns"]) == (3000, 8)
    assert len(heard.curves["valid_0 auc"]) == 60
    assert heard.metrics["roc_auc"] == pytest.approx(heard.metrics["valid_0 auc"])


def test_torchs_steps_are_counted_and_its_optimizer_told(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    code = """
        import torch
        net = torch.nn.Linear(4, 1)
        first, second = (torch.optim.SGD(net.parameters(), lr=rate) for rate in (0.1, 0.2))
        for step in range(50):
            net(torch.ones(2, 4)).sum().backward()
            first.step()
            second.step()
    """
    heard = watched(tmp_path, code).heard
    assert heard.progress[-1][1] == 50  # of two optimizers, one counts
    assert heard.parameters["SGD.lr"] == 0.1


LONG = """
    import os, sys
    import numpy as np
    from trimtab import hooks
    a = np.random.default_rng(0).random((300, 300))
    def turns():
        while not os.path.exists(sys.argv[1]):
            yield
    for _ in hooks.steps(turns()):
        a = a @ a
        a /= np.abs(a).max()
"""


def test_threads_are_tried_within_a_running_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    enough = tmp_path / "enough"
    ended = watched(tmp_path, LONG, str(enough), on_change=lambda _: enough.touch())
    assert [(one.what, one.before, one.after) for one in ended.heard.changes][:1] == [("threads", 2, 1)]
    enough.unlink()
    looked = watched(tmp_path, LONG, str(enough), acts=False, on_look=lambda now: now.seconds > 3 and enough.touch())
    assert looked.heard.changes == []


def test_a_priority_is_kept_where_it_is_faster_and_gone_where_it_is_not() -> None:
    priority = Priority(-5)
    knob = replace(hurry(priority), choices=lambda own: [-5] if own > -5 else [])
    for wall, kept in (({0: 0.3, -5: 0.1}, -5), ({0: 0.1, -5: 0.1}, 0)):
        training = Training(wall, {0: 0.1, -5: 0.1}, start=0)
        tuner = Tuner(lambda _: None, knob, lambda now=training: now.now, lambda now=training: now.used)  # type: ignore[misc]
        training.train(tuner, 60)
        assert training.threads == kept


def changes_beside_busy(tmp_path: Path, **orders: int) -> list[tuple[str, int, int]]:
    """What a job tried first, while every core was wanted twice."""
    enough = tmp_path / "enough"
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        ended = watched(
            tmp_path,
            LONG,
            str(enough),
            on_change=lambda _: enough.touch(),
            on_look=lambda now: now.seconds > 60 and enough.touch(),
            **orders,
        )
    finally:
        for one in busy:
            one.kill()
            one.wait()
    return [(one.what, one.before, one.after) for one in ended.heard.changes][:1]


def test_a_job_that_waits_for_cores_tries_the_priority_that_it_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        require_niceness(own - 5)
    except InputError:
        pytest.skip("this user may not raise priorities")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert changes_beside_busy(tmp_path, niceness=own - 5) == [("niceness", own, own - 5)]


def test_a_job_that_waits_for_cores_tries_the_weight_that_it_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_groups: None
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert changes_beside_busy(tmp_path, weight=1000) == [("cpu weight", 100, 1000)]


def test_the_kernel_keeps_the_memory_that_a_job_was_given(tmp_path: Path, own_groups: None) -> None:
    grows = "import sys\nheld = bytearray(300 << 20)\nprint(len(held))\n"  # at once: no look comes in time
    told = watch_command(
        [sys.executable, "-c", grows], Orders(memory=200 << 20), folder=tmp_path, retries=1, say=(said := []).append
    )
    assert told.ended.is_too_large
    assert "once more, with 300 MiB" in said[0]
    fits = watch_command([sys.executable, "-c", grows], Orders(memory=400 << 20), folder=tmp_path)
    assert (fits.ended.exit_code, fits.ended.is_too_large) == (0, False)
    assert not [one for base in ROOT.glob("*") for one in base.rglob(f"{OWN}{os.getpid()}-*")]


def test_what_a_job_left_in_its_group_does_not_eat_the_memory_of_the_next_try(tmp_path: Path, own_groups: None) -> None:
    grows = """
        import subprocess, sys
        subprocess.Popen([sys.executable, "-c", "import time; x = bytearray(50 << 20); time.sleep(600)"])
        print(len(bytearray(300 << 20)))
    """
    command = [sys.executable, "-c", textwrap.dedent(grows)]
    told = watch_command(command, Orders(memory=250 << 20), folder=tmp_path, retries=1)
    assert (told.ended.exit_code, told.ended.is_too_large) == (0, False)
    subprocess.run(["pkill", "-f", "bytearray.50 << 20.; time.sleep.600."], check=True)


@pytest.fixture
def own_groups() -> None:
    for name in ("memory", "cpu"):
        group = own_group(name)
        if group is None:
            pytest.skip("no control group can be made here")
        group.remove()


def test_a_version_2_group_is_limited_weighed_and_told_of(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    for name, text in (("cpu.weight", "100"), ("memory.max", "max"), ("memory.events", "oom 0\noom_kill 1\n")):
        (folder / name).write_text(text)
    group = OwnGroup(folder)
    assert not group.ran_out()  # a limit further up was met
    (folder / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert group.ran_out()
    group.limit_memory(1000)
    assert (folder / "memory.max").read_text() == "1000"
    write_weight(group.weight, 400)
    assert group.weight.read_text() == "400"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--weight", "100", "--", "true"], "the usual one is 100"),
        (["--weight", "20000", "--", "true"], "up to 10,000"),
        (["--weight", "400", "--pid", "1"], "only looked at"),
        (["--weight", "400", "--nice", "-5", "--", "true"], "do the same"),
        (["--nice", "-5", "--pid", "1"], "only looked at"),
        (["--nice", "-5", "--no-act", "--", "true"], "only looked at"),
        (["--nice", "19", "--", "true"], "niceness 19"),
        (["--nice", "-21", "--", "true"], "niceness -21"),
    ],
)
def test_a_priority_that_cannot_be_is_told(tmp_path: Path, given: list[str], said: str) -> None:
    command = [sys.executable, "-m", "trimtab.faces.cli.main", "watch", *given]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr


def fits(wall: dict[int, float], cpu: dict[int, float], count: int) -> tuple[list[int], list[dict[str, object]]]:
    """The threads that trainings were given, one after the other, and what was said."""
    clock, changes, given = [0.0, 0.0], list[dict[str, object]](), []
    tuner = FitTuner(changes.append, trainings(2), lambda: clock[0], lambda: clock[1])
    for _ in range(count):
        given.append(tuner.begin("lightgbm", 2))
        clock[0] += 100 * wall[given[-1]]
        clock[1] += 100 * cpu[given[-1]]
        tuner.end(100)
    return given, changes


def test_threads_are_tried_from_one_training_to_the_next() -> None:
    contended, changes = fits({2: 0.05, 1: 0.005}, {2: 0.05, 1: 0.005}, 9)
    assert contended == [2, 1, 1, 1, 1, 1, 1, 1, 1]
    assert changes[0]["is_kept"]
    quiet, changes = fits({2: 0.0032, 1: 0.005}, {2: 0.0064, 1: 0.005}, 40)
    assert quiet.count(1) == len(changes)  # one training each, put back at once
    assert not any(one["is_kept"] for one in changes)
    alike, _ = fits({2: 0.005, 1: 0.005}, {2: 0.005, 1: 0.005}, 60)
    assert alike.count(1) <= 6


def epochs(wall: dict[int, float], cpu: dict[int, float], count: int) -> list[int]:
    """The workers that a loader's epochs were given, one after the other."""
    clock, given = [0.0, 0.0], []
    tuner = FitTuner(lambda _: None, loaders(2), lambda: clock[0], lambda: clock[1])
    for _ in range(count):
        given.append(tuner.begin("loader", 4))
        clock[0] += wall[given[-1]]
        clock[1] += cpu[given[-1]]
        tuner.end(50)
    return given


def test_a_loaders_workers_are_tried_from_one_epoch_to_the_next() -> None:
    light = epochs({4: 1.2, 2: 0.9, 1: 0.8, 0: 0.4}, {4: 1.6, 2: 1.2, 1: 1.0, 0: 0.4}, 12)
    assert light == [4, 2, 4, 2, 2, 1, 2, 1, 1, 0, 0, 0]
    heavy = epochs({4: 1.0, 2: 1.3, 1: 2.0, 0: 4.0}, {4: 4.0, 2: 4.0, 1: 4.0, 0: 4.0}, 200)
    assert heavy.count(4) > 180
    assert 0 not in heavy  # one worker was too slow already


def epochs_at(clock: list[float]) -> EpochTuner:
    return EpochTuner(lambda _: None, 2, lambda: clock[0], lambda: clock[1])


def epochs_of(wall: dict[tuple[int, int], float], count: int, *, is_starved: bool = True) -> list[tuple[int, int]]:
    """(workers, batches read ahead) that a loader's epochs were given; the CPU is a second each."""
    clock, given = [0.0, 0.0], []
    tuner = epochs_at(clock)
    for _ in range(count):
        given.append(tuner.begin("rows", 1, 2, is_starved=is_starved))
        clock[0] += wall.get(given[-1], 9.0)
        clock[1] += 1.0
        tuner.end(50)
    return given


def test_more_is_read_ahead_where_epochs_wait_and_workers_are_right() -> None:
    wall = {(1, 2): 2.0, (0, 2): 4.0, (1, 4): 1.6, (1, 8): 1.58}
    given = epochs_of(wall, 40)
    assert (0, 8) not in given  # one is tried at a time
    assert given[-1] == (1, 4)  # eight bring no more
    assert epochs_of(dict.fromkeys(((1, 2), (1, 4), (1, 8)), 2.0), 60).count((1, 2)) >= 48
    assert (1, 4) not in epochs_of(wall, 40, is_starved=False)


class Loader:
    """What torch's DataLoader has of what is looked at."""

    worker_init_fn, timeout, persistent_workers, _dataset_kind = None, 0, False, "map"

    def __init__(self, rows: int, cost: dict[int, float], clock: list[float]) -> None:
        self.dataset, self.batch_size, self.num_workers, self.prefetch_factor = range(rows), 10, 2, 2
        self.cost, self.clock, self.given = cost, clock, list[int]()

    def __iter__(self) -> LoaderIter:
        self.given.append(self.num_workers)
        return LoaderIter(self)


class LoaderIter:
    def __init__(self, loader: Loader) -> None:
        self._loader, self._workers, self._num_yielded = loader, loader.num_workers, 0

    def __iter__(self) -> LoaderIter:
        return self

    def __next__(self) -> int:
        if self._num_yielded == 5:
            raise StopIteration
        self._num_yielded += 1
        for place in range(2):
            self._loader.clock[place] += self._loader.cost[self._workers]
        return self._num_yielded


@pytest.fixture
def hooked_loaders(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Loaders are hooked, by this clock: of wall and CPU."""
    clock = [0.0, 0.0]
    session = Session(lambda _: None, acts=True)
    session.epochs = epochs_at(clock)
    for one in (Loader, LoaderIter):  # to be put back
        name = "__iter__" if one is Loader else "__next__"
        monkeypatch.setattr(one, name, getattr(one, name))
    kinds = SimpleNamespace(Map="map")
    hook_loaders(
        SimpleNamespace(DataLoader=Loader, _BaseDataLoaderIter=LoaderIter, _DatasetKind=kinds),  # type: ignore[arg-type]
        lambda: session,
    )
    return clock


def test_epochs_of_a_test_set_are_not_compared_with_those_of_the_training(hooked_loaders: list[float]) -> None:
    # Two workers are right for both; an epoch of the test set costs a tenth.
    train, test = (
        Loader(rows, {2: cost, 1: 1.2 * cost, 0: 1.9 * cost}, hooked_loaders) for rows, cost in ((600, 1.0), (60, 0.1))
    )
    for _ in range(30):
        assert (len(list(train)), len(list(test))) == (5, 5)
    for one in (train, test):
        assert one.given.count(2) > 24
        assert {1, 0} & set(one.given)  # they were tried
        assert (one.num_workers, one.prefetch_factor) == (2, 2)


def test_a_look_at_a_first_batch_does_not_end_the_tuning(hooked_loaders: list[float]) -> None:
    first, train = (Loader(rows, {2: 1.0, 1: 0.5, 0: 0.2}, hooked_loaders) for rows in (600, 600))
    next(iter(first))
    for _ in range(12):
        list(train)
    assert train.given[-1] == 0


def test_no_epoch_is_risked_that_could_hold_the_job_up() -> None:
    slow = epochs({4: 400.0, 2: 800.0, 1: 1600.0, 0: 2000.0}, dict.fromkeys((4, 2, 1, 0), 4.0), 100)
    assert slow == [4] * 100
    some = epochs({4: 200.0, 2: 160.0, 1: 700.0, 0: 2000.0}, {4: 4.0, 2: 3.0, 1: 2.0, 0: 1.0}, 100)
    assert set(some) == {4, 2, 1}  # one worker is predicted at 320 s, none at 480
    assert some.count(1) <= 4
    assert some[-1] == 2


def grown(scale: float, fixed: float, each: float) -> Batches:
    """A simulated loop's batches after a while: its noise scale, seconds a batch and seconds an example."""
    control, clock = Batches(64, 512), [0.0]
    control.noise.looks, control.noise._signal, control.noise._noise = 10, 1.0, scale
    knob = Knob(control.name, control.choices, control.worth)
    tuner = Tuner(lambda _: None, knob, lambda: clock[0], lambda: clock[0])
    for _ in range(3000):
        clock[0] += fixed + each * control.get()
        tuner.step(control)
    return control


def test_batches_grow_where_their_gradients_are_noisy_and_batches_dear() -> None:
    assert grown(1e4, 0.02, 1e-5).get() == 512
    assert grown(1.0, 0.02, 1e-5).get() == 64  # larger ones teach nothing more
    assert grown(1e4, 1e-4, 1e-3).get() == 64  # nor cost less an example


def test_learning_rates_go_with_the_batch_and_back() -> None:
    control = grown(1e4, 0.0, 1e-3)
    optimizer = optimizer_at(0.1)
    control.stepped(optimizer)
    control.set(256)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 4 * (1e4 + 64) / (1e4 + 256))
    control.set(64)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_learning_rates_go_back_by_what_was_applied_though_the_noise_has_changed() -> None:
    control, optimizer = Batches(64, 512), optimizer_at(0.1)
    control.noise.looks, control.noise._signal, control.noise._noise = 10, 1.0, 1e4
    control.stepped(optimizer)
    control.set(256)
    assert optimizer.param_groups[0]["lr"] > 0.3
    control.noise._noise = 10.0
    control.set(64)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def optimizer_at(rate: float) -> SimpleNamespace:
    return SimpleNamespace(param_groups=[{"lr": rate, "params": []}])


def enlarged(session: Session, optimizer: SimpleNamespace, own: int = 64) -> Batches:
    """The control of a loop, after its batches have grown under noisy gradients."""
    for _ in batches(session, own, own, 512):
        session.stepped(optimizer)
    control, _ = session.loop(own, 512)
    control.noise.looks, control.noise._signal, control.noise._noise = 10, 1.0, 1e4
    control.set(256)
    assert optimizer.param_groups[0]["lr"] > 0.15
    return control


def lengths(session: Session, rows: int, own: int, *optimizers: SimpleNamespace) -> list[int]:
    """Of an epoch's batches, in each of which these optimizers make a step."""
    found = []
    for one in batches(session, rows, own, 512):
        found.append(one.stop - one.start)
        for optimizer in optimizers:
            session.stepped(optimizer)
    return found


def test_an_evaluation_loop_leaves_the_training_loops_batches_and_rates() -> None:
    session, optimizer = Session(lambda _: None, acts=True), optimizer_at(0.1)
    control = enlarged(session, optimizer)
    rate = optimizer.param_groups[0]["lr"]
    for _ in range(3):
        assert lengths(session, 200, 100) == [100, 100]
        assert lengths(session, 512, 64, optimizer) == [256, 256]
    assert optimizer.param_groups[0]["lr"] == rate
    control.set(64)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_the_next_folds_optimizer_begins_at_the_users_own_batch() -> None:
    session, first, second = Session(lambda _: None, acts=True), optimizer_at(0.1), optimizer_at(0.2)
    enlarged(session, first)
    assert lengths(session, 512, 64, second) == [256, 64, 64, 64, 64]  # it is known by its first step
    assert second.param_groups[0]["lr"] == 0.2
    enlarged(session, second)
    assert first.param_groups[0]["lr"] == pytest.approx(0.1)


def test_the_next_models_optimizer_is_heard_in_torch() -> None:
    torch = pytest.importorskip("torch")
    from trimtab import hooks

    session = Session(lambda _: None, acts=True)
    end = hooks.heard_by(session)
    try:
        for _ in range(2):
            weight = torch.nn.Parameter(torch.ones(1))
            optimizer = torch.optim.SGD([weight], lr=0.1)
            for _ in hooks.batches(3 * 64, 64, 512):
                weight.sum().backward()
                optimizer.step()
            assert session.loop(64, 512)[0].optimizer is optimizer
    finally:
        end()


def test_an_optimizer_that_goes_to_another_loop_takes_no_scaled_rate_with_it() -> None:
    session, optimizer = Session(lambda _: None, acts=True), optimizer_at(0.1)
    enlarged(session, optimizer)
    assert lengths(session, 64, 32, optimizer) == [32, 32]
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
    enlarged(session, optimizer)
    for _ in batches(session, 256, 64, 512):
        break  # its batch is left before the step, which is no loop's then
    session.stepped(optimizer)
    assert session.loop(64, 512)[0].get() == 256


def test_batches_stay_where_two_optimizers_take_turns() -> None:
    session, one, other = Session(lambda _: None, acts=True), optimizer_at(0.1), optimizer_at(0.2)
    assert lengths(session, 64 * 40 * EVERY, 64, one, other) == [64] * 40 * EVERY
    control, _ = session.loop(64, 512)
    assert control.choices(64) == []
    assert (one.param_groups[0]["lr"], other.param_groups[0]["lr"]) == (0.1, 0.2)


def test_a_batch_is_not_tried_that_may_not_fit_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(
        is_available=lambda: True, is_initialized=lambda: True, max_memory_reserved=lambda: 20 << 30,
        memory_reserved=lambda: 20 << 30, mem_get_info=lambda: (60 << 30, 80 << 30),
    )  # fmt: skip
    control = Batches(64, 1024)
    control.noise.looks = 10
    assert control.choices(64) == [128, 256, 512]
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert control.choices(64) == [128]  # four times 20 GiB are all there is


def test_the_noise_scale_is_estimated_from_pairs_of_gradients() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    noise, true = Noise(), torch.ones(400) / 20  # of length one
    for _ in range(60 * EVERY):
        noise.see([true + torch.randn(400) / 8], 64)  # in batches of 64: a variance of 400 in all
    assert 250 < noise.scale() < 650


BATCHED = """
    import torch
    from trimtab import hooks
    net = torch.nn.Linear(8, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    x = torch.randn(1000, 8)
    for epoch in range(60):
        seen = []
        for rows in hooks.batches(len(x), 16, most=64):
            optimizer.zero_grad()
            (net(x[rows]) ** 2).mean().backward()
            optimizer.step()
            seen += range(rows.start, rows.stop)
        assert seen == list(range(1000))
"""


def test_every_row_is_in_one_batch_watched_or_not(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    assert watched(tmp_path, BATCHED).exit_code == 0
    from trimtab import hooks

    assert list(hooks.batches(10, 4, 8)) == [slice(0, 4), slice(4, 8), slice(8, 10)]
    with pytest.raises(ValueError, match="batches of 8 to 4"):
        next(hooks.batches(10, 8, 4))


LOADER = """
    import torch
    from torch.utils.data import DataLoader, TensorDataset
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(torch.arange(600.0)), batch_size=10, shuffle=True, num_workers=2)
    drawn = 0.0
    for epoch in range(5):
        for (rows,) in loader:
            drawn = 0.9 * drawn + float(rows.sum()) * torch.rand(1).item()
        print(loader.num_workers, drawn)
"""


def test_rows_and_draws_are_the_same_with_other_workers(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    told = []
    for acts in (True, False):
        with (tmp_path / "out").open("wb") as output:
            ended = watched(tmp_path, LOADER, output=output, acts=acts)
        assert ended.exit_code == 0
        assert {one.what for one in ended.heard.changes} <= {"workers of a loader", "batches read ahead"}
        told.append((tmp_path / "out").read_text())
    assert told[0] == told[1]
    assert told[0].startswith("2 ")


FOLDS = """
    import ctypes, hashlib, sys, time
    import lightgbm, numpy as np
    rng, limit = np.random.default_rng(0), ctypes.c_int()
    x = rng.normal(size=(20_000, 8)); y = x[:, 0] * x[:, 1] + rng.standard_cauchy(size=20_000)
    def look(env):
        lightgbm.basic._LIB.LGBM_GetMaxThreads(ctypes.byref(limit))
        time.sleep(LEAST / 20)  # long enough to be compared, however quick the machine
    for fold in range(5):
        model = lightgbm.LGBMRegressor(
            n_estimators=20, num_leaves=7, subsample=0.6, subsample_freq=2, n_jobs=2, verbose=-1, deterministic=True
        )
        model.fit(x[fold * 500:], y[fold * 500:], callbacks=[look])
        bits = hashlib.sha256(model.predict(x).tobytes()).hexdigest()
        print(model.n_jobs, model.booster_.params["num_threads"], bits)
        with open(sys.argv[1], "a") as limits:
            print(limit.value, file=limits)
"""


def test_trainings_with_other_threads_come_out_the_same_to_the_last_bit(tmp_path: Path) -> None:
    code, told, limits = FOLDS.replace("LEAST", str(LEAST_SECONDS)), [], []
    for acts in (True, False):
        with (tmp_path / "out").open("wb") as output:
            ended = watched(tmp_path, code, str(tmp_path / f"limits {acts}"), output=output, acts=acts)
        assert ended.exit_code == 0
        assert [(one.before, one.after) for one in ended.heard.changes][:1] == ([(2, 1)] if acts else [])
        told.append((tmp_path / "out").read_text())
        limits.append((tmp_path / f"limits {acts}").read_text().split())
    assert limits[0][:2] == ["-1", "1"]  # the second training had one thread, whatever came of it
    assert limits[1] == ["-1"] * 5
    assert told[0] == told[1]
    assert told[0].startswith("2 2 ")


def test_the_users_own_loop_metrics_and_sitecustomize_are_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import builtins; builtins.mine = 7")
    monkeypatch.setenv("PYTHONPATH", str(own))
    code = """
        import os, subprocess, sys, time
        from trimtab import hooks
        for step in hooks.steps(range(20)):
            time.sleep(0.06)
            hooks.log(loss=1 / (1 + step), odd=float("nan"))
        told = "import os; print('TRIMTAB_WATCH' in os.environ)"
        child = subprocess.run([sys.executable, "-c", told], capture_output=True)
        assert child.stdout == b"False\\n", child
        sys.exit(mine)
    """
    ended = watched(tmp_path, code)
    assert ended.exit_code == 7
    assert ended.heard.metrics["loss"] == pytest.approx(0.05)
    assert ended.heard.total == 20
    assert ended.heard.progress[-1][1] > 10


def test_a_job_that_outgrows_its_memory_is_started_again_with_more(tmp_path: Path) -> None:
    script = tmp_path / "grow.py"
    script.write_text("import time; x = bytearray(250_000_000); time.sleep(1.5); print(len(x))")
    said: list[str] = []
    orders = Orders(memory=200 << 20)
    told = watch_command([sys.executable, str(script)], orders, folder=tmp_path, retries=2, say=said.append)
    assert told.ended.exit_code == 0
    assert said == ["it needs more memory: once more, with 300 MiB"]
    gone = watch_command([sys.executable, str(script)], orders, folder=tmp_path, retries=0)
    assert gone.ended.is_too_large
    assert gone.ended.exit_code == -9


def test_a_process_that_runs_already_can_be_watched() -> None:
    job = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2.5)"])
    reaper = threading.Thread(target=job.wait)
    reaper.start()
    ended = attach(job.pid, Orders())
    reaper.join()
    assert ended.exit_code is None
    assert "time.sleep(2.5)" in ended.command[-1]
    with pytest.raises(InputError, match="no process"):
        attach(2**22 + 1, Orders())


def test_a_signal_to_the_watcher_reaches_the_job(tmp_path: Path) -> None:
    code = """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
        print("ready", flush=True)
        time.sleep(60)
    """
    (tmp_path / "job.py").write_text(textwrap.dedent(code))
    command = [sys.executable, "-m", "trimtab.faces.cli.main", "watch", "--", sys.executable, "job.py"]
    watcher = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == b"ready\n"
    watcher.send_signal(signal.SIGTERM)
    assert watcher.wait(timeout=60) == 5
    watcher.stdout.close()


def test_a_job_lives_on_when_its_watcher_is_killed(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("import time; print('ready', flush=True); time.sleep(1.5); open('done', 'w')")
    command = [sys.executable, "-m", "trimtab.faces.cli.main", "watch", "--", sys.executable, "job.py"]
    watcher = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert watcher.stdout is not None
    watcher.stdout.readline()
    watcher.kill()
    watcher.wait()
    watcher.stdout.close()
    for _ in range(200):
        if (tmp_path / "done").exists():
            break
        time.sleep(0.05)
    assert (tmp_path / "done").exists()


def test_events_that_are_cut_or_wrong_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(b'{"event": "metric"}\nnonsense\n[1]\n{"event": "change", "what": 3}\n{"event": "me')
    file, heard = EventFile(path), Heard()
    assert [heard.take(one) for one in file.news()] == [None, None]
    with path.open("ab") as more:
        more.write(b'tric", "name": "a", "value": 2, "step": 1, "is_kept": true}\n')
    for one in file.news():
        heard.take(one)
    assert heard.metrics == {"a": 2.0}
    assert os.path.getsize(path) > 0
