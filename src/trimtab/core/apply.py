"""Apply and revert: the only functions that change the user's world.

An intent row goes to the ledger before the write and a done row behind it, so that a process killed anywhere leaves
either nothing, or an intent that `recover` finishes or rolls back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from trimtab.core.errors import InputError, TargetError
from trimtab.core.events import ChangeDone, ChangeIntended
from trimtab.core.model import Decision
from trimtab.core.ports import Ledger, Target
from trimtab.core.wire import digest, dump

P = TypeVar("P")


def apply(decision: Decision[P], target: Target[P], ledger: Ledger) -> str:
    """Write the winner to the target; returns the change's id. What stood there is recorded first.

    Raises InputError when the decision keeps the current plan, TargetError when the plan did not take (the old plan is
    back in place then).
    """
    if decision.winner is None:
        raise InputError(f"{decision.id} keeps the current plan: there is nothing to apply")
    return _change(decision.id, "apply", target.read(), decision.winner.proposal.plan, target, ledger)


def revert(
    decision_id: str, target: Target[Any], ledger: Ledger, load: Callable[[Any], Any] = lambda plan: plan
) -> str:
    """Write back what stood in the target before the decision was last applied; returns the change's id.

    `load` turns the ledger's JSON into the target's plan. Raises InputError when it was never applied there or is
    reverted already.
    """
    intended = _last_applied(decision_id, target.name, ledger)
    return _change(decision_id, "revert", target.read(), load(intended.before), target, ledger)


def recover(target: Target[Any], ledger: Ledger, load: Callable[[Any], Any] = lambda plan: plan) -> list[str]:
    """Close every change that a killed process left open: done if the plan stands, else rolled back. Idempotent."""
    ended = {one.event.change for one in ledger.events(ChangeDone)}
    closed = []
    for recorded in ledger.events(ChangeIntended):
        open_change = recorded.event
        if open_change.target != target.name or open_change.change in ended:
            continue
        stands = dump(target.read()) == open_change.after
        if not stands:
            target.write(load(open_change.before))
        _end(open_change, ledger, stands, "" if stands else "rolled back after an interruption")
        closed.append(open_change.change)
    return closed


def _change(decision_id: str, kind: str, before: P, after: P, target: Target[P], ledger: Ledger) -> str:
    turn = sum(1 for _ in ledger.events(ChangeIntended))
    change = f"{kind}-{digest([decision_id, target.name, turn])[:8]}"
    intent = ChangeIntended(change, decision_id, target.name, kind, dump(before), dump(after))
    ledger.append(intent)
    try:
        target.write(after)
        took = dump(target.read()) == intent.after
        reason = "" if took else "the target did not hold the plan after it was written"
    except (OSError, TargetError) as error:
        took, reason = False, str(error)
    if not took:
        target.write(before)
    _end(intent, ledger, took, reason)
    if not took:
        raise TargetError(f"{target.name} did not take the plan: {reason}", hint="the former plan is back in place")
    return change


def _end(intent: ChangeIntended, ledger: Ledger, is_applied: bool, reason: str) -> None:
    ledger.append(ChangeDone(intent.change, intent.decision, intent.target, intent.kind, is_applied, reason))


def _last_applied(decision_id: str, target: str, ledger: Ledger) -> ChangeIntended:
    taken = {one.event.change for one in ledger.events(ChangeDone) if one.event.is_applied}
    mine = [
        one.event
        for one in ledger.events(ChangeIntended)
        if one.event.decision == decision_id and one.event.target == target and one.event.change in taken
    ]
    if not mine or mine[-1].kind != "apply":
        raise InputError(
            f"{decision_id} is not applied to {target}",
            hint="`trimtab history` lists what is applied",
        )
    return mine[-1]
