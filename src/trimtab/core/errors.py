"""The error tree, by who can mend it. What is true of a *plan* is a Failure or a Refusal, never an exception.

TrimtabError
├── InputError       the caller: bad arguments, files, configuration      exit 2   HTTP 400
├── OutsideError     the operator: something beyond this process          exit 3   HTTP 503
│   ├── SourceError     data or metrics that cannot be read
│   ├── TargetError     a place that did not take a change
│   └── ModelError      a language model that cannot be used
└── ContractError    the author of a plug-in broke a promise              exit 70  HTTP 500
"""

from __future__ import annotations

from typing import ClassVar


class TrimtabError(Exception):
    """What happened, and in `hint` what to do about it."""

    exit_code: ClassVar[int] = 70
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class InputError(TrimtabError):
    """The caller gave something that cannot be used."""

    exit_code = 2
    http_status = 400


class OutsideError(TrimtabError):
    """Something outside this process failed; trying again later may work."""

    exit_code = 3
    http_status = 503


class SourceError(OutsideError):
    """Data or metrics could not be read."""


class TargetError(OutsideError):
    """A target did not take a change, or could not be read back."""


class ModelError(OutsideError):
    """A language model could not be reached, started or verified."""


class ContractError(TrimtabError):
    """A plug-in broke the contract that `trimtab.testing` checks."""
