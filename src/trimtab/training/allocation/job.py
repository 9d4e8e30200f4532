"""A job that is watched from its start to its end, or from when it is attached to: looked at, listened to, labelled."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import IO, Any

import trimtab.hooks
from trimtab.adapters.meters import TreeMeter, highest_resident, tree, waited_peak
from trimtab.adapters.own_group import OwnGroup, own_group
from trimtab.core.errors import InputError, OutsideError
from trimtab.core.model import Spend
from trimtab.hooks.priority import require_niceness, require_weight
from trimtab.training.allocation.heard import Change, EventFile, Heard
from trimtab.training.allocation.labels import Label, label
from trimtab.training.allocation.looks import Signals, Watched
from trimtab.training.allocation.outlook import Range, peak_memory, time_left

AGENT = Path(trimtab.hooks.__file__).parent / "agent"
METER_SECONDS = 1.0  # between two full accounts; looks in between see threads and memory only
STEADY = 3  # looks in a row that must agree before a label is believed
SEEN = 4096  # moments of memory that are kept


@dataclass(frozen=True, slots=True)
class Moment:
    """How a job stands at one look. CPU and wall seconds since the watching began; bytes of the whole tree."""

    seconds: float
    cpu_seconds: float
    resident: int
    peak: int
    done: float
    total: float
    signals: Signals | None = None
    label: Label | None = None
    left: Range | None = None
    memory: Range | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """A job's whole story. exit_code: negative for a signal; None for a job that was attached to."""

    command: tuple[str, ...]
    exit_code: int | None
    spent: Spend
    labels: tuple[tuple[float, float, Label], ...]  # from, until (seconds), what held it back
    heard: Heard
    cores: float
    looking_cpu: float
    is_too_large: bool = False  # ended by us: it outgrew the memory that it was given
    left_behind: int = 0  # processes that live on


@dataclass(frozen=True, slots=True)
class Orders:
    """How to watch. memory: bytes that the tree may grow to; acts: may threads be changed; output: of the job.

    niceness, weight: that a job which acts may go to, where others hold it up.
    """

    acts: bool = True
    niceness: int | None = None
    weight: int | None = None
    memory: int | None = None
    output: IO[bytes] | None = None
    on_look: Callable[[Moment], None] = lambda _: None
    on_change: Callable[[Change], None] = lambda _: None


