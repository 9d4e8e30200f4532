"""Where a pipeline's work lies: its configuration, data, ledger, runner and language model, opened once for a face."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow.parquet

from trimtab import __version__
from trimtab.adapters.files import make_store
from trimtab.adapters.ledger import SqlLedger, ledger_in
from trimtab.adapters.meters import host
from trimtab.adapters.runners.local import LocalRunner
from trimtab.adapters.sources.dataset import DataSpec, unknown_column
from trimtab.adapters.sources.tables import fingerprint, materialise, read_table
from trimtab.config import Config
from trimtab.core.budget import Meter
from trimtab.core.errors import InputError
from trimtab.core.events import Event, Recorded
from trimtab.core.ports import LanguageModel, Limits, Proposer, Runner

IDLE_SECONDS = 120.0  # after which a measurement that does nothing is taken to wait for ever

E = TypeVar("E", bound=Event)
Seen = Callable[[Event], None]


@dataclass(frozen=True)
class WatchedLedger:
    """A ledger that shows each event to a face as it is written: for progress."""

    ledger: SqlLedger
    seen: Seen

    def append(self, *events: Event) -> None:
        self.ledger.append(*events)
        for event in events:
            self.seen(event)

    def events(self, kind: type[E], *, study: str | None = None) -> Iterator[Recorded[E]]:
        return self.ledger.events(kind, study=study)


@dataclass(frozen=True)
class Workplace:
    """All that the stages of one pipeline share."""

    config: Config
    folder: Path  # of the user's pipeline
    store: Path  # folder/.trimtab: ledger, cache, models, services, reports
    data: DataSpec
    ledger: WatchedLedger
    runner: Runner
    model: LanguageModel | None
    proposer: Proposer | None  # the same model, where it is good enough to propose plans
    model_note: str  # why there is no model, or which one it is
    tokens: Meter  # what language models spend in this run
    fingerprints: Mapping[str, str]  # of the user's data and code
    version: str = __version__

    @property
    def limits(self) -> Limits:
        """What one measurement may use."""
        budget = self.config.budget
        memory = int(budget.memory_gb * 2**30)
        return Limits(cpu_seconds=budget.measurement_seconds, memory_bytes=memory, idle_seconds=IDLE_SECONDS)

    @property
    def cache(self) -> str:
        """The folder for what can be made again."""
        return str(self.place("cache"))

    @property
    def host_line(self) -> str:
        """The machine in words."""
        facts = host()
        return f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gb']} GB, Python {facts['python']}"

    def place(self, name: str) -> Path:
        """A folder of the store, made when it is not there."""
        folder = self.store / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def open_workplace(
    config: Config, folder: Path, *, seen: Seen = lambda event: None, with_model: bool = True
) -> Iterator[Workplace]:
    """Open a pipeline's workplace; close it whatever happens.

    Raises InputError for data or names that cannot be used, TargetError when the folder cannot be written.
    """
    from trimtab.language import Voice, open_model

    store = make_store(folder)
    with ExitStack() as stack:
        ledger = ledger_in(folder)
        stack.callback(ledger.close)
        spec = data_spec(config, folder, store)
        watched = WatchedLedger(ledger, seen)
        tokens = Meter(dollars=config.budget.dollars, tokens=config.budget.tokens)
        voice = Voice(None, None, "No language model was asked.")
        if with_model and config.budget.model_calls:
            voice = stack.enter_context(open_model(config, store, watched, tokens))
        yield Workplace(
            config=config,
            folder=folder,
            store=store,
            data=spec,
            ledger=watched,
            runner=stack.enter_context(LocalRunner(config.budget.workers, threads=cores())),
            model=voice.model,
            proposer=voice.proposer,
            model_note=voice.note,
            tokens=tokens,
            fingerprints={"data": spec.fingerprint, "code": _code_fingerprint(config, folder)},
        )


def data_spec(config: Config, folder: Path, store: Path) -> DataSpec:
    """What the configuration says of the data, with the table as a file and its fingerprint.

    Raises InputError when a named column is not there.
    """
    data = config.data
    table = materialise(data.table, folder, store / "cache")
    names = _column_names(table)
    for key in ("known", "later"):
        for name in getattr(data, key):
            if name not in names:
                raise unknown_column(name, names, f"data.{key}")
    unknown = tuple(name for name in names if data.known and name not in data.known)
    return DataSpec(
        table=str(table),
        target=data.target,
        time=data.time,
        exclude=tuple(dict.fromkeys((*unknown, *data.later))),
        search_share=data.search_share,
        holdout_share=data.holdout_share,
        positive=data.positive,
    ).stamped()


def _column_names(table: Path) -> list[str]:
    if table.suffix == ".parquet":
        try:
            return list(pyarrow.parquet.read_schema(table).names)
        except (OSError, pyarrow.ArrowException) as error:
            raise InputError(
                f"{table} cannot be read: {str(error).splitlines()[0]}", hint="is the file whole?"
            ) from None
    return list(read_table(table).column_names)


def _code_fingerprint(config: Config, folder: Path) -> str:
    place, is_call, _ = config.model.current.partition(".py:")
    return fingerprint(folder / f"{place}.py") if is_call else ""
