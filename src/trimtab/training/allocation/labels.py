"""What holds a running job back, by ordered rules; the delay in the run queue first, or waiting looks like idleness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trimtab.training.allocation.looks import Signals

DELAYED = 0.15  # of the time in which threads could run, they wait for a core
OTHERS = 0.2  # of the cores allowed, used by others
THROTTLED = 0.05
FULL = 0.9  # of the memory allowed
HITS, FAULTS = 1.0, 50.0  # a second
BLOCKED, IDLE = 0.2, 0.3  # of the time
WRITES = 0.7  # of the bytes
BURSTS = 0.5
ONE_CORE = (0.85, 1.3)  # busiest thread at least, all together at most
UNUSED = 0.55  # of the cores allowed
GPU_LOW, GPU_HIGH = 0.5, 0.7


@dataclass(frozen=True, slots=True)
class Label:
    """What holds a job back; the numbers that say so; what to do about it."""

    name: str
    because: str
    advice: str


LABELS = (
    "quota-limited",
    "contended",
    "oversubscribed",
    "memory-bound",
    "checkpoint-bound",
    "io-bound",
    "gpu-starved",
    "gpu-bound",
    "loader-starved",
    "single-thread-bound",
    "over-provisioned",
    "compute-bound",
)


def label(signals: Signals) -> Label:
    """The first rule that holds."""
    return next(found for rule in RULES if (found := rule(signals)) is not None)


def _quota(one: Signals) -> Label | None:
    if one.throttled < THROTTLED * max(1.0, one.running):
        return None
    return Label(
        "quota-limited",
        f"the CPU quota of {one.cores:.2g} cores held it back for {one.throttled:.2g} s a second",
        f"no more than {max(1, round(one.cores))} threads, or a larger quota",
    )


def _delayed(one: Signals) -> Label | None:
    could_run = one.running + one.waiting
    if could_run < 0.1 or one.waiting < DELAYED * could_run:
        return None
    said = f"threads that could run waited {one.waiting / could_run:.0%} of the time for a core"
    # Own threads beyond the cores wait for each other, whoever else is there; others' share is what is left.
    own = max(0.0, could_run - one.cores)
    blame = min(one.others, one.waiting)
    if one.others >= OTHERS * one.cores and blame >= 0.5 * min(own, one.waiting):
        return Label(
            "contended",
            f"{said}; others used {one.others:.1f} of {one.cores:.3g} cores",
            f"fewer threads (about {max(1, round(one.cores - one.others))}), another time, or another machine",
        )
    if could_run > one.cores * 1.1:
        return Label(
            "oversubscribed",
            f"{said}; {could_run:.1f} threads wanted {one.cores:.3g} cores",
            f"{max(1, round(one.cores))} threads",
        )
    return None


def _memory(one: Signals) -> Label | None:
    is_held = one.memory_used >= FULL and (one.memory_hits >= HITS or one.faults >= FAULTS)
    if not is_held and one.faults < 4 * FAULTS:
        return None
    return Label(
        "memory-bound",
        f"{one.faults:,.0f} pages a second come back from disk; {one.memory_used:.0%} of the memory allowed is used",
        "more memory, or smaller batches",
    )


def _disk(one: Signals) -> Label | None:
    if one.blocked < BLOCKED:
        return None
    total = one.read + one.written
    rates = f"{one.read / 2**20:,.1f} MiB/s read, {one.written / 2**20:,.1f} MiB/s written"
    if total > 0 and one.written >= WRITES * total and one.bursts <= BURSTS:
        return Label(
            "checkpoint-bound",
            f"it waited {one.blocked:.0%} of the time for writes that come in bursts ({rates})",
            "checkpoints less often, smaller, or written by another thread",
        )
    return Label(
        "io-bound",
        f"it waited {one.blocked:.0%} of the time for a disk ({rates})",
        "data kept in memory, a compact format, a faster disk, or reads ahead of time",
    )


def _gpu(one: Signals) -> Label | None:
    if one.gpu is None:
        return None
    if one.gpu >= GPU_HIGH:
        return Label("gpu-bound", f"the GPU was {one.gpu:.0%} busy", "nothing: the GPU is what you pay for")
    if one.gpu < GPU_LOW and one.idle < IDLE:
        said = f"the GPU was {one.gpu:.0%} busy while the CPU worked"
        return Label("gpu-starved", said, "more loader workers, work on the GPU")
    return None


def _loader(one: Signals) -> Label | None:
    if one.idle >= IDLE:
        return Label(
            "loader-starved",
            f"nothing ran in {one.idle:.0%} of the time, and no disk was waited for",
            "data read ahead: more loader workers, a cache, a nearer source",
        )
    if one.main_idle >= IDLE and one.main_busy >= 0.05:
        return Label(
            "loader-starved",
            f"the first process waited {one.main_idle:.0%} of the time for its busy children",
            "more or leaner loader workers, or their work done once and kept",
        )
    return None


def _single(one: Signals) -> Label | None:
    least, most = ONE_CORE
    if one.cores - one.others < 1.5 or one.top < least or one.running > most:
        return None
    return Label(
        "single-thread-bound",
        f"one thread used {one.top:.0%} of a core, all together {one.running:.1f} of {one.cores:.3g}",
        "vectorised or parallel code, or a request for one core",
    )


def _unused(one: Signals) -> Label | None:
    if one.cores < 1.5 or one.running > UNUSED * one.cores or one.others >= OTHERS * one.cores:
        return None
    return Label(
        "over-provisioned",
        f"{one.running:.1f} of {one.cores:.3g} cores were used",
        f"a request for {max(1, round(one.running + 0.5))} cores",
    )


def _busy(one: Signals) -> Label | None:
    others = f", {one.others:.1f} by others" if one.others >= OTHERS else ""
    said = f"{one.running:.1f} of {one.cores:.3g} cores were used{others}"
    return Label("compute-bound", said, "nothing: it uses what it has")


RULES: tuple[Callable[[Signals], Label | None], ...] = (
    _quota, _delayed, _memory, _disk, _gpu, _loader, _single, _unused, _busy,
)  # fmt: skip
