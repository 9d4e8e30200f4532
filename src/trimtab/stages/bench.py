"""Where a command works that is given a file and no pipeline: the ledger, and a model that writes programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from trimtab.adapters.files import make_store
from trimtab.adapters.ledger import SqlLedger, ledger_in
from trimtab.adapters.sources.tables import fingerprint
from trimtab.core.budget import Meter
from trimtab.core.loop import optimize
from trimtab.core.model import Decision
from trimtab.core.ports import LanguageModel, Limits, Problem, Proposer, Runner
from trimtab.language import open_writer
from trimtab.proposers.evolve import Evolve
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules
from trimtab.stages.deciding import Ideas, require_decided

P = TypeVar("P")

TOKENS, DOLLARS = 200_000, 1.0  # that a language model may use for one command
LEAST_CHECK = 60.0  # CPU seconds kept for the confirmation, whatever the search may take


@dataclass(frozen=True)
class Bench:
    """The store of this folder, its ledger, and a proposer that asks a language model for programs, if one is set."""

    store: Path
    ledger: SqlLedger
    language: Proposer | None


@contextmanager
def open_bench(name: str, make: Callable[[LanguageModel], Proposer] | None = None) -> Iterator[Bench]:
    """Open the bench of the present folder. `make`: of a model, a proposer; None: one that writes policy programs.

    Raises TargetError when the folder cannot be written.
    """
    store = make_store(Path.cwd())
    with ExitStack() as stack:
        ledger = ledger_in(Path.cwd())
        stack.callback(ledger.close)
        writer = stack.enter_context(open_writer(store, ledger, name, Meter(dollars=DOLLARS, tokens=TOKENS), make))
        yield Bench(store, ledger, writer)


def programs(library: Ideas, bench: Bench) -> Portfolio:
    """The programs that ship, then evolution of programs, and a model's where one is set."""
    return Portfolio(Rules("library", library), search=Evolve(), language=bench.language)


def decided(
    problem: Problem[P], ideas: Proposer, bench: Bench, runner: Runner, limits: Limits, cpu_seconds: float
) -> Decision[P]:
    """Decide in this folder's ledger, with at least as much kept for the check. Raises InputError where nothing was."""
    decision = optimize(
        problem,
        ideas,
        search=Meter(cpu_seconds=cpu_seconds),
        check=Meter(cpu_seconds=max(LEAST_CHECK, cpu_seconds)),
        ledger=bench.ledger,
        runner=runner,
        limits=limits,
    )
    require_decided(problem, decision)
    return decision


def evidence(files: Sequence[Path]) -> dict[str, str]:
    """What a certificate says of any decision made on files: source, sha256, split and the ledger's state."""
    with closing(ledger_in(Path.cwd())) as ledger:
        length, head = ledger.head()
    return {
        "source": ", ".join(one.name for one in files),
        "sha256": ", ".join(fingerprint(one)[:32] for one in files),
        "split": "searched on the first half of the history; held on the second, which nothing was chosen on",
        "ledger": f"{length:,} events, the last one hashes to {head[:16]}…",
    }
