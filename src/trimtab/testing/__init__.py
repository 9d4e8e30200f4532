"""For authors of plug-ins: real fakes, and the checks of every contract in `core.ports`."""

from trimtab.testing.contracts import check_ledger, check_problem, check_proposer, check_target
from trimtab.testing.fakes import MemoryLedger, MemoryTarget
from trimtab.testing.same import check_same

__all__ = [
    "MemoryLedger",
    "MemoryTarget",
    "check_ledger",
    "check_problem",
    "check_proposer",
    "check_same",
    "check_target",
]
