"""For authors of plug-ins: real fakes, and the checks of every contract in `core.ports`."""

from trimtab.testing.fakes import MemoryLedger, MemoryTarget

__all__ = ["MemoryLedger", "MemoryTarget"]
