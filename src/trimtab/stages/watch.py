"""`trimtab watch`: a job that is watched to its end, tried again with more memory where that was its end; recorded."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from trimtab.adapters.ledger import SqlLedger, ledger_in
from trimtab.core.events import RunEnded
from trimtab.training.allocation.job import Ended, Orders, attach, run
from trimtab.training.tracking.runs import Origin, Outcome, write_began, write_ended

GROWTH = 1.5  # of the memory given, after a job outgrew it
RESERVE = 0.9  # of the machine's memory, at the most


@dataclass(frozen=True, slots=True)
class Told:
    """A watched job's end, and what the ledger says of it."""

    ended: Ended
    run: RunEnded


def watch_command(
    command: Sequence[str], orders: Orders, *, folder: Path, name: str = "", retries: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Told:  # fmt: skip
    """Run and watch a command; where it outgrows its memory, run it again with half as much more, so many times.

    Raises InputError for a command that cannot be started, TargetError when the ledger cannot be written.
    """
    with closing(ledger_in(folder)) as ledger:
        for left in range(retries, -1, -1):
            told = _recorded(ledger, _named(command, name), partial(run, command, orders))
            if not (_ran_out(told.ended) and left and orders.memory):
                return told
            orders = replace(orders, memory=min(int(GROWTH * orders.memory), _most_memory()))
            say(f"it needs more memory: once more, with {(orders.memory or 0) / 2**20:,.0f} MiB")
    raise AssertionError("the last try returns")


def watch_process(pid: int, orders: Orders, *, folder: Path, name: str = "") -> Told:
    """Watch a process that runs already. Raises InputError and OutsideError as `attach`, TargetError for the ledger."""
    with closing(ledger_in(folder)) as ledger:
        words = _command_of(pid)
        return _recorded(ledger, _named(words, name), partial(attach, pid, orders))


def _recorded(ledger: SqlLedger, origin: Origin, job: Callable[[], Ended]) -> Told:
    write_began(ledger, origin)
    ended = job()
    heard = ended.heard
    outcome = Outcome(
        status=_status(ended),
        spent=ended.spent,
        parameters=heard.parameters,
        metrics=heard.metrics,
        curves=heard.curves,
        labels=tuple((since, until, one.name) for since, until, one in ended.labels),
        changes=tuple(
            {
                "what": one.what,
                "from": one.before,
                "to": one.after,
                "is_kept": one.is_kept,
                "wall_ratios": list(one.wall_ratios),
                "cpu_ratios": list(one.cpu_ratios),
            }
            for one in heard.changes
        ),
        notes=(f"ended by {heard.failure}",) if heard.failure else (),
    )
    return Told(ended, write_ended(ledger, origin, outcome))


def _named(command: Sequence[str], name: str) -> Origin:
    script = next((Path(one).stem for one in command if one.endswith((".py", ".sh", ".R", ".jl"))), "")
    return Origin(name or script or shlex.join(command)[:60], "watch", tuple(command), Path.cwd())


def _status(ended: Ended) -> str:
    if ended.exit_code is None or ended.exit_code == 0:
        return "done"
    return "killed" if ended.exit_code < 0 else "failed"


def _ran_out(ended: Ended) -> bool:
    return ended.is_too_large or ended.heard.failure == "MemoryError"


def _most_memory() -> int:
    words = Path("/proc/meminfo").read_text(encoding="utf-8").split()
    return int(RESERVE * 1024 * int(words[words.index("MemTotal:") + 1]))


def _command_of(pid: int) -> tuple[str, ...]:
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # `attach` says what is wrong with it
        return (str(pid),)
    return tuple(one.decode("utf-8", "replace") for one in text.split(b"\0")[:-1]) or (str(pid),)
