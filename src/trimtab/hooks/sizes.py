"""Batches whose size is tuned while a torch loop runs: by goodput, examples a second times what an example is worth.

A batch of m teaches as much as m·(φ + m₀)/(φ + m) examples in batches of m₀, the user's own size; φ is the gradients'
noise scale (McCandlish et al. 2018, arXiv:1812.06162; Pollux, OSDI 2021). It is estimated from pairs of successive
gradients: their product is that of the true gradient with itself, and what they differ by is noise.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.hooks.session import Session

EVERY = 16  # steps between two looks at gradients
KEPT = 0.9  # of the estimate, at each new look
GPU_SHARE = 0.9  # of the memory there is, that a batch may need
LEAST_LOOKS = 4  # before the size is changed at all


class Noise:
    """The gradients' noise scale, as seen so far."""

    def __init__(self) -> None:
        self.looks = 0
        self._signal = self._noise = 0.0
        self._before: list[Any] = []
        self._steps = self._size_before = 0

    def see(self, gradients: list[Any], size: int) -> None:
        """The gradients of a step on so many examples; most are not looked at."""
        self._steps += 1
        if self._steps % EVERY == 0:
            self._before, self._size_before = [one.detach().clone() for one in gradients], size
        elif self._before:
            if size == self._size_before and len(gradients) == len(self._before):
                self._compare(gradients, size)
            self._before = []

    def scale(self) -> float:
        """φ, in examples; zero, at which a larger batch is worth nothing, where nothing is known."""
        if self.looks < LEAST_LOOKS or self._noise <= 0:
            return 0.0
        return self._noise / max(self._signal, 1e-9 * self._noise)

    def _compare(self, gradients: list[Any], size: int) -> None:
        pairs = list(zip(self._before, gradients, strict=True))
        product = sum(float((a * b).sum()) for a, b in pairs)
        square = sum(float((a * a).sum() + (b * b).sum()) for a, b in pairs) / 2
        kept = KEPT if self.looks else 0.0
        self._signal = kept * self._signal + (1 - kept) * product
        self._noise = kept * self._noise + (1 - kept) * size * (square - product)
        self.looks += 1


class Batches:
    """The control of one loop's batch size, and of the learning rates of its optimizer that go with it."""

    name = "batch size"

    def __init__(self, own: int, most: int) -> None:
        self.own, self.most, self.noise = own, most, Noise()
        self._now, self._scaled = own, 1.0
        self.optimizer: Any = None  # the first that makes a step

    def get(self) -> int:
        """Examples of the next batch."""
        return self._now

    def set(self, count: int) -> None:
        """Have so many from the next batch on, and steps as much longer as their gradients are surer."""
        self._now = count
        self._scale(self._gain())

    def choices(self, own: int) -> list[int]:
        """Sizes worth a try: doubled, while the noise supports it, and a GPU's memory."""
        if self.noise.looks < LEAST_LOOKS:
            return []
        return [size for size in (2 * own, 4 * own, 8 * own) if size <= self.most and size / own <= _room()]

    def worth(self) -> float:
        """Of a step: in the user's own batches."""
        scale = self.noise.scale()
        return self._now / self.own * (scale + self.own) / (scale + self._now)

    def stepped(self, optimizer: Any) -> None:
        """The optimizer has made a step."""
        self.optimizer = optimizer
        parameters = [one for group in optimizer.param_groups for one in group["params"]]
        self.noise.see([one.grad for one in parameters if one.grad is not None], self._now)

    def release(self) -> None:
        """Put the learning rates back to the user's own, for good."""
        self._scale(1.0)
        self.optimizer = None

    def _scale(self, gain: float) -> None:
        # By what is applied now: the noise scale may have changed since.
        if self.optimizer is not None and gain != self._scaled:
            for group in self.optimizer.param_groups:
                group["lr"] *= gain / self._scaled
            self._scaled = gain

    def _gain(self) -> float:
        """AdaScale's (Johnson et al. 2020): a step's worth is what its length may grow by."""
        return max(1.0, self.worth())


def _room() -> float:
    """How many times the most memory that this process had on its GPU would fit there; any number without a GPU.

    Memory grows with the batch at the most: parameters and optimizer states stay as they are.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return math.inf
    most, (free, _) = torch.cuda.max_memory_reserved(), torch.cuda.mem_get_info()
    return GPU_SHARE * (torch.cuda.memory_reserved() + free) / most if most else math.inf


def batches(session: Session | None, rows: int, size: int, most: int) -> Iterator[slice]:
    """Slices of so many rows, their length tuned where the job is watched and acted on."""
    at = 0
    while at < rows:
        with nullcontext(size) if session is None else session.batch(size, most) as now:
            yield slice(at, min(at + now, rows))
        at += now
