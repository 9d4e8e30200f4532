"""Where a command works that is given a file and no pipeline: the ledger, and a model that writes programs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from trimtab.adapters.ledger import SqlLedger, open_ledger
from trimtab.core.budget import Meter
from trimtab.core.ports import Proposer
from trimtab.language import open_writer
from trimtab.workplace import make_store

TOKENS, DOLLARS = 200_000, 1.0  # that a language model may use for one command


@dataclass(frozen=True)
class Bench:
    """The store of this folder, its ledger, and a proposer that asks a language model for programs, if one is set."""

    store: Path
    ledger: SqlLedger
    language: Proposer | None

    def ledger_line(self) -> str:
        """Where the ledger stands, for a certificate."""
        length, head = self.ledger.head()
        return f"{length:,} events, the last one hashes to {head[:16]}…"


@contextmanager
def open_bench(name: str) -> Iterator[Bench]:
    """Open the bench of the present folder. Raises TargetError when the folder cannot be written."""
    store = make_store(Path.cwd())
    with ExitStack() as stack:
        ledger = open_ledger(os.environ.get("TRIMTAB_LEDGER", store / "ledger.db"))
        stack.callback(ledger.close)
        writer = stack.enter_context(open_writer(store, ledger, name, Meter(dollars=DOLLARS, tokens=TOKENS)))
        yield Bench(store, ledger, writer)
