"""What was known of a job's like when it was submitted: of the same tenant, user, name, or size; compiled.

Only jobs that had ended by then tell their durations; those that still ran tell their age.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from trimtab.cluster.scheduling.joblog import JobLog
from trimtab.cluster.scheduling.jobs import Ints, Series, Table

SLOW, QUICK = 0.05, 0.3  # weights of the newest in running means
SHORT = np.log(120.0)  # log of seconds: jobs that crash at once, and such
RATE_SECONDS = 3600.0
COLUMNS = 12
MOST_TENANTS = 64  # that the trees may tell apart by name


def looks_of(log: JobLog, ended: Series) -> tuple[Table, list[int]]:
    """(n, columns) float32 of the log's jobs, and which columns are categories; `ended`: when each is known to end."""
    logs = np.log(log.duration + 1.0)
    tenant = log.codes("tenant")
    made = [log.gpus, np.where(tenant < MOST_TENANTS, tenant, MOST_TENANTS)]
    made += [(log.submit + log.origin) / 3600 % 24, (log.submit + log.origin) / 86_400 % 7]
    order = np.argsort(ended, kind="stable")
    parts = [np.stack([np.asarray(one, np.float32) for one in made], axis=1)]
    parts += [_recent(log.submit, ended, order, logs, key, int(key.max()) + 1) for key in _keys(log)]
    return np.concatenate(parts, axis=1), [1]


def _keys(log: JobLog) -> list[Ints]:
    """Codes of jobs that are alike: of a tenant, a user, a name, each with and without the number of GPUs; and all."""
    sizes = np.unique(log.gpus, return_inverse=True)[1]
    keys = [np.zeros(len(log), np.int64)]
    for word in ("tenant", "user", "name"):
        if word in log.words:
            codes = log.codes(word)
            keys.append(codes)
            keys.append(np.unique(codes * (int(sizes.max()) + 1) + sizes, return_inverse=True)[1])
    if len(keys) == 1:
        keys.append(sizes)
    return [np.ascontiguousarray(key, np.int64) for key in keys]


_MEAN, _FAST, _SQUARE, _SHORT, _LAST, _BEFORE, _ENDED, _SUBMITTED, _RATE, _RATED = range(10)


@numba.njit(cache=True)
def _end(job: int, mine: Any, logs: Any, ended: Any, done: int) -> None:
    """Take a job that has ended into the books of its like, of which `done` had ended before."""
    slow, quick = max(1.0 / (done + 1), SLOW), max(1.0 / (done + 1), QUICK)
    off = logs[job] - mine[_MEAN]
    mine[_MEAN] += slow * off
    mine[_SQUARE] = (1.0 - slow) * (mine[_SQUARE] + slow * off * off)
    mine[_FAST] += quick * (logs[job] - mine[_FAST])
    mine[_SHORT] += slow * ((1.0 if logs[job] < SHORT else 0.0) - mine[_SHORT])
    mine[_BEFORE], mine[_LAST], mine[_ENDED] = mine[_LAST], logs[job], ended[job]


@numba.njit(cache=True)
def _recent(submit: Any, ended: Any, order: Any, logs: Any, key: Any, keys: int) -> Any:
    """(n, COLUMNS) of the books of each job's like, just before it is submitted; NaN where there is nothing yet."""
    out = np.full((len(submit), COLUMNS), np.nan, np.float32)
    books, done, runs = np.zeros((keys, 10)), np.zeros(keys, np.int64), np.zeros(keys, np.int64)
    newest = np.full(keys, -1, np.int64)
    books[:, _LAST] = np.nan
    at = 0
    for job in range(len(submit)):
        now = submit[job]
        while at < len(order) and ended[order[at]] <= now:
            past = order[at]
            at += 1
            if past >= job:  # nobody ends before being submitted
                continue
            _end(past, books[key[past]], logs, ended, done[key[past]])
            done[key[past]] += 1
            runs[key[past]] -= 1
        mine, row = books[key[job]], out[job]
        if done[key[job]] > 0:
            row[0], row[1], row[2], row[3] = mine[_MEAN], mine[_FAST], mine[_LAST], mine[_BEFORE]
            row[4], row[5], row[6] = np.sqrt(mine[_SQUARE]), mine[_SHORT], np.log1p(now - mine[_ENDED])
        row[7], row[11] = np.log1p(runs[key[job]]), np.log1p(done[key[job]])
        before = newest[key[job]]
        if before >= 0:
            row[8] = np.log1p(now - mine[_SUBMITTED])
            row[10] = np.log1p(now - submit[before]) if ended[before] > now else -logs[before]
        mine[_RATE] *= np.exp((mine[_RATED] - now) / RATE_SECONDS)
        row[9] = mine[_RATE]
        mine[_RATE] += 1.0
        mine[_RATED], mine[_SUBMITTED] = now, now
        runs[key[job]] += 1
        newest[key[job]] = job
    return out
