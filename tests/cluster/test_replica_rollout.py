"""A changed replica policy: first in shadow, then in earnest, and back when the promise breaks or a person asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from trimtab.adapters.ledger import SqlLedger, ledger_in
from trimtab.adapters.programs import ProgramFault
from trimtab.cluster.scaling.controller import Controller, Shield
from trimtab.cluster.scaling.simulator import DESIRED, Service
from trimtab.core.events import RolloutMoved
from trimtab.stages.replicas import Replicas
from trimtab.stages.rollout import Rollout, ask_back

SERVED = Service(0.1, 0.4)


def always(count: int) -> str:
    return f"{DESIRED.head}\n    return {count}\n"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    with closing(ledger_in(tmp_path)) as made:
        yield made


class Run:
    """Fifteen seconds a turn, one request a second, as `scale run` feeds it."""

    def __init__(self, ledger: SqlLedger, file: Path, text: str) -> None:
        controller = Controller(always(1), SERVED, Shield(1, 40, 0.0))
        self.replicas = Replicas(controller, Rollout(file, ledger, lambda said: None), 60.0)
        self.replicas.begin(text)
        self.now = 1000.0

    def turns(self, count: int, seconds: float = 0.2, status: int = 200) -> int:
        wanted = 0
        for _ in range(count):
            for _ in range(3):
                self.now += 5.0
                self.replicas.observe(self.now, 20.0, 2.0)
            for _ in range(100):
                self.replicas.heard(status, seconds)
            self.replicas.judge(self.now)
            wanted = self.replicas.desired(self.now, 10, 0)
        return wanted


def steps(ledger: SqlLedger) -> list[str]:
    return [one.event.step for one in ledger.events(RolloutMoved)]


def test_a_candidate_decides_nothing_until_it_has_been_in_shadow(tmp_path: Path, ledger: SqlLedger) -> None:
    run = Run(ledger, tmp_path / "replicas.py", always(10))
    assert run.turns(3) == 10
    run.replicas.take(always(12))
    assert run.turns(4) == 10
    assert run.turns(3) == 12
    assert steps(ledger) == ["full", "shadow", "full"]
    last = list(ledger.events(RolloutMoved))[-1].event
    assert last.facts == {"asked": 4, "differed": 4}
    assert "+2.00" in last.because


def test_it_goes_back_when_clients_wait_too_long_and_leave(tmp_path: Path, ledger: SqlLedger) -> None:
    run = Run(ledger, tmp_path / "replicas.py", always(10))
    run.replicas.take(always(8))
    assert run.turns(30, seconds=0.4, status=499) == 8  # not longer than is allowed
    assert run.turns(30, seconds=0.6, status=499) == 10


def test_it_goes_back_when_requests_are_late_and_is_not_tried_again(tmp_path: Path, ledger: SqlLedger) -> None:
    run = Run(ledger, tmp_path / "replicas.py", always(10))
    run.replicas.take(always(8))
    assert run.turns(6) == 8
    assert run.turns(30, seconds=0.6) == 10
    assert steps(ledger) == ["full", "shadow", "full", "back"]
    assert "late" in list(ledger.events(RolloutMoved))[-1].event.because
    run.replicas.take(always(8))
    assert run.turns(30) == 10
    assert steps(ledger) == ["full", "shadow", "full", "back"]


def test_a_process_that_was_killed_begins_with_what_the_ledger_says(tmp_path: Path, ledger: SqlLedger) -> None:
    file = tmp_path / "replicas.py"
    run = Run(ledger, file, always(10))
    run.replicas.take(always(12))
    again = Run(ledger, file, always(12))  # the file holds the candidate, which is in shadow
    assert again.turns(2) == 10
    assert again.turns(6) == 12
    ask_back(tmp_path, file)
    assert again.turns(1) == 10
    assert steps(ledger) == ["full", "shadow", "full", "asked back", "back"]
    assert Run(ledger, file, always(12)).turns(30) == 10


def test_a_file_that_holds_the_incumbent_again_ends_the_trial(tmp_path: Path, ledger: SqlLedger) -> None:
    run = Run(ledger, tmp_path / "replicas.py", always(10))
    run.replicas.take(always(12))
    run.replicas.take(always(10))
    assert run.turns(10) == 10
    assert steps(ledger) == ["full", "shadow", "back"]


def test_a_text_that_is_no_program_changes_nothing(tmp_path: Path, ledger: SqlLedger) -> None:
    run = Run(ledger, tmp_path / "replicas.py", always(10))
    with pytest.raises(ProgramFault):
        run.replicas.take("import os")
    assert run.turns(10) == 10
    assert steps(ledger) == ["full"]
