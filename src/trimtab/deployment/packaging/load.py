"""Asks a service on the loopback as fast as it answers, over keep-alive connections, and checks every answer.

Runs as a program of its own, `python load.py < request.json`, so that its CPU time is not the service's. Standard
library only.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from typing import Any


class Load:
    """A run of requests: bodies in turn over some connections, bounded by number and by time."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self.bodies = [_request(body) for body in asked["bodies"]]
        self.expected, self.allowed = asked["expected"], asked["allowed"]
        self.port, self.most, self.seconds = asked["port"], asked["most"], asked["seconds"]
        self.connections = asked["connections"]
        self.sent = self.errors = 0
        self.largest = 0.0
        self.times: list[float] = []

    async def run(self) -> dict[str, float]:
        """All requests; figures in milliseconds and requests a second."""
        began = time.perf_counter()
        self.deadline = began + self.seconds
        await asyncio.gather(*(self._connection() for _ in range(self.connections)))
        took = time.perf_counter() - began
        times = sorted(self.times) or [0.0]
        return {
            "requests": float(len(self.times)),
            "errors": float(self.errors),
            "max_difference": self.largest,
            "requests_per_second": len(self.times) / took,
            "p50_ms": times[len(times) // 2] * 1000,
            "p99_ms": times[min(len(times) - 1, int(len(times) * 0.99))] * 1000,
        }

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            while self.sent < self.most and time.perf_counter() < self.deadline:
                place = self.sent % len(self.bodies)
                self.sent += 1
                began = time.perf_counter()
                writer.write(self.bodies[place])
                code, body = await _answer(reader)
                self.times.append(time.perf_counter() - began)
                self._check(code, body, self.expected[place])
        finally:
            writer.close()

    def _check(self, code: int, body: bytes, expected: Any) -> None:
        if code != 200:
            self.errors += 1
            return
        found = json.loads(body)["prediction"]
        pairs = zip(found, expected, strict=True) if isinstance(expected, list) else [(found, expected)]
        off = max(abs(ours - theirs) for ours, theirs in pairs)
        self.largest = max(self.largest, off)
        self.errors += off > self.allowed


def _request(body: str) -> bytes:
    content = body.encode()
    head = (
        f"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(content)}"
    )
    return head.encode() + b"\r\n\r\n" + content


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lowered = head.lower()
    start = lowered.index(b"content-length:") + 15
    length = int(lowered[start : lowered.index(b"\r", start)])
    return int(head[9:12]), await reader.readexactly(length)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(Load(json.load(sys.stdin)).run())))
