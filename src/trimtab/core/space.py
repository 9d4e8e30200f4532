"""Knobs: a plan's annotations are its search space. Validity, random draws and the JSON schema all come from here.

@dataclass(frozen=True)
class Batching:
    max_batch: Annotated[int, Int(1, 64, log=True)] = 1
    mode: Annotated[str, Choice("thread", "process")] = "thread"
    workers: Annotated[int, Int(1, 8), When("mode", "process")] = 1
"""

from __future__ import annotations

import dataclasses
import functools
import math
import random
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypeVar, cast

from trimtab.core.errors import ContractError
from trimtab.core.model import Json
from trimtab.core.wire import load

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number from `low` to `high`, both included; `log`: drawn on a log scale."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _check_ends(self.low, self.high, self.log and self.low < 0)


@dataclass(frozen=True, slots=True)
class Float:
    """A number from `low` to `high`; `log`: drawn on a log scale."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_ends(self.low, self.high, self.log and self.low <= 0)


@dataclass(frozen=True, slots=True, init=False)
class Choice:
    """One of the given values."""

    values: tuple[Json, ...]

    def __init__(self, *values: Json) -> None:
        object.__setattr__(self, "values", values)


@dataclass(frozen=True, slots=True, init=False)
class Subset:
    """Any of the given names, each at most once: a tuple of str."""

    values: tuple[str, ...]

    def __init__(self, *values: str) -> None:
        object.__setattr__(self, "values", values)


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a policy program, at most `max_bytes` of UTF-8. It cannot be drawn; proposers write it.

    `fault` says why a text is no program of the kind, or is empty; `head` is how such a program begins, `about` what
    its inputs and its answer mean.
    """

    max_bytes: int = 8192
    fault: Callable[[str], str] | None = None
    head: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True, init=False)
class When:
    """The knob matters only while another one has one of these values; otherwise it must keep its default."""

    knob: str
    values: tuple[Json, ...]

    def __init__(self, knob: str, *values: Json) -> None:
        object.__setattr__(self, "knob", knob)
        object.__setattr__(self, "values", values)


Range: TypeAlias = Int | Float | Choice | Subset | Source


@dataclass(frozen=True, slots=True)
class Knob:
    """One field of a plan type with its range. A knob without a condition always matters."""

    name: str
    range: Range
    default: Any
    when: When | None = None

    def matters(self, values: Mapping[str, Any]) -> bool:
        """Whether the knob has a meaning beside these values of the others."""
        return self.when is None or values.get(self.when.knob) in self.when.values


def knobs(plan_type: Any) -> tuple[Knob, ...]:
    """The knobs of a plan type, in order; fields without a range are none. Raises ContractError for a bad condition."""
    return _knobs(plan_type)


@functools.lru_cache(maxsize=256)
def _knobs(plan_type: Any) -> tuple[Knob, ...]:
    hints = typing.get_type_hints(plan_type, include_extras=True)
    found: list[Knob] = []
    for one in dataclasses.fields(plan_type):
        marks = typing.get_args(hints[one.name])[1:] if typing.get_origin(hints[one.name]) is Annotated else ()
        ranges = [mark for mark in marks if isinstance(mark, (Int, Float, Choice, Subset, Source))]
        whens = [mark for mark in marks if isinstance(mark, When)]
        if ranges:
            when = whens[0] if whens else None
            if when is not None and when.knob not in [knob.name for knob in found]:
                raise ContractError(f"{one.name} depends on {when.knob!r}, which is no knob above it")
            found.append(Knob(one.name, ranges[0], _default(one), when))
    return tuple(found)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def faults(plan: Any) -> list[str]:
    """Why a plan lies outside its space; empty when it is valid."""
    values = {knob.name: getattr(plan, knob.name) for knob in knobs(type(plan))}
    return [
        f"{knob.name}: {reason}"
        for knob in knobs(type(plan))
        if knob.matters(values) and (reason := _fault(knob.range, values[knob.name]))
    ]


def draw(plan_type: type[P], rng: random.Random, **fixed: Any) -> P:
    """A random valid plan; `fixed` fields are taken as given. Source knobs keep their default."""
    values: dict[str, Any] = dict(fixed)
    for knob in knobs(plan_type):
        if knob.name in fixed or isinstance(knob.range, Source):
            continue
        values[knob.name] = _draw(knob.range, rng) if knob.matters(values) else knob.default
    return plan_type(**values)


