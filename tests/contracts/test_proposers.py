"""Every proposer keeps its contract, on every problem that an area declares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.areas import PROBLEMS, capability
from tests.proposers.test_language import Scripted
from trimtab.core.model import Brief, Proposal
from trimtab.core.ports import Proposer
from trimtab.proposers.enough import Enough
from trimtab.proposers.evolve import Evolve
from trimtab.proposers.language import Language
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.programs import Programs
from trimtab.proposers.recall import Recall
from trimtab.proposers.rules import Before, Derived, Rules, Turns
from trimtab.proposers.search import Search
from trimtab.testing import MemoryLedger, check_proposer


def stay(brief: Brief[Any]) -> Sequence[Proposal[Any]]:
    return [Proposal(brief.current, "stay", "it stands")]


PROPOSERS: dict[str, Callable[[], Proposer]] = {
    "rules": lambda: Rules("stay", stay),
    "recall": lambda: Recall(MemoryLedger(), "none"),
    "search": lambda: Search(seed=1, batch=4, startup=4),
    "evolve": lambda: Evolve(seed=3, batch=2),
    "derived": lambda: Derived("stay", stay),
    "before": lambda: Before(Derived("stay", stay), Search(seed=5, startup=2)),
    "enough": lambda: Enough(Rules("stay", stay), most=8),
    "turns": lambda: Turns(Evolve(), Search(seed=4, startup=2)),
    "language": lambda: Language(Scripted({"plans": []}, {"plans": [{"plan": {}, "because": "as it is"}]})),
    "programs": lambda: Programs(Scripted({"programs": []})),
    "portfolio": lambda: Portfolio(Rules("stay", stay), search=Search(seed=2, startup=2)),
}


@pytest.mark.parametrize("path", PROBLEMS)
@pytest.mark.parametrize("name", PROPOSERS)
def test_a_proposer_keeps_its_contract(name: str, path: str, tmp_path: Path) -> None:
    check_proposer(PROPOSERS[name], capability(path).sample(tmp_path, 0))