def run(command: Sequence[str], orders: Orders) -> Ended:
    """Start a job and watch it to its end.

    Raises InputError for a command, niceness or weight that cannot be, OutsideError where a weight is not to be had.
    """
    if orders.niceness is not None:
        require_niceness(orders.niceness)
    with (
        tempfile.TemporaryDirectory(prefix="trimtab-watch-", ignore_cleanup_errors=True) as folder,
        _grouped(orders) as groups,
    ):
        events = Path(folder) / "events"
        try:
            job = subprocess.Popen(
                list(command),
                env=_environment(events, orders, groups.cpu),
                stdout=orders.output,
                stderr=subprocess.STDOUT if orders.output is not None else None,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            said = f"{command[0]} cannot be started: {reason}"
            raise InputError(said, hint="trimtab watch -- python train.py") from None
        if groups.memory is not None:
            with suppress(OSError):  # it has ended already
                groups.memory.admit(job.pid)
        watch = _Watch(job.pid, EventFile(events), orders, groups.memory)
        with _passing_on(job.pid):
            return replace(watch.to_the_end(), command=tuple(command))


def attach(pid: int, orders: Orders) -> Ended:
    """Watch a process that runs already. Raises InputError where there is none, OutsideError where it is another's."""
    try:
        os.kill(pid, 0)
        os.listdir(f"/proc/{pid}/fd")
    except (ProcessLookupError, FileNotFoundError, OverflowError):
        raise InputError(f"there is no process {pid}", hint="`ps` or `pgrep -f train.py` tells its number") from None
    except PermissionError:
        reason = f"process {pid} belongs to somebody else"
        raise OutsideError(reason, hint="watch it as its owner, or as root") from None
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    watch = _Watch(pid, EventFile(Path("/nonexistent")), orders)
    return replace(watch.to_the_end(), command=tuple(os.fsdecode(one) for one in words), exit_code=None)


class _Watch:
    """The loop of looks."""

    def __init__(self, pid: int, events: EventFile, orders: Orders, group: OwnGroup | None = None) -> None:
        self._pid, self._events, self._orders, self._group = pid, events, orders, group
        self._watched, self._heard, self._meter = Watched(pid), Heard(), TreeMeter(pid)
        self._began = time.monotonic()
        self._memory: list[tuple[float, float]] = []
        self._labels: list[tuple[float, float, Label]] = []
        self._agreed: list[Label] = []
        self._is_too_large, self._metered, self._highest = False, 0.0, 0
        self._cores = float(os.cpu_count() or 1)
        self._pids: frozenset[int] = frozenset()

    def to_the_end(self) -> Ended:
        """Look until the job's first process ends."""
        try:
            pidfd = os.pidfd_open(self._pid)
        except ProcessLookupError:
            return self._ended(None)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            while not poll.poll(1000 * self._watched.pause):
                self._look()
        finally:
            os.close(pidfd)
        return self._ended(_waited(self._pid))

    def _look(self) -> None:
        look = self._watched.look()
        if look is None:
            return
        before = time.thread_time()
        if look.at >= self._metered + METER_SECONDS:
            self._metered = look.at
            self._meter.sample()
            self._highest = max(self._highest, highest_resident(self._pid))
        self._hear()
        now = look.at - self._began
        self._memory.append((now, float(look.resident)))
        if len(self._memory) > SEEN:
            del self._memory[1:-1:2]
        signals = self._watched.signals()
        if signals is not None:
            self._cores = signals.cores
            self._labelled(label(signals), now)
        self._orders.on_look(self._moment(now, signals))
        self._limit(look.resident)
        self._watched.cost += time.thread_time() - before

    def _hear(self) -> None:
        for event in self._events.news():
            change = self._heard.take(event)
            if change is not None:
                self._orders.on_change(change)

    def _moment(self, now: float, signals: Signals | None) -> Moment:
        spent, heard = self._meter.spent(), self._heard
        done = heard.progress[-1][1] if heard.progress else 0.0
        left = time_left(heard.progress, heard.total) if heard.total else None
        return Moment(
            seconds=now,
            cpu_seconds=max(spent.cpu_seconds, self._watched.looks[-1].cpu if self._watched.looks else 0.0),
            resident=int(self._memory[-1][1]),
            peak=int(max(one[1] for one in self._memory)),
            done=done,
            total=heard.total,
            signals=signals,
            label=self._labels[-1][2] if self._labels else None,
            left=left,
            memory=peak_memory(self._memory, None if left is None else left.mid),
            metrics=dict(heard.metrics),
        )

    def _labelled(self, found: Label, now: float) -> None:
        self._agreed = [*self._agreed, found][-STEADY:]
        if len({one.name for one in self._agreed}) > 1 or len(self._agreed) < STEADY:
            return
        if self._labels and self._labels[-1][2].name == found.name:
            began, _, _ = self._labels.pop()
        else:
            began = self._labels[-1][1] if self._labels else 0.0
        self._labels.append((began, now, found))

    def _limit(self, resident: int) -> None:
        limit = self._orders.memory
        if limit is not None and (resident > limit or self._was_killed()):
            self._is_too_large = True
            for pid in reversed(tree(self._pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _was_killed(self) -> bool:
        """Whether the kernel kept the limit before a look did."""
        return self._group is not None and self._group.ran_out()

    def _ended(self, end: tuple[int, float, int] | None) -> Ended:
        self._hear()
        spent = self._meter.spent()
        code = None
        if end is not None:
            code, cpu, peak = end
            # The kernel's own account is finer than the looks; it lacks children that nobody waited for.
            spent = replace(
                spent, cpu_seconds=max(cpu, spent.cpu_seconds), peak_rss_bytes=max(peak, spent.peak_rss_bytes)
            )
        seen = int(max((one[1] for one in self._memory), default=self._highest))
        spent = replace(spent, peak_rss_bytes=max(spent.peak_rss_bytes, seen, self._highest, self._heard.peak))
        left = sum(os.path.exists(f"/proc/{pid}") for pid in self._meter.pids if pid != self._pid)
        return Ended(
            command=(),
            exit_code=code,
            spent=replace(
                spent,
                wall_seconds=time.monotonic() - self._began,
                gpu_seconds=self._watched.gpus.seconds,
                peak_gpu_bytes=self._watched.gpus.memory,
            ),
            labels=tuple(self._labels),
            heard=self._heard,
            cores=self._cores,
            looking_cpu=self._watched.cost,
            is_too_large=self._is_too_large or (code != 0 and self._was_killed()),
            left_behind=left,
        )


@dataclass(frozen=True, slots=True)
class _Groups:
    """The job's own control groups: in one it is from its start, into the other it may go."""

    memory: OwnGroup | None = None
    cpu: OwnGroup | None = None


@contextmanager
def _grouped(orders: Orders) -> Iterator[_Groups]:
    """Control groups where limits are wanted and they can be had; memory is also looked after without."""
    groups = _Groups()
    if orders.weight is not None:
        require_weight(orders.weight)
        groups = _Groups(cpu=own_group("cpu"))
        if groups.cpu is None:
            raise OutsideError("no control group can be made here", hint="be root, or try --nice")
    try:
        if orders.memory is not None and not _is_unified(groups.cpu):
            groups = replace(groups, memory=_limited(orders.memory))
        yield groups
    finally:
        if groups.memory is not None and groups.memory.ran_out():
            groups.memory.end()
        for one in (groups.memory, groups.cpu):
            if one is not None:
                one.remove()


def _is_unified(cpu: OwnGroup | None) -> bool:
    """Of version 2, in which a process has one group for all: it could not leave one and stay in the other."""
    return cpu is not None and cpu.weight.name == "cpu.weight"


def _limited(memory: int) -> OwnGroup | None:
    group = own_group("memory")
    if group is not None:
        try:
            group.limit_memory(memory)
        except OSError:
            group.remove()
            return None
    return group


def _priority(orders: Orders, cpu: OwnGroup | None) -> str:
    if orders.weight is not None and cpu is not None:
        return f"weight:{orders.weight}:{cpu.weight}"
    return "" if orders.niceness is None else f"nice:{orders.niceness}"


def _environment(events: Path, orders: Orders, cpu: OwnGroup | None) -> dict[str, str]:
    path = os.pathsep.join(one for one in (str(AGENT), os.environ.get("PYTHONPATH", "")) if one)
    return {
        **os.environ,
        "PYTHONPATH": path,
        "TRIMTAB_WATCH": str(events),
        "TRIMTAB_WATCH_ACTS": "1" if orders.acts else "",
        "TRIMTAB_WATCH_PRIORITY": _priority(orders, cpu),
    }


def _waited(pid: int) -> tuple[int, float, int] | None:
    """(exit code, CPU seconds, peak bytes of one process) of a child; None for what is no child of ours."""
    try:
        _, status, usage = os.wait4(pid, 0)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, waited_peak(usage)


class _passing_on:
    """SIGTERM and SIGHUP go to the job; Ctrl-C reaches it by the terminal. We wait for its end either way."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        def tell(number: int, _: FrameType | None) -> None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)

        with suppress(ValueError):  # signals belong to the main thread
            for one in (signal.SIGTERM, signal.SIGHUP):
                self._before[one] = signal.signal(one, tell)
            self._before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def __exit__(self, *_: object) -> None:
        for one, before in self._before.items():
            signal.signal(one, before)
