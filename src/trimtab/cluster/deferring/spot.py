"""Replays jobs with a deadline on a spot market, step by step, compiled.

A job of `work` hours may idle, run on spot while there is any, or run on demand. Every start, and every move from one
to the other, loses the changeover overhead, which is paid for. A policy program chooses at every step of the trace,
knowing what was available so far. A shield outside the program runs the job on demand as soon as anything else could
miss the deadline: no program can. Costs are in on-demand hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from trimtab.adapters.programs import POLICY, Input, Policy, Signature

Up = npt.NDArray[np.uint8]
Table = npt.NDArray[np.float64]

MARKET = Signature(
    "market",
    (
        Input("elapsed", "hours since the job was handed in"),
        Input("left", "hours until its deadline"),
        Input("done", "hours of work that are done"),
        Input("remaining", "hours of work that are not"),
        Input("slack", "hours that may be idled or lost before the job must be on demand to the end"),
        Input("spot", "1 when spot can be had in this step, else 0"),
        Input("running", "what the job ran on in the last step: 0 nothing, 1 spot (and has it still), 2 on demand"),
        Input("share", "share of the time seen so far in which there was spot; 0.5 when nothing was seen"),
        Input("up_hours", "mean length in hours of the finished stretches with spot; -1 when there was none"),
        Input("down_hours", "mean length in hours of the finished stretches without spot; -1 when there was none"),
        Input("changes", "finished stretches with and without spot that were seen"),
        Input("lasted", "hours for which there has been spot by now, or been none"),
        Input("lasts", "hours that this goes on for, by the past stretches that lasted as long; -1 unknown"),
        Input("overhead", "hours lost at every start"),
        Input("price", "of an hour on spot; an hour on demand costs 1"),
        Input("step", "hours until the next choice"),
    ),
    "below 0.5: idle; 0.5 to 1.5: run on spot (idle when there is none); above: run on demand",
    state=8,
    when_nan=2.0,
)
COST, FINISH, SPOT_HOURS, DEMAND_HOURS, STARTS, FORCED = range(6)
"""Columns of what a job did: cost, hours until it was done, hours on each, starts, steps that the shield decided."""


@dataclass(frozen=True)
class Job:
    """Work with a deadline on a spot market; hours, and the price of spot as a share of the price on demand."""

    work: float = 48.0
    deadline: float = 70.0
    overhead: float = 0.1
    price: float = 0.318

    def fault(self) -> str:
        """Why there is no such job; empty when there is."""
        if not (self.work > 0 and self.overhead >= 0 and self.price > 0):
            return "a job has work above 0 h, an overhead of 0 h or more, and a spot price above 0"
        if self.work + self.overhead > self.deadline:
            return f"{self.work:g} h of work and {self.overhead:g} h to start do not fit into {self.deadline:g} h"
        return ""

    def steps(self, step_hours: float) -> int:
        """Steps of a trace until the deadline."""
        return int(self.deadline / step_hours + 1e-9)


_LONGEST = 4096  # steps: longer stretches count as this long
_SMALL = 1e-9
_SEEN, _UP, _LAST, _LASTED = range(4)


@numba.njit(cache=True)
def _observe(up: int, seen: Any, over: Any, more: Any) -> None:
    """Take one step of the market into the books.

    seen: [steps, of them up, the last state or -1, its length]; over[state, n]: finished stretches of n steps or more;
    more[state, n]: by how many steps they were longer, in all.
    """
    seen[_SEEN] += 1
    seen[_UP] += up
    if up == seen[_LAST]:
        seen[_LASTED] += 1
        return
    if seen[_LAST] >= 0:
        length = min(seen[_LASTED], _LONGEST)
        for n in range(1, length + 1):
            over[seen[_LAST], n] += 1
            more[seen[_LAST], n] += length - n
    seen[_LAST], seen[_LASTED] = up, 1


@numba.njit(cache=True)
def _look(inputs: Any, seen: Any, over: Any, more: Any, step: float) -> None:
    """What a program may know of the market, from the books."""
    inputs[7] = seen[_UP] / seen[_SEEN] if seen[_SEEN] > 0 else 0.5
    for state in range(2):
        mean = (more[state, 1] / over[state, 1] + 1.0) * step if over[state, 1] > 0 else -1.0
        inputs[9 - state] = mean
    state, lasted = seen[_LAST], min(seen[_LASTED], _LONGEST)
    inputs[10] = over[0, 1] + over[1, 1]
    inputs[11] = lasted * step
    inputs[12] = (more[state, lasted] / over[state, lasted] + 1.0) * step if over[state, lasted] > 0 else -1.0


@numba.njit(cache=True)
def _shielded(choice: int, running: int, slack: float, gained: float, remaining: float, terms: Any) -> int:
    """The choice, or on demand where a step of anything else could not be made up for."""
    overhead, step = terms[2], terms[4]
    if choice == 2:
        return 2
    # What is left of the slack after this step, when the job must then be started on demand.
    reserve = slack if running != 2 else slack - overhead
    after = reserve - step + (gained if choice == 1 else 0.0)
    if after >= -_SMALL or (choice == 1 and gained >= remaining - _SMALL):
        return choice
    return 2


@numba.njit(cache=True)
def _run(up: Any, first: int, last: int, terms: Any, books: Any, policy: Any, out: Any) -> None:
    """One job from step `first`; the books hold what was seen before. Writes a row of columns to `out`."""
    seen, over, more = books
    work, overhead, price, step = terms[0], terms[2], terms[3], terms[4]
    inputs, state = np.zeros(16), np.zeros(8)
    inputs[13], inputs[14], inputs[15] = overhead, price, step
    remaining, running, pending = work, 0, 0.0
    for at in range(first, last):
        _observe(int(up[at]), seen, over, more)
        _look(inputs, seen, over, more, step)
        if running == 1 and not up[at]:
            running = 0
        elapsed = (at - first) * step
        # Time after the last whole step cannot be chosen for, so it is no slack.
        left = (last - at) * step
        slack = left - remaining - (pending if running == 2 else overhead)
        inputs[0], inputs[1], inputs[2], inputs[3] = elapsed, left, work - remaining, remaining
        inputs[4], inputs[5], inputs[6] = slack, float(up[at]), running
        answer = policy(inputs, state)
        choice = 0 if answer < 0.5 else (1 if answer <= 1.5 else 2)
        if choice == 1 and not up[at]:
            choice = 0
        lost = pending if running == 1 else overhead
        spare = slack + (pending if running == 2 else 0.0)
        kept = _shielded(choice, running, spare, max(0.0, step - lost), remaining, terms)
        out[FORCED] += kept != choice
        if kept == 0:
            running, pending = 0, 0.0
            continue
        if kept != running:
            running, pending = kept, overhead
            out[STARTS] += 1.0
        used = min(step, pending + remaining)
        remaining -= max(0.0, used - pending)
        pending = max(0.0, pending - used)
        out[COST] += used * (price if kept == 1 else 1.0)
        out[SPOT_HOURS if kept == 1 else DEMAND_HOURS] += used
        if remaining <= _SMALL:
            out[FINISH] = elapsed + used
            return
    out[FINISH] = np.inf


_FLOATS = numba.f8[::1]


@numba.njit(numba.f8[:, ::1](numba.u1[::1], numba.i8[::1], _FLOATS, POLICY), cache=True)
def run_jobs(up: Any, starts: Any, terms: Any, policy: Any) -> Any:
    """One job at each of `starts` (steps of the trace `up`, rising). Returns a row of the columns above for each.

    terms: [work h, deadline h, overhead h, price of spot, step h]. A job sees the trace from its first step on.
    """
    out = np.zeros((len(starts), 6))
    last = int(terms[1] / terms[4] + 1e-9)
    seen, over, more = np.zeros(4, np.int64), np.zeros((2, _LONGEST + 1)), np.zeros((2, _LONGEST + 1))
    seen[_LAST] = -1
    known = 0
    for row in range(len(starts)):
        while known < starts[row]:
            _observe(int(up[known]), seen, over, more)
            known += 1
        books = (seen.copy(), over.copy(), more.copy())
        _run(up, starts[row], starts[row] + last, terms, books, policy, out[row])
    return out


def played(up: Up, starts: npt.NDArray[np.int64], job: Job, step_hours: float, policy: Policy) -> Table:
    """`run_jobs` for a job: (jobs, columns)."""
    terms = np.array([job.work, job.deadline, job.overhead, job.price, step_hours])
    return np.asarray(run_jobs(up, np.sort(starts), terms, policy))
