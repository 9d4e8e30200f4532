"""Rollouts of policies that run: shadow → canary → full, or back. What is in force is what the ledger says last.

Each step is written before it takes effect. A process that is killed anywhere begins the open step anew when it comes
back; a candidate that was rolled back is not tried again until its text changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from trimtab.adapters.ledger import ledger_in
from trimtab.core.errors import InputError
from trimtab.core.events import Recorded, RolloutMoved
from trimtab.core.model import Json
from trimtab.core.ports import Ledger
from trimtab.core.wire import digest
from trimtab.stages.watched import Say

OPEN = ("shadow", "canary")
ASKED_BACK = "asked back"


@dataclass(frozen=True)
class Rollout:
    """The rollouts of one target: a file with a policy program."""

    file: Path
    ledger: Ledger
    say: Say

    @property
    def target(self) -> str:
        """Its name in the ledger."""
        return target_of(self.file)

    def last(self) -> RolloutMoved | None:
        """The last step that was taken."""
        return next((one for one in reversed(self._moves()) if one.step != ASKED_BACK), None)

    def is_asked_back(self) -> bool:
        """Whether a person wants the incumbent back since then."""
        moves = self._moves()
        return bool(moves) and moves[-1].step == ASKED_BACK

    def in_force(self, text: str) -> str:
        """The program to begin with, where the file says `text`."""
        last = self.last()
        if last is None:
            self.move(RolloutMoved(self.target, "first", "full", text, text, "the first program"))
            return text
        return last.candidate if last.step == "full" else last.incumbent

    def wanted(self, text: str) -> RolloutMoved | None:
        """The step to take where the file says `text`: an open one, a new rollout, or back; None: all is as it is."""
        last = self.last()
        if last is not None and last.step in OPEN and text == last.candidate:
            return last
        if last is not None and last.step in OPEN and text == last.incumbent:
            return onward(last, "back", "the file holds the incumbent again")
        if last is None or text == last.candidate or (text == last.incumbent and last.step == "back"):
            return None
        incumbent = last.candidate if last.step == "full" else last.incumbent
        name = f"rollout-{digest([self.target, text, len(self._moves())])[:8]}"
        return RolloutMoved(self.target, name, "shadow", incumbent, text, "the file changed")

    def move(self, step: RolloutMoved) -> None:
        """Write a step down; it may take effect then."""
        self.ledger.append(step)
        self.say(f"{step.rollout}: {step.step}: {step.because}")

    def _moves(self) -> list[RolloutMoved]:
        return [one.event for one in self.ledger.events(RolloutMoved, study=self.target)]


def target_of(file: Path) -> str:
    """A file's name among the ledger's targets: readable, and of its own for each place."""
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", file.name)[:40]
    return f"{word}-{digest(str(file.resolve()))[:10]}"


def onward(step: RolloutMoved, to: str, because: str, facts: Mapping[str, Json] | None = None) -> RolloutMoved:
    """The next step of a rollout."""
    return RolloutMoved(step.target, step.rollout, to, step.incumbent, step.candidate, because, facts or {})


def status(folder: Path) -> list[Recorded[RolloutMoved]]:
    """The last step of every target, oldest first."""
    with closing(ledger_in(folder)) as ledger:
        last: dict[str, Recorded[RolloutMoved]] = {}
        for one in _steps(ledger):
            last.pop(one.event.target, None)
            last[one.event.target] = one
        return list(last.values())


def ask_back(folder: Path, file: Path) -> RolloutMoved:
    """Ask for the incumbent's program; whoever serves takes it within a second. Raises InputError."""
    with closing(ledger_in(folder)) as ledger:
        moves = [one.event for one in _steps(ledger) if one.event.target == target_of(file)]
        if not moves:
            raise InputError(f"nothing was rolled out from {file}", hint="`trimtab rollout status` lists what was")
        if moves[-1].step in ("back", ASKED_BACK) or moves[-1].rollout == "first":
            raise InputError(f"{file}: there is nothing to go back to", hint="`trimtab rollout status` tells why")
        asked = onward(moves[-1], ASKED_BACK, "by command")
        ledger.append(asked)
        return asked


def _steps(ledger: Ledger) -> Iterator[Recorded[RolloutMoved]]:
    return ledger.events(RolloutMoved)
