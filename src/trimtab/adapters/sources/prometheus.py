"""A history from a Prometheus server: a range query by its HTTP API, in pieces that every server answers.

https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from trimtab.core.errors import InputError, OutsideError

POINTS = 10_000  # of a series in one answer; servers refuse more than 11,000
MOST_POINTS = 20_000_000
MOST_BYTES = 512 * 2**20  # of one answer
SECONDS = 60.0  # for one answer
ATTEMPTS = 3


@dataclass(frozen=True)
class RangeQuery:
    """What is asked: PromQL, over [start, end] (Unix seconds), every `step` seconds.

    by: a label that tells several series apart, "" where there is one; value: the name of the column of values.
    """

    server: str
    text: str
    start: float
    end: float
    step: int = 60
    by: str = ""
    value: str = "rate"


def fetched(query: RangeQuery, token: str = "") -> tuple[str, int]:
    """(a CSV of time, label where one is asked for, value; its rows). Values that are no numbers are left out.

    Raises InputError where the query or the server's name is at fault, OutsideError where the server is.
    """
    _check(query)
    head = ["time", query.by, query.value] if query.by else ["time", query.value]
    lines = [",".join(head)]
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(timeout=SECONDS, headers=headers, follow_redirects=False) as client:
        for start, end in _pieces(query):
            for labels, values in _series(client, query, start, end):
                name = [_cell(labels.get(query.by, ""))] if query.by else []
                lines += [
                    ",".join([_stamp(moment), *name, f"{value:.17g}"])
                    for moment, value in values
                    if math.isfinite(value)
                ]
            if len(lines) > MOST_POINTS:
                raise InputError(f"the query gives more than {MOST_POINTS:,} values", hint="a longer --step")
    if len(lines) == 1:
        raise InputError(f"{query.server} has no value for {query.text}", hint="try the query on the server's own page")
    return "\n".join(lines) + "\n", len(lines) - 1


def now(client: httpx.Client, server: str, text: str) -> float | None:
    """The one value that a query has now; None where it has none, or the server does not answer.

    Raises InputError where the query is at fault.
    """
    try:
        response = client.post(server.rstrip("/") + "/api/v1/query", data={"query": text})
        answer = _parsed(server, response.status_code, response.content)
    except (httpx.HTTPError, httpx.InvalidURL, OutsideError):
        return None
    if answer.get("errorType") == "bad_data":
        raise InputError(f"{server} refuses the query: {answer.get('error', '')}", hint=f"it was {text}")
    try:
        found = answer["data"]["result"]
        values = [found[1]] if answer["data"]["resultType"] == "scalar" else [one["value"][1] for one in found]
        numbers = [float(one) for one in values]
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    if len(numbers) > 1:
        raise InputError(f"the query gives {len(numbers)} series", hint=f"sum(…) them; it was {text}")
    return numbers[0] if numbers and math.isfinite(numbers[0]) else None


def values(client: httpx.Client, query: RangeQuery) -> list[tuple[float, float]]:
    """(Unix seconds, value) of a query with one series, oldest first. Raises as `fetched`."""
    return [one for start, end in _pieces(query) for _, found in _series(client, query, start, end) for one in found]


def _check(query: RangeQuery) -> None:
    if not query.server.startswith(("http://", "https://")):
        raise InputError(f"{query.server} is no address of a server", hint="such as http://localhost:9090")
    if query.step < 1 or not query.start < query.end:
        raise InputError(
            "nothing lies between the first and the last moment asked for", hint="--days above 0, --step 1 s or more"
        )
    if (query.end - query.start) / query.step > MOST_POINTS:
        raise InputError(f"more than {MOST_POINTS:,} moments are asked for", hint="a longer --step, or fewer --days")


def _pieces(query: RangeQuery) -> Iterator[tuple[float, float]]:
    start = query.start
    while start <= query.end:
        end = min(query.end, start + (POINTS - 1) * query.step)
        yield start, end
        start = end + query.step


def _series(
    client: httpx.Client, query: RangeQuery, start: float, end: float
) -> Iterator[tuple[Mapping[str, str], list[tuple[float, float]]]]:
    """(labels, values) of each series of one piece."""
    asked = {"query": query.text, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": str(query.step)}
    answer = _answered(client, query.server.rstrip("/") + "/api/v1/query_range", asked)
    try:
        if answer["status"] != "success":
            raise InputError(
                f"{query.server} refuses the query: {answer.get('error', '')}", hint=f"it was {query.text}"
            )
        series = [(dict(one["metric"]), [(float(at), float(value)) for at, value in one["values"]])
                  for one in answer["data"]["result"]]  # fmt: skip
    except (KeyError, TypeError, ValueError):
        raise OutsideError(f"{query.server} does not answer as Prometheus does", hint="check the address") from None
    if len(series) > 1 and not query.by:
        names = sorted({name for labels, _ in series for name in labels if name != "__name__"})
        raise InputError(
            f"the query gives {len(series)} series", hint=f"sum(…) them, or name a label by --by: {', '.join(names)}"
        )
    if query.by and len({labels.get(query.by) for labels, _ in series}) < len(series):
        raise InputError(
            f"{query.by} does not tell the query's {len(series)} series apart", hint=f"sum by ({query.by}) (…)"
        )
    yield from series


def _answered(client: httpx.Client, url: str, asked: Mapping[str, str]) -> dict[str, Any]:
    """The answer as JSON; what may pass is asked again."""
    trouble = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(0.5 * 2**attempt)
        try:
            with client.stream("POST", url, data=dict(asked)) as response:
                body = b""
                for part in response.iter_bytes():
                    body += part
                    if len(body) > MOST_BYTES:
                        raise InputError(f"{url} answers with more than {MOST_BYTES:,} bytes", hint="a longer --step")
                status = response.status_code
        except (httpx.TransportError, httpx.InvalidURL) as error:
            trouble = f"{type(error).__name__}: {error}"
            continue
        if (status >= 500 and status != 503) or status == 429:
            trouble = f"status {status}"
            continue
        return _parsed(url, status, body)
    raise OutsideError(f"{url} cannot be asked: {trouble}", hint="check the address, and that the server runs")


def _parsed(url: str, status: int, body: bytes) -> dict[str, Any]:
    # Prometheus answers 400, 422 and 503 with JSON that says what is wrong with the query.
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if isinstance(found, dict) and "status" in found:
        return found
    if status in (401, 403):
        raise InputError(f"{url} asks who you are (status {status})", hint="set TRIMTAB_PROMETHEUS_TOKEN")
    raise OutsideError(f"{url} does not answer as Prometheus does (status {status})", hint="check the address")


def _stamp(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(one in text for one in ',"\n\r') else text
