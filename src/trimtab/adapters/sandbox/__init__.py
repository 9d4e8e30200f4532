"""Confines a worker process before it meets code that nobody has reviewed."""

from trimtab.adapters.sandbox.confine import Confinement, confine

__all__ = ["Confinement", "confine"]
