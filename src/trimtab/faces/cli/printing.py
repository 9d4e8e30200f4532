"""Where the commands print to, and how JSON is printed. Imports next to nothing: light verbs start fast."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

SCHEMA = 1

# Into a file or a pipe, lines are as long as a page is wide; a terminal says how wide it is.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 160)


def print_json(content: dict[str, Any]) -> None:
    """One object, with the schema's version."""
    print(json.dumps({"schema": SCHEMA, **content}, ensure_ascii=False))


def size(value: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.3g} {unit}" if value < 100 else f"{value:,.0f} {unit}"


def duration(seconds: float) -> str:
    """Seconds as a person reads them."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
