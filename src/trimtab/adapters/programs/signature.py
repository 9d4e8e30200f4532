"""What a policy program is given, what its answer means, and why a text is refused as one."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST = 1e300  # numbers lie within ± this


class ProgramFault(ValueError):
    """Why a text is no policy program: with its line, and what is allowed instead."""


@dataclass(frozen=True)
class Input:
    """One input of a program: its meaning with the unit; `window` > 0 makes it a series of that length."""

    name: str
    meaning: str
    window: int = 0


@dataclass(frozen=True)
class Signature:
    """What a policy program is given and what its answer means."""

    name: str
    inputs: tuple[Input, ...]
    answer: str
    state: int = 0  # slots
    when_nan: float = LARGEST  # the answer that stands for "not a number"

    @property
    def width(self) -> int:
        """Floats in the array of inputs: one for each, a window's length for a window."""
        return sum(max(1, one.window) for one in self.inputs)

    def starts(self) -> dict[str, int]:
        """Where each input begins in the array of inputs."""
        places, place = {}, 0
        for one in self.inputs:
            places[one.name], place = place, place + max(1, one.window)
        return places

    @property
    def head(self) -> str:
        """How a program of this signature begins."""
        return f"def {self.name}({', '.join(one.name for one in self.inputs)}):"

    @property
    def about(self) -> str:
        """What the inputs and the answer mean, for whoever writes programs."""
        lines = [
            f"{one.name}: {one.meaning}" + (f" ({one.name}[0] … {one.name}[{one.window - 1}])" if one.window else "")
            for one in self.inputs
        ]
        slots = f"state[0] … state[{self.state - 1}]: yours to keep" if self.state else "no state is kept"
        return "\n".join([*lines, slots, f"returns: {self.answer}"])
