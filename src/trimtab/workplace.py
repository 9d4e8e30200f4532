"""Where a pipeline's work lies: its configuration, data, ledger, runner and language model, opened once for a face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trimtab import __version__
from trimtab.adapters.sources.dataset import DataSpec
from trimtab.config import Config
from trimtab.core.budget import Meter
from trimtab.core.ports import LanguageModel, Ledger, Limits, Runner


@dataclass(frozen=True)
class Workplace:
    """All that the stages of one pipeline share."""

    config: Config
    folder: Path  # of the user's pipeline
    store: Path  # folder/.trimtab: ledger, cache, models, services, reports
    data: DataSpec
    ledger: Ledger
    runner: Runner
    model: LanguageModel | None
    model_note: str  # why there is no model, or which one it is
    tokens: Meter  # what language models may spend in this run
    fingerprints: Mapping[str, str]  # of the user's data and code
    version: str = __version__

    @property
    def limits(self) -> Limits:
        """What one measurement may use."""
        budget = self.config.budget
        return Limits(cpu_seconds=budget.measurement_seconds, memory_bytes=int(budget.memory_gb * 2**30))

    def place(self, name: str) -> Path:
        """A folder of the store, made when it is not there."""
        folder = self.store / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder
