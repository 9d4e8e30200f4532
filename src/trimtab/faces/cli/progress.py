"""Progress on standard error: the stage that runs, its trials, and the budget left."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.status import Status

from trimtab.core.events import Event, Judged, Measured, ModelCalled, StudyOpened
from trimtab.core.model import Comparison, Json
from trimtab.pipeline import Moment, StageResult


class StageProgress:
    """Shows a line that changes; silent when it is not shown."""

    def __init__(self, *, is_shown: bool) -> None:
        self._console = Console(stderr=True, highlight=False, quiet=not is_shown)
        self._status = Status("starting", console=self._console)
        self._stage, self._started = "", time.perf_counter()
        self._cpu, self._budget, self._trials, self._best = 0.0, 0.0, 0, 0.0

    def __enter__(self) -> StageProgress:
        self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._status.stop()

    def stage(self, name: str, moment: Moment, result: StageResult | None) -> None:
        """A stage started, ended, or was found in the ledger."""
        if moment == "started":
            self._stage, self._started, self._cpu, self._trials, self._best = name, time.perf_counter(), 0.0, 0, 0.0
            self._budget = 0.0
            self._show()
            return
        wall = time.perf_counter() - self._started
        took = "from the ledger" if moment == "reused" else f"{wall:.0f} s"
        saving = result.row.saving if result is not None else ""
        self._console.print(f"[green]✓[/] {name:<8} [dim]{took:>16}[/]  {saving}")

    def event(self, event: Event) -> None:
        """An event went into the ledger."""
        match event:
            case StudyOpened(spec=spec):
                self._budget = _budget(spec.get("search_cpu_seconds"))
            case Measured(outcome=outcome):
                self._cpu += outcome.cost.cpu_seconds
            case Judged(verdict=Comparison() as verdict):
                self._trials += 1
                self._best = max(self._best, verdict.gain.mid)
            case ModelCalled(purpose=purpose):
                self._status.update(f"{self._stage}: asked the language model ({purpose})")
                return
        self._show()

    def _show(self) -> None:
        left = f"{max(0.0, self._budget - self._cpu):.0f} of {self._budget:.0f} CPU-s left"
        spent = left if self._budget else f"{self._cpu:.0f} CPU-s"
        trials = f", {self._trials} plans judged, best gain {self._best:.3g}" if self._trials else ""
        self._status.update(f"{self._stage}: {spent}{trials}")


def _budget(value: Json | None) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
