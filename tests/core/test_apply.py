"""Apply and revert: what stood before is back, whatever happens in between."""

from __future__ import annotations

import pytest

from trimtab.core.apply import apply, recover, revert
from trimtab.core.errors import InputError, TargetError
from trimtab.core.events import ChangeDone, ChangeIntended
from trimtab.core.model import Decision, Proposal, Refusal, Spend, Trial
from trimtab.testing import MemoryLedger, MemoryTarget

WON = Trial(Proposal({"size": 20}, "search"), Refusal("failed", "not looked at here"))


def decision(winner: Trial[dict[str, int]] | None = WON) -> Decision[dict[str, int]]:
    return Decision("d-1", "s", "valley", {"size": 1}, winner, (), {}, Spend(), "done")


def test_a_change_can_be_applied_and_reverted() -> None:
    target, ledger = MemoryTarget({"size": 1}), MemoryLedger()
    apply(decision(), target, ledger)
    assert target.read() == {"size": 20}
    revert("d-1", target, ledger)
    assert target.read() == {"size": 1}


def test_the_old_plan_is_recorded_before_the_new_one_is_written() -> None:
    target, ledger = MemoryTarget({"size": 1}), MemoryLedger()
    apply(decision(), target, ledger)
    intent = next(ledger.events(ChangeIntended))
    done = next(ledger.events(ChangeDone))
    assert intent.event.before == {"size": 1}
    assert intent.position < done.position


def test_a_target_that_does_not_take_the_plan_keeps_the_old_one() -> None:
    target, ledger = MemoryTarget({"size": 1}, refuses=True), MemoryLedger()
    with pytest.raises(TargetError, match="did not take the plan"):
        apply(decision(), target, ledger)
    assert target.read() == {"size": 1}
    assert not next(ledger.events(ChangeDone)).event.is_applied


def test_keeping_the_current_plan_leaves_nothing_to_apply() -> None:
    with pytest.raises(InputError, match="nothing to apply"):
        apply(decision(None), MemoryTarget({"size": 1}), MemoryLedger())


def test_what_was_never_applied_cannot_be_reverted() -> None:
    with pytest.raises(InputError, match="not applied"):
        revert("d-1", MemoryTarget({"size": 1}), MemoryLedger())


def test_a_change_is_reverted_once() -> None:
    target, ledger = MemoryTarget({"size": 1}), MemoryLedger()
    apply(decision(), target, ledger)
    revert("d-1", target, ledger)
    with pytest.raises(InputError, match="not applied"):
        revert("d-1", target, ledger)


@pytest.mark.parametrize(("stands", "expected"), [({"size": 1}, {"size": 1}), ({"size": 20}, {"size": 20})])
def test_an_interrupted_change_is_closed_either_way(stands: dict[str, int], expected: dict[str, int]) -> None:
    target, ledger = MemoryTarget(stands), MemoryLedger()
    ledger.append(ChangeIntended("c-1", "d-1", "memory", "apply", {"size": 1}, {"size": 20}))
    assert recover(target, ledger) == ["c-1"]
    assert target.read() == expected
    assert recover(target, ledger) == []


def test_a_half_written_change_is_rolled_back() -> None:
    target, ledger = MemoryTarget({"size": 7}), MemoryLedger()
    ledger.append(ChangeIntended("c-1", "d-1", "memory", "apply", {"size": 1}, {"size": 20}))
    recover(target, ledger)
    assert target.read() == {"size": 1}