def settle(plan: P) -> P:
    """The plan as it is compared: knobs that do not matter at their default, subsets in order, numbers as floats."""
    values = {knob.name: getattr(plan, knob.name) for knob in knobs(type(plan))}
    changed: dict[str, Any] = {}
    for knob in knobs(type(plan)):
        settled = _settled(knob, values)
        if settled is not values[knob.name]:
            # A knob that is put back may be the reason why a later one no longer matters.
            values[knob.name] = changed[knob.name] = settled
    return cast(P, dataclasses.replace(cast(Any, plan), **changed)) if changed else plan


def _settled(knob: Knob, values: Mapping[str, Any]) -> Any:
    value = values[knob.name]
    if not knob.matters(values):
        return value if knob.default is None else knob.default
    match knob.range:
        case Float() if type(value) is int and not _fault(knob.range, value):
            return float(value)
        case Subset(values=names) if isinstance(value, tuple) and not _fault(knob.range, value):
            ordered = tuple(name for name in names if name in value)
            return value if ordered == value else ordered
    return value


def parse(plan_type: type[P], value: Json, base: P | None = None) -> P:
    """JSON into a valid, settled plan; fields that are left out come from `base`. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"a plan is a JSON object, not {type(value).__name__}")
    start: dict[str, Any] = {}
    if base is not None:
        start = {one.name: getattr(base, one.name) for one in dataclasses.fields(cast(Any, base))}
    hints = typing.get_type_hints(plan_type)
    unknown = sorted(set(value) - set(hints) - {"is"})
    if unknown:
        raise ValueError(f"unknown knob {unknown[0]!r}, known are {', '.join(hints)}")
    start |= {name: load(hints[name], one) for name, one in value.items() if name != "is"}
    plan = settle(_built(plan_type, start))
    wrong = faults(plan)
    if wrong:
        raise ValueError("; ".join(wrong))
    return plan


def json_schema(plan_type: type) -> dict[str, Json]:
    """A JSON schema for a plan: knobs only, no further properties, all optional."""
    properties: dict[str, Json] = {}
    for knob in knobs(plan_type):
        schema = _schema(knob.range)
        if knob.when is not None:
            schema["description"] = f"only when {knob.when.knob} is one of {list(knob.when.values)}"
        properties[knob.name] = schema
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _check_ends(low: float, high: float, has_no_log: bool) -> None:
    if not low <= high or not math.isfinite(high - low):
        raise ValueError(f"a range goes from a finite low to a high at or above it, not from {low} to {high}")
    if has_no_log:
        raise ValueError(f"a range on a log scale starts above 0, not at {low}")


def _built(plan_type: type[P], values: dict[str, Any]) -> P:
    try:
        return plan_type(**values)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _fault(allowed: Range, value: Any) -> str:
    match allowed:
        case Int(low, high):
            fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
            return "" if fits else f"{value!r} is not a whole number from {low} to {high}"
        case Float(low, high):
            fits = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
            return "" if fits else f"{value!r} is not a number from {low} to {high}"
        case Choice(values=values):
            fits = any(value == one and type(value) is type(one) for one in values)
            return "" if fits else f"{value!r} is not one of {list(values)}"
        case Subset(values=names):
            fits = isinstance(value, tuple) and len(set(value)) == len(value) and set(value) <= set(names)
            return "" if fits else f"{value!r} is not a subset of {list(names)[:20]}"
        case Source(max_bytes, fault):
            if not isinstance(value, str) or len(value.encode("utf-8", "surrogatepass")) > max_bytes:
                return f"a program is text of at most {max_bytes} bytes"
            return fault(value) if fault is not None else ""


def _draw(allowed: Range, rng: random.Random) -> Any:
    match allowed:
        case Int(low, high, log):
            # Half a step of room at both ends: the ends are as likely as the middle.
            if not log:
                return rng.randint(low, high)
            position = math.exp(rng.uniform(math.log(max(low, 1) - 0.5), math.log(max(high, 1) + 0.5)))
            return min(high, max(low, round(position)))
        case Float(low, high, log):
            drawn = math.exp(rng.uniform(math.log(low), math.log(high))) if log else rng.uniform(low, high)
            return min(high, max(low, drawn))  # exp(log(0.3)) > 0.3
        case Choice(values=values):
            return rng.choice(values)
        case Subset(values=names):
            return tuple(name for name in names if rng.random() < 0.5)
        case Source():
            raise ValueError("a program cannot be drawn")


def _schema(allowed: Range) -> dict[str, Json]:
    match allowed:
        case Int(low, high):
            return {"type": "integer", "minimum": low, "maximum": high}
        case Float(low, high):
            return {"type": "number", "minimum": low, "maximum": high}
        case Choice(values=values):
            return {"enum": list(values)}
        case Subset(values=names):
            return {"type": "array", "items": {"enum": list(names)}, "uniqueItems": True}
        case Source(max_bytes):
            return {"type": "string", "maxLength": max_bytes}
