"""Problems that can be rebuilt elsewhere: by import path and JSON fields, so that a child process can measure them."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
from typing import Any, cast

from trimtab.core.errors import ContractError
from trimtab.core.model import Failure, Json, Measurement, Outcome, Sample
from trimtab.core.ports import Limits, Problem, Result, Task
from trimtab.core.wire import canonical, digest, dump, load

MEASURE = "trimtab.core.portable:measure"


def reference(problem: object) -> dict[str, Json]:
    """{"type": import path, "fields": JSON}. Raises ContractError when the problem is not portable."""
    kind = type(problem)
    path = f"{kind.__module__}:{kind.__qualname__}"
    if not dataclasses.is_dataclass(problem) or "<locals>" in path:
        raise ContractError(f"{path} cannot run in a child process", hint="make it a frozen dataclass in a module")
    try:
        fields = {one.name: dump(getattr(problem, one.name)) for one in dataclasses.fields(problem)}
    except TypeError as error:
        raise ContractError(f"{path} cannot run in a child process: {error}", hint="use JSON-able fields") from None
    return {"type": path, "fields": cast(Json, fields)}


@functools.lru_cache(maxsize=8)
def _rebuilt(canonical_reference: str) -> Problem[Any]:
    # Cached: a worker that lives on keeps the problem, and whatever tables it has read.
    found = json.loads(canonical_reference)
    return cast(Problem[Any], load(imported(found["type"]), found["fields"]))


def rebuilt(reference: Json) -> Problem[Any]:
    """A problem from its reference. Raises ContractError when there is no such problem any more."""
    return _rebuilt(canonical(reference))


def imported(path: str) -> Any:
    """The object at "package.module:name". Raises ImportError or AttributeError."""
    module, _, name = path.partition(":")
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


def measure(*, problem: dict[str, Json], plan: Json, sample: Json) -> Json:
    """Rebuild a problem and measure one plan on one sample: what a Task calls in a child process."""
    rebuilt = _rebuilt(canonical(problem))
    return dump(rebuilt.measure(load(rebuilt.plan_type, plan), load(Sample, sample)))


def task(problem: object, plan: Any, sample: Sample, limits: Limits) -> Task:
    """The task that measures a plan on a sample."""
    arguments: dict[str, Json] = {"problem": reference(problem), "plan": dump(plan), "sample": dump(sample)}
    return Task(MEASURE, arguments, digest(arguments), limits)


def outcome(result: Result) -> Outcome:
    """A task's result as a measurement with the metered cost, or as the failure that it was."""
    if isinstance(result.outcome, Failure):
        return dataclasses.replace(result.outcome, cost=result.cost)
    measured = cast(Measurement, load(Measurement, result.outcome.value))
    own = measured.cost
    # Dollars and tokens are known to the measurement only; the rest to the meter.
    cost = dataclasses.replace(result.cost, dollars=own.dollars, tokens=own.tokens, measurements=1)
    return dataclasses.replace(measured, cost=cost)
