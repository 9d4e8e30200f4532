"""Dataclasses to JSON and back, by their annotations: for the ledger, for child processes and for cache keys.

Strict both ways: what is not declared is refused, and NaN or infinity are refused where JSON has no word for them.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast

from trimtab.core.model import Json

T = TypeVar("T")


def dump(value: Any) -> Json:
    """A dataclass, or plain values, as JSON. A union's dataclass member is marked by its "is" key (see `load`)."""
    kind: Any = type(value)
    if kind in (str, bool, int, type(None)):
        return cast(Json, value)
    if kind is float or isinstance(value, float):
        return _finite(float(value))
    if kind is dict:  # the usual kinds first: abstract ones are slow to tell
        return {_key(key): dump(one) for key, one in value.items()}
    if kind is tuple or kind is list:
        return [dump(one) for one in value]
    if dataclasses.is_dataclass(value):
        return {"is": kind.__name__} | {name: dump(getattr(value, name)) for name in _names(kind)}
    if isinstance(value, Mapping):
        return {_key(key): dump(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, frozenset, set)):
        return [dump(one) for one in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (int, str)):
        return dump(value.item()) if hasattr(value, "item") else (int if isinstance(value, int) else str)(value)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return dump(value.item())  # numpy's scalars
    raise TypeError(f"cannot write a {kind.__name__} as JSON")


def _key(key: Any) -> str:
    if isinstance(key, str) or type(key) is int:
        return str(key)
    raise TypeError(f"cannot write a {type(key).__name__} as the key of a JSON object")


def load(kind: Any, value: Any) -> Any:
    """JSON back into `kind`, a type or annotation. Raises ValueError that names the place."""
    return _load(kind, value, "")


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces."""
    return json.dumps(dump(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of a value."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def _finite(value: float) -> Json:
    # Infinite limits and unbounded intervals are legal values of ours; NaN never is.
    if math.isnan(value):
        raise ValueError("NaN cannot be written")
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


@functools.lru_cache(maxsize=512)
def _names(kind: type) -> tuple[str, ...]:
    return tuple(one.name for one in dataclasses.fields(kind))


@functools.lru_cache(maxsize=512)
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _load(kind: Any, value: Any, at: str) -> Any:
    origin = typing.get_origin(kind)
    if origin is Annotated:
        return _load(typing.get_args(kind)[0], value, at)
    if kind is Any or isinstance(kind, TypeVar):
        return value
    if origin is Literal:
        return _one_of(typing.get_args(kind), value, at)
    if origin in (Union, types.UnionType):
        return value if _is_json(kind) else _load_union(typing.get_args(kind), value, at)
    if dataclasses.is_dataclass(origin or kind):
        return _load_dataclass(cast(type, origin or kind), value, at)
    if origin is not None:
        return _load_collection(origin, typing.get_args(kind), value, at)
    return _load_scalar(kind, value, at)


def _is_json(union: Any) -> bool:
    # Only `Json` allows all of these: it is loaded as it stands.
    return {type(None), bool, int, float, str} <= set(typing.get_args(union))


def _one_of(allowed: tuple[Any, ...], value: Any, at: str) -> Any:
    if not any(value == one and type(value) is type(one) for one in allowed):
        raise ValueError(f"{at or 'value'}: {value!r} is not one of {list(allowed)}")
    return value


def _load_union(members: tuple[Any, ...], value: Any, at: str) -> Any:
    if isinstance(value, Mapping) and "is" in value:
        named = [one for one in members if getattr(typing.get_origin(one) or one, "__name__", "") == value["is"]]
        members = tuple(named) or members
    reasons = []
    for member in members:
        try:
            return _load(member, value, at)
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError(" | ".join(reasons))


def _load_dataclass(kind: type, value: Any, at: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{at or kind.__name__}: expected an object, not {value!r:.60}")
    given = {key: one for key, one in value.items() if key != "is"}
    hints = _hints(kind)
    unknown = sorted(set(given) - set(_names(kind)))
    if unknown:
        raise ValueError(f"{at or kind.__name__}: unknown field {unknown[0]!r}, known are {', '.join(_names(kind))}")
    arguments = {name: _load(hints[name], one, f"{at}.{name}".lstrip(".")) for name, one in given.items()}
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(f"{at or kind.__name__}: {error}") from None


def _load_collection(origin: Any, inner: tuple[Any, ...], value: Any, at: str) -> Any:
    if issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{at or 'value'}: expected an object, not {value!r:.60}")
        return {_load_key(inner[0], key, at): _load(inner[1], one, f"{at}.{key}") for key, one in value.items()}
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"{at or 'value'}: expected a list, not {value!r:.60}")
    if origin is tuple and not (len(inner) == 2 and inner[1] is Ellipsis):
        if len(inner) != len(value):
            raise ValueError(f"{at or 'value'}: expected {len(inner)} values, not {len(value)}")
        return tuple(_load(one, each, f"{at}[{i}]") for i, (one, each) in enumerate(zip(inner, value, strict=True)))
    loaded = [_load(inner[0], one, f"{at}[{i}]") for i, one in enumerate(value)]
    return origin(loaded) if origin in (tuple, set, frozenset) else loaded


def _load_key(kind: Any, key: Any, at: str) -> Any:
    if kind is not int:
        return _load(kind, key, at)
    if not (isinstance(key, str) and key.removeprefix("-").isdecimal()):
        raise ValueError(f"{at or 'value'}: expected a whole number as key, not {key!r:.60}")
    return int(key)


def _load_scalar(kind: Any, value: Any, at: str) -> Any:
    if kind is type(None) and value is None:
        return None
    if kind is float and value in ("inf", "-inf"):
        return float(value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool) and _is_float(value):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is datetime and isinstance(value, str):
        return _moment(value, at)
    if kind in (dict, list) and isinstance(value, kind):
        return value
    raise ValueError(f"{at or 'value'}: expected {getattr(kind, '__name__', kind)}, not {value!r:.60}")


def _is_float(value: float) -> bool:
    return abs(value) <= sys.float_info.max  # neither NaN nor a whole number with 400 digits is


def _moment(value: str, at: str) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{at or 'value'}: expected a time in ISO 8601, not {value!r:.60}") from None
