"""What may change: the form that a model is served in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trimtab.core.space import Choice, When


@dataclass(frozen=True)
class FormPlan:
    """A form of a trained model.

    `native` is the library's own predict; `interpreter` and `compiled` are pylignum's, bit-identical for LightGBM
    (`compiled` needs a C compiler here, none where it is served); `onnx` is ONNX Runtime in float32. `trees` below 1
    keeps only the first share of the trees: never exact.
    """

    form: Annotated[str, Choice("native", "interpreter", "compiled", "onnx")] = "native"
    trees: Annotated[float, Choice(1.0, 0.75, 0.5, 0.25)] = 1.0
    optimise: Annotated[str, Choice("-O1", "-O2"), When("form", "compiled")] = "-O1"


CURRENT = FormPlan()
INTERPRETER = FormPlan("interpreter")
ONNX = FormPlan("onnx")
COMPILED = FormPlan("compiled")
FEWER = FormPlan("interpreter", 0.5)
