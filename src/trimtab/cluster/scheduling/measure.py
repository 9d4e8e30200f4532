"""Replays a plan on a half of a job log: how long jobs took, waited, were preempted, and who ran when."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trimtab.adapters.programs import compile_program
from trimtab.cluster.scheduling.cluster import Cluster
from trimtab.cluster.scheduling.durations import EDGES, Predicted, predict
from trimtab.cluster.scheduling.joblog import JobLog, read_jobs
from trimtab.cluster.scheduling.jobs import (
    AWAY,
    CLASS,
    EVICTED,
    FINISH,
    FIRST,
    GPUS,
    PREDICTED,
    SUBMIT,
    TENANT,
    WHERE,
    WORK,
    Ints,
    Series,
    Table,
)
from trimtab.cluster.scheduling.plan import CLASSICAL, SchedulingPlan
from trimtab.cluster.scheduling.priority import AGING, EASY, EVENTS, PRIORITY, SEGMENTS, SKIP, STRICT
from trimtab.cluster.scheduling.simulator import run_jobs
from trimtab.core.errors import InputError

Half = Literal["search", "holdout"]
PURGE_DAYS, PURGE_SHARE = 1.0, 0.05  # left out between the halves: at most so many days, and of the second half
MOST_UNFIT = 0.01  # of the jobs: those that no group holds are left out
MOST_EVICTIONS = 16  # of one job, whatever a policy says
KEPT = 2  # of what is made for a cluster and a half of its jobs: of a million jobs, each takes some 100 MB
ORDERS = {"strict": STRICT, "skip": SKIP, "easy": EASY}
FORESIGHT = SchedulingPlan(f"{PRIORITY.head}\n    return left * gpus\n", "skip", preempts=True)


@dataclass(frozen=True)
class History:
    """A job log and the cluster that it is replayed on; `made`: a file of predictions (`keep_predictions`), if any.

    before: the cluster of the first half, where it was another one.
    """

    source: str
    cluster: Cluster
    fingerprint: str = ""
    made: str = ""
    before: Cluster | None = None

    @property
    def log(self) -> JobLog:
        """The jobs that fit the cluster. Raises InputError."""
        return _fitting(self.source, self.cluster, self.fingerprint)[0]

    @property
    def unfit(self) -> int:
        """Jobs that were left out because no group of nodes holds them."""
        return _fitting(self.source, self.cluster, self.fingerprint)[1]

    def cluster_of(self, half: Half) -> Cluster:
        """What a half is replayed on."""
        return self.before if self.before is not None and half == "search" else self.cluster

    def rows(self, half: Half) -> slice:
        """The jobs of a half of the time; the second begins after a purge."""
        return rows_of(self.log, half)


@dataclass(frozen=True, eq=False)
class Replay:
    """What happened to the jobs `rows` of a log, in seconds: (n,) each; segments: (job, from, until, group) rows."""

    rows: slice
    taken: Series  # from submission to end
    work: Series
    submit: Series  # from the first job of the half on
    first: Series  # when it was started
    preempted: Ints
    events: int
    segments: Table

    @property
    def waited(self) -> Series:
        """What a job did not run for (restarts count as waiting)."""
        return np.maximum(0.0, self.taken - self.work)


def rows_of(log: JobLog, half: Half) -> slice:
    """The jobs of a half of the time; the second begins after a purge."""
    middle = float(log.submit[-1]) / 2
    if half == "search":
        return slice(0, int(np.searchsorted(log.submit, middle)))
    purge = min(PURGE_DAYS * 86_400, PURGE_SHARE * middle)
    return slice(int(np.searchsorted(log.submit, middle + purge)), len(log))


def replayed(history: History, plan: SchedulingPlan, half: Half, share: float = 1.0, segments: int = 0) -> Replay:
    """Replay the first `share` of a half's jobs."""
    return _run(history, plan, half, share, segments, predictions_of(history, half), is_foresight=False)


@functools.lru_cache(maxsize=KEPT)
def foresight(history: History, half: Half, *, preempts: bool = True) -> Replay:
    """The same by one who knows every duration and preempts for nothing, or never: shortest remaining service first."""
    free = replace(history.cluster_of(half), restart_seconds=0.0, preemption=preempts)
    return _run(replace(history, cluster=free, before=None), FORESIGHT, half, 1.0, 0, None, is_foresight=True)


@functools.lru_cache(maxsize=KEPT)
def predictions_of(history: History, half: Half) -> Predicted:
    """What was predicted of the jobs of a half, each when it was submitted."""
    if history.made and Path(history.made).is_file():
        with np.load(history.made) as kept:
            return Predicted(kept[f"median_{half}"], kept[f"looks_{half}"])
    # Durations are learnt when jobs end, and when they end depends on the policy: here on one that knows none.
    plain = CLASSICAL["las" if history.cluster.preemption else "skip-fifo"]
    log, rows = history.log, history.rows(half)
    made = _run(history, plain, half, 1.0, 0, None, is_foresight=False)
    ended = log.ended.copy()
    ended[rows] = log.submit[rows] + made.taken
    return predict(log, rows, ended)


def keep_predictions(history: History, file: Path) -> None:
    """Write both halves' predictions for `History.made`, whole or not at all."""
    halves: tuple[Half, ...] = ("search", "holdout")
    tables: dict[str, Any] = {}
    for half in halves:
        made = predictions_of(history, half)
        tables |= {f"median_{half}": made.median, f"looks_{half}": made.looks}
    partial = file.with_suffix(".partial.npz")
    np.savez(partial, **tables)
    partial.replace(file)


