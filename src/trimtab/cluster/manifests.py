"""Kubernetes objects as text. JSON's strings are YAML's, so that no name breaks a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]
_BARE = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")


def document(comment: str, objects: Sequence[Object]) -> str:
    """A file of objects, with lines that say what they are for."""
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + "---\n".join("".join(f"{line}\n" for line in _lines(one)) for one in objects)


def resource_name(text: str) -> str:
    """A name that Kubernetes takes, made of any."""
    found = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")
    return found or "unnamed"


def _lines(value: Object) -> Iterator[str]:
    for key, one in value.items():
        word = key if _BARE.fullmatch(key) else json.dumps(key)
        if isinstance(one, Mapping) and one:
            yield f"{word}:"
            yield from (f"  {line}" for line in _lines(one))
        elif isinstance(one, (list, tuple)) and one:
            yield f"{word}:"
            for item in one:
                inside = list(_lines(item)) if isinstance(item, Mapping) else [json.dumps(item)]
                yield from (f"{'  ' if place else '- '}{line}" for place, line in enumerate(inside))
        else:
            yield f"{word}: {json.dumps(one)}"
