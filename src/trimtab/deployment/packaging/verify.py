"""Proves a service directory: installed and started on its own pins, it answers, refuses and holds as it must."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.adapters.models.encoding import Encoding
from trimtab.adapters.models.raw_rows import raw_rows
from trimtab.adapters.sources.dataset import Dataset
from trimtab.core.errors import InputError
from trimtab.deployment.packaging.environment import environment
from trimtab.deployment.packaging.measure import Questions, ask_all
from trimtab.deployment.packaging.server import Server, ask, kill, start, stop
from trimtab.deployment.packaging.service import changed_files


@dataclass(frozen=True)
class Check:
    """One thing that was tried, and what came of it."""

    name: str
    holds: bool
    found: str


@dataclass(frozen=True)
class Verified:
    """All checks, and the figures of the load run: requests_per_second, p50_ms, p99_ms, cpu_ms_per_request, …"""

    checks: tuple[Check, ...]
    load: Mapping[str, float]

    @property
    def holds(self) -> bool:
        """Whether every check held: only then is a service done."""
        return all(check.holds for check in self.checks)


def verify_service(
    service: Path, rows: Dataset, predictions: Any, cache: Path, *, allowed: float = 0.0, seconds: float = 3.0
) -> Verified:
    """Install, start, ask every row, mistreat, load and end a service. `predictions`: of the rows, made offline.

    Raises OutsideError when its environment cannot be made, TargetError when it does not start.
    """
    asked = _questions(service, rows, predictions)
    whole = not (changed := changed_files(service))
    checks = [Check("manifest", whole, "every file as written" if whole else f"changed: {', '.join(changed[:5])}")]
    server = start(service, environment(service / "constraints.txt", cache))
    try:
        checks.append(_parity(server, asked, allowed))
        checks += [_refuses(server, name, body, code) for name, (body, code) in _malformed(service, asked).items()]
        checks += [_answers(server, path) for path in ("/health", "/ready", "/metrics", "/openapi.json")]
        load = _loaded(server, asked, seconds)
        counted = f"{load['requests']:.0f} requests, {load['errors']:.0f} errors"
        checks.append(Check("load", load["errors"] == 0, counted))
        ended = stop(server)
        checks.append(Check("shutdown", ended, "ended when asked to" if ended else "had to be killed"))
    finally:
        kill(server)
    return Verified(tuple(checks), load)


def _questions(service: Path, rows: Dataset, predictions: Any) -> Questions:
    try:
        about = json.loads((service / "form" / "form.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{service} is no service: {error.strerror}", hint="`trimtab package` writes one") from None
    encoding = Encoding.from_json(json.dumps(about["encoding"]))
    bodies = [json.dumps(row) for row in raw_rows(rows.table, encoding)]
    return Questions(tuple(bodies), tuple(np.asarray(predictions).tolist()))


def _parity(server: Server, asked: Questions, allowed: float) -> Check:
    largest, wrong = 0.0, 0
    for start_at in range(0, len(asked.bodies), 100):
        bodies = asked.bodies[start_at : start_at + 100]
        code, text = ask(server.port, "POST", "/predict", f"[{','.join(bodies)}]".encode())
        found = np.asarray(json.loads(text)["predictions"]) if code == 200 else np.full(len(bodies), np.nan)
        off = np.abs(found - np.asarray(asked.expected[start_at : start_at + 100]))
        wrong += int((~(off <= allowed)).sum())
        largest = max(largest, float(np.nanmax(off, initial=0.0)))
    told = f"{len(asked.bodies):,} real rows, {wrong} differ, by at most {largest:.3g}"
    return Check("parity", wrong == 0, told)


def _malformed(service: Path, asked: Questions) -> dict[str, tuple[bytes, int]]:
    row = json.loads(asked.bodies[0])
    name = next(iter(row))
    numbers = [
        one["name"]
        for one in json.loads((service / "form" / "form.json").read_text(encoding="utf-8"))["encoding"]
        if one["kind"] == "number"
    ]
    limit = json.loads((service / "service.json").read_text(encoding="utf-8"))["most_bytes"]
    without = {key: value for key, value in row.items() if key != name}
    change: Callable[[Any], bytes] = lambda value: json.dumps(row | {(numbers or [name])[0]: value}).encode()  # noqa: E731
    return {
        "missing field": (json.dumps(without).encode(), 422),
        "wrong type": (change({"a": 1}), 422),
        "word for a number": (change("twelve" if numbers else ["twelve"]), 422),
        "unknown field": (json.dumps(row | {"surely_unknown_field": 1}).encode(), 422),
        "NaN": (change(float("nan")), 422),
        "broken JSON": (asked.bodies[0][:-2].encode(), 422),
        "empty body": (b"", 422),
        "empty list": (b"[]", 422),
        "oversized": (b" " * (limit + 1), 413),
    }


def _refuses(server: Server, name: str, body: bytes, code: int) -> Check:
    found, _ = ask(server.port, "POST", "/predict", body)
    return Check(name, found == code, f"{found}")


def _answers(server: Server, path: str) -> Check:
    found, _ = ask(server.port, "GET", path)
    return Check(path, found == 200, f"{found}")


def _loaded(server: Server, asked: Questions, seconds: float) -> dict[str, float]:
    ask_all(server, asked, 0.3, 300)  # warm
    before = server.cpu_seconds()
    seen = ask_all(server, asked, seconds, 100_000, connections=8)
    cpu_ms = (server.cpu_seconds() - before) * 1000 / max(1.0, seen["requests"])
    return seen | {"cpu_ms_per_request": cpu_ms, "resident_bytes": float(server.resident_bytes())}
