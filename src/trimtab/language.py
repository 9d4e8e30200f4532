"""Which language model a run asks, if any: an endpoint by configuration, or the embedded model when it is here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trimtab.config import Config
from trimtab.core.budget import Meter
from trimtab.core.errors import ModelError
from trimtab.core.ports import LanguageModel, Ledger, Proposer


@dataclass(frozen=True)
class Voice:
    """A language model, the proposer made of it where it is good enough for numbers, and a sentence that says so."""

    model: LanguageModel | None
    proposer: Proposer | None
    note: str


@contextmanager
def open_model(config: Config, store: Path, ledger: Ledger, meter: Meter) -> Iterator[Voice]:
    """The model that is configured, the embedded one, or none; closed behind the block. Raises InputError.

    An embedded model only tells what columns mean: it is useless at proposing numbers.
    """
    from trimtab.adapters.llm.asker import Caps
    from trimtab.adapters.llm.configure import configured, note
    from trimtab.proposers.language import Language

    prices = config.prices
    caps = Caps(
        calls=config.budget.model_calls,
        dollars_per_million_in=prices.million_tokens_in,
        dollars_per_million_out=prices.million_tokens_out,
    )
    folder = store / "answers"
    folder.mkdir(exist_ok=True)
    try:
        model = configured(os.environ, caps=caps, meter=meter, ledger=ledger, study=config.name, cache_folder=folder)
        said = note(os.environ)
    except ModelError as error:
        yield Voice(None, None, f"no language model: {error.message}")
        return
    if model is None:
        yield Voice(None, None, said)
        return
    try:
        yield Voice(model, None if model.name.startswith("local:") else Language(model), said)
    finally:
        model.close()


@contextmanager
def open_writer(
    store: Path,
    ledger: Ledger,
    study: str,
    meter: Meter,
    make: Callable[[LanguageModel], Proposer] | None = None,
) -> Iterator[Proposer | None]:
    """A proposer that asks the configured model for policy programs, or what `make` makes of it.

    None without a model, or with an embedded one only: those cannot write programs.

    Raises InputError for a name or address that cannot be meant.
    """
    from trimtab.adapters.llm.asker import Caps
    from trimtab.adapters.llm.configure import configured
    from trimtab.proposers.programs import Programs

    folder = store / "answers"
    folder.mkdir(exist_ok=True)
    try:
        model = configured(os.environ, caps=Caps(), meter=meter, ledger=ledger, study=study, cache_folder=folder)
    except ModelError:
        model = None
    try:
        yield None if model is None or model.name.startswith("local:") else (make or Programs)(model)
    finally:
        if model is not None:
            model.close()


def pull_model(name: str, source: str, say: Callable[[str], None]) -> Path:
    """Fetch and verify an embedded model; returns its file."""
    from trimtab.adapters.llm.pull import pull

    told = [0]

    def progress(done: int, total: int) -> None:
        percent = done * 100 // max(1, total)
        if percent >= told[0] + 10:
            told[0] = percent
            say(f"{name}: {percent} % of {total / 1e6:,.0f} MB")

    return pull(name, source or None, progress=progress)


def known_models() -> list[tuple[str, str, str, str, str]]:
    """(name, size, licence, SHA-256, whether it is here) of every embedded model."""
    from trimtab.adapters.llm.configure import local_models

    return [
        (one.name, f"{one.bytes / 1e6:,.0f} MB", one.licence, f"{one.sha256[:12]}…", "yes" if is_here else "no")
        for one, is_here in local_models(os.environ)
    ]
