"""What a watched training says of itself through `trimtab.hooks`, read from its file of events while it grows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POINTS = 2000  # of progress
MOST_BYTES = 4 << 20  # read at once


@dataclass(frozen=True, slots=True)
class Change:
    """A change that was tried within the job: its ratios are new to old, by pair of blocks."""

    what: str
    before: int
    after: int
    is_kept: bool
    wall_ratios: tuple[float, ...]
    cpu_ratios: tuple[float, ...]
    seconds: float

    def line(self) -> str:
        """In words."""
        wall, cpu = min(self.wall_ratios, default=1.0), min(self.cpu_ratios, default=1.0)
        said = f"{self.what} {self.before} → {self.after}: {cpu:.2f} × the CPU, {wall:.2f} × the time of a step"
        return f"{said}, {'kept' if self.is_kept else 'put back'}"


@dataclass(slots=True)
class Heard:
    """What was said so far."""

    progress: list[tuple[float, float]] = field(default_factory=list)  # (moment, done)
    total: float = 0.0
    parameters: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    failure: str = ""
    peak: int = 0  # bytes that the first process itself ever had, as it ended
    _bars: bool = False

    def take(self, event: Mapping[str, Any]) -> Change | None:
        """One event; returns the change that it tells of, if any. What is malformed is left out."""
        try:
            return self._taken(event)
        except (KeyError, TypeError, ValueError):
            return None

    def _taken(self, event: Mapping[str, Any]) -> Change | None:
        match event.get("event"):
            case "progress" if not self._bars:
                self._moved(float(event["at"]), float(event["done"]), float(event["total"]))
            case "bar":
                if not self._bars:
                    self.progress.clear()
                self._bars = True
                self._moved(float(event["at"]), float(event["done"]), float(event["total"]))
            case "metric":
                self._measured(str(event["name"]), float(event["value"]), int(event["step"]), bool(event["is_kept"]))
            case "parameters":
                self.parameters |= event["values"]
            case "peak":
                self.peak = max(self.peak, int(event["bytes"]))
            case "failed":
                self.failure = str(event["error"])
            case "change":
                change = Change(
                    event["what"], event["from"], event["to"], event["is_kept"],
                    tuple(event["wall_ratios"]), tuple(event["cpu_ratios"]), event["seconds"],
                )  # fmt: skip
                self.changes.append(change)
                return change
        return None

    def _moved(self, at: float, done: float, total: float) -> None:
        if self.progress and done < self.progress[-1][1]:  # another bar, or a loop begun again
            self.progress.clear()
        self.progress.append((at, done))
        self.total = total
        if len(self.progress) > POINTS:
            del self.progress[1:-1:2]

    def _measured(self, name: str, value: float, step: int, is_kept: bool) -> None:
        self.metrics[name] = value
        if is_kept and math.isfinite(value):
            curve = self.curves.setdefault(name, [])
            curve.append((step, value))
            if len(curve) > POINTS:
                del curve[1:-1:2]


class EventFile:
    """A growing file of events, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path, self._at, self._rest = path, 0, b""

    def news(self) -> list[dict[str, Any]]:
        """The whole lines that came since the last call; what is no JSON object is left out."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                text = file.read(MOST_BYTES)
        except OSError:
            return []
        self._at += len(text)
        *lines, self._rest = (self._rest + text).split(b"\n")
        found = []
        for line in lines:
            try:
                one = json.loads(line)
            except ValueError:
                continue
            if isinstance(one, dict):
                found.append(one)
        return found