def _run(
    history: History,
    plan: SchedulingPlan,
    half: Half,
    share: float,
    segments: int,
    predicted: Predicted | None,
    *,
    is_foresight: bool,
) -> Replay:
    cluster = history.cluster_of(half)
    rows, floats, ints, classes, quotas = _table(history, half, share)
    floats, ints, classes = floats.copy(), ints.copy(), classes.copy()
    looks, edges = np.zeros((2, len(floats), 2), np.float32), np.array([0.0, 1e9])
    if predicted is not None:
        floats[:, PREDICTED] = predicted.median[: len(floats)]
        looks, edges = np.ascontiguousarray(predicted.looks[:, : len(floats)]), EDGES
    groups, speeds = cluster.table()
    kept = np.zeros((segments, 4))
    names = {node.id for node in ast.walk(ast.parse(plan.program.strip())) if isinstance(node, ast.Name)}
    ages, preempts = not names.isdisjoint(AGING), plan.preempts and cluster.preemption
    options = np.array([
        ORDERS[plan.order], preempts, plan.review_seconds if ages or (preempts and not is_foresight) else 0.0,
        cluster.restart_seconds, np.inf if is_foresight else MOST_EVICTIONS, is_foresight, ages,
        not names.isdisjoint({"left", "rank"}) or plan.order == "easy",
    ], float)  # fmt: skip
    policy = compile_program(plan.program, PRIORITY)
    jobs = (floats, ints, classes)
    clock = run_jobs(jobs, (looks, edges), (groups, speeds, quotas), options, kept, policy)
    taken = floats[:, FINISH] - floats[:, SUBMIT]
    return Replay(
        rows, taken, floats[:, WORK], floats[:, SUBMIT], floats[:, FIRST], ints[:, EVICTED], int(clock[EVENTS]),
        kept[: int(clock[SEGMENTS])],
    )  # fmt: skip


@functools.lru_cache(maxsize=KEPT)
def _table(history: History, half: Half, share: float) -> tuple[slice, Table, Ints, Ints, Series]:
    rows = history.rows(half)
    rows = slice(rows.start, rows.start + max(1, int((rows.stop - rows.start) * share)))
    return rows, *table_of(history.log, rows, history.cluster_of(half))


def table_of(log: JobLog, rows: slice, cluster: Cluster) -> tuple[Table, Ints, Ints, Series]:
    """(floats, integers, classes, quotas) of the simulator, which writes to the first three."""
    count = rows.stop - rows.start
    floats, ints = np.zeros((count, PREDICTED + 1)), np.zeros((count, 7), np.int64)
    floats[:, SUBMIT], floats[:, WORK] = log.submit[rows] - log.submit[rows.start], log.duration[rows]
    floats[:, FINISH] = np.nan
    ints[:, GPUS], ints[:, WHERE], ints[:, TENANT] = log.gpus[rows], AWAY, log.codes("tenant")[rows]
    tenants = log.words["tenant"][1] if "tenant" in log.words else ("",)
    quotas = np.full(len(tenants), np.inf)
    for name, most in cluster.quotas:
        if name in tenants:
            quotas[tenants.index(name)] = most
    limited = np.where(np.isfinite(quotas[ints[:, TENANT]]), ints[:, TENANT], -1)
    kinds = np.stack([ints[:, GPUS], wanted_groups(log, cluster)[rows], limited], axis=1)
    codes = (kinds[:, 0] * (len(cluster.groups) + 1) + kinds[:, 1] + 1) * (len(quotas) + 1) + kinds[:, 2] + 1
    _, firsts, ints[:, CLASS], counts = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
    classes = np.zeros((len(firsts), 5), np.int64)
    classes[:, :3], classes[:, 3] = kinds[firsts], np.cumsum(counts) - counts
    return floats, ints, classes, quotas


def wanted_groups(log: JobLog, cluster: Cluster) -> Ints:
    """The group of nodes that each job asks for, -1 for any."""
    if "gpu_type" not in log.words:
        return np.full(len(log), -1, np.int64)
    codes, names = log.words["gpu_type"]
    places = {one.name.lower(): place for place, one in enumerate(cluster.groups)}
    return np.array([places.get(name.lower(), -1) for name in names], np.int64)[codes]


@functools.lru_cache(maxsize=KEPT)
def _fitting(source: str, cluster: Cluster, fingerprint: str) -> tuple[JobLog, int]:
    log = read_jobs(source, fingerprint)
    room = np.array([one.gpus * one.nodes for one in cluster.groups])
    wanted = wanted_groups(log, cluster)
    most = np.where(wanted >= 0, room[wanted], room.max())
    if "tenant" in log.words and cluster.quotas:
        codes, names = log.words["tenant"]
        limits = np.full(len(names), np.iinfo(np.int64).max)
        for name, quota in cluster.quotas:
            limits[[place for place, one in enumerate(names) if one == name]] = quota
        most = np.minimum(most, limits[codes])
    # A job that takes whole nodes rounds up to them.
    unfit = log.gpus > most
    if unfit.mean() > MOST_UNFIT:
        raise InputError(
            f"{source}: {int(unfit.sum()):,} of {len(log):,} jobs ask for more GPUs than their nodes or quota have",
            hint="describe the whole cluster in the file given with --cluster",
        )
    return (log, 0) if not unfit.any() else (_without(log, unfit), int(unfit.sum()))


def _without(log: JobLog, out: Any) -> JobLog:
    kept = np.flatnonzero(~out)
    first = float(log.submit[kept[0]])
    return JobLog(
        log.submit[kept] - first, log.duration[kept], log.gpus[kept], log.ended[kept] - first,
        {word: (codes[kept], names) for word, (codes, names) in log.words.items()},
        log.origin + (first if log.origin else 0.0), log.findings,
    )  # fmt: skip
