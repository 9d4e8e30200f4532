"""An answer's text as JSON, strictly: what JSON has no word for is refused, code fences are tolerated."""

from __future__ import annotations

import json
import re
from typing import cast

from trimtab.core.model import Json

_FENCED = re.compile(r"```[\w-]*\s*\n(.*?)```", re.DOTALL)


def parse(text: str) -> Json:
    """The JSON value that a text holds. Raises ValueError when it holds none, or one that cannot be written again."""
    fenced = _FENCED.search(text)
    body = (fenced.group(1) if fenced else text).strip()
    try:
        value = json.loads(body, parse_constant=_refuse)
        # Lone surrogates and numbers that overflow to infinity parse, but can be neither stored nor hashed.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise ValueError("the answer is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("the answer holds broken Unicode") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"the answer is not JSON: {error.msg} at character {error.pos}") from None
    return cast(Json, value)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
