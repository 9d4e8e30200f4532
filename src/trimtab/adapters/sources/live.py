"""What a service does right now: its requests/s, and those at work, from Prometheus or from a router's own metrics.

What cannot be measured is None, never a number.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import httpx

from trimtab.adapters.sources import prometheus
from trimtab.core.errors import InputError, OutsideError

SECONDS = 3.0  # for one answer: a slower one counts as missing
MOST_BYTES = 4 * 2**20
_LINE = re.compile(r"^trimtab_(requests_total|outstanding|healthy)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Look:
    """One measurement: requests/s, requests at the replicas (None: not known), replicas that serve (None: the same)."""

    rate: float
    busy: float | None = None
    replicas: int | None = None


class Feed(Protocol):
    """Where measurements come from. Calls may take seconds."""

    def look(self) -> Look | None:
        """What is so now; None when it cannot be measured. Raises InputError for a question that makes no sense."""
        ...

    def past(self, count: int, step: float) -> Sequence[float]:
        """Rates of the last `count` steps of so many seconds, the oldest first; none where they are not kept."""
        ...


@dataclass(frozen=True)
class Queries:
    """PromQL of one value each; "" where it is not known."""

    rate: str
    busy: str = ""
    replicas: str = ""


class PrometheusFeed:
    """Measurements by queries to a Prometheus server."""

    def __init__(self, server: str, queries: Queries, token: str = "") -> None:
        if not server.startswith(("http://", "https://")):
            raise InputError(f"{server} is no address of a server", hint="such as http://localhost:9090")
        self._server, self._queries = server, queries
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(timeout=SECONDS, headers=headers, follow_redirects=False)

    def look(self) -> Look | None:
        """One query for each value; without a rate there is no measurement."""
        rate = self._now(self._queries.rate)
        if rate is None:
            return None
        replicas = self._now(self._queries.replicas)
        return Look(rate, self._now(self._queries.busy), None if replicas is None else round(replicas))

    def past(self, count: int, step: float) -> Sequence[float]:
        """The unbroken stretch of rates that ends now."""
        now = time.time()
        query = prometheus.RangeQuery(
            self._server, self._queries.rate, now - (count - 1) * step, now, max(1, round(step))
        )
        try:
            found = prometheus.values(self._client, query)
        except OutsideError:
            return ()
        rates: list[float] = []
        for back, (at, value) in enumerate(reversed(found)):
            if abs(now - back * step - at) > step or not math.isfinite(value):
                break
            rates.append(value)
        return rates[::-1]

    def _now(self, text: str) -> float | None:
        return prometheus.now(self._client, self._server, text) if text else None


class RouterFeed:
    """Measurements from the metrics of `balance run` or `scale run`."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(f"{url} is no address of metrics", hint="such as http://127.0.0.1:9100/metrics")
        self._url = url
        self._client = httpx.Client(timeout=SECONDS, follow_redirects=False)
        self._before: tuple[float, float] | None = None  # when, and the requests counted by then

    def look(self) -> Look | None:
        """The requests since the last look; a counter that fell began anew at 0."""
        try:
            text = self._client.get(self._url).text[:MOST_BYTES]
            found = [(name, float(value)) for name, value in _LINE.findall(text)]
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return None
        counted = [value for name, value in found if name == "requests_total"]
        if not counted:
            return None
        now, before = time.monotonic(), self._before
        self._before = (now, counted[0])
        if before is None or now <= before[0]:
            return None
        grown = counted[0] - before[1] if counted[0] >= before[1] else counted[0]
        busy = sum(value for name, value in found if name == "outstanding")
        healthy = sum(value for name, value in found if name == "healthy")
        return Look(grown / (now - before[0]), busy, round(healthy))

    def past(self, count: int, step: float) -> Sequence[float]:
        """A router keeps none."""
        return ()
