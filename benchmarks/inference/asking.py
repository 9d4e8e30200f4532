"""An open-loop HTTP client: sends each request at its time, whether or not the earlier ones are answered.

A request's latency runs from the moment at which it came to be sent, so waiting for a free connection counts, while
the client's own lateness (a busy host, ticks of a millisecond) is told apart and does not pass for the server's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt

TICK_SECONDS = 0.001


@dataclass(frozen=True, eq=False)
class Asked:
    """By request: when it came (s), how late that was, how long its answer took; and the answers' bodies."""

    came: npt.NDArray[np.float64]
    lateness: npt.NDArray[np.float64]
    latency: npt.NDArray[np.float64]
    bodies: list[bytes]


class Line(asyncio.Protocol):
    """A connection that carries one request at a time."""

    def __init__(self, replay: Replay) -> None:
        self.replay, self.seen, self.number = replay, b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self, number: int) -> None:
        self.number = number
        self.transport.write(self.replay.requests[number % len(self.replay.requests)])  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.seen += data
        head, found, body = self.seen.partition(b"\r\n\r\n")
        if not found:
            return
        size = int(head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        if len(body) >= size:
            assert head.startswith(b"HTTP/1.1 200"), head
            self.seen = b""
            self.replay.answered(self, body)


class Replay:
    """Sends requests (taken in turn) at their times."""

    def __init__(self, times: npt.NDArray[np.float64], requests: Sequence[bytes]) -> None:
        self.times, self.requests = times, requests
        self.came, self.left = np.zeros(len(times)), np.zeros(len(times))
        self.bodies: list[bytes] = [b""] * len(times)
        self.free: deque[Line] = deque()
        self.waiting: deque[int] = deque()
        self.next = self.done = 0
        self.began = 0.0
        self.is_over = asyncio.Event()

    async def run(self, port: int, lines: int) -> Asked:
        """Send all, and wait for all answers."""
        loop = asyncio.get_running_loop()
        for _ in range(lines):
            _, line = await loop.create_connection(lambda: Line(self), "127.0.0.1", port)
            self.free.append(line)
        self.began = perf_counter()
        self._tick()
        await asyncio.wait_for(self.is_over.wait(), float(self.times[-1]) + 60)
        return Asked(self.came, self.came - self.times, self.left - self.came, self.bodies)

    def answered(self, line: Line, body: bytes) -> None:
        self.left[line.number] = perf_counter() - self.began
        self.bodies[line.number] = body
        self.done += 1
        self.free.append(line)
        if self.waiting:
            self.free.popleft().ask(self.waiting.popleft())
        elif self.done == len(self.times):
            self.is_over.set()

    def _tick(self) -> None:
        now = perf_counter() - self.began
        while self.next < len(self.times) and self.times[self.next] <= now:
            self.came[self.next] = now
            self.waiting.append(self.next)
            self.next += 1
        while self.waiting and self.free:
            self.free.popleft().ask(self.waiting.popleft())
        if self.next < len(self.times):
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)


async def asked(port: int, times: npt.NDArray[np.float64], requests: Sequence[bytes], lines: int = 64) -> Asked:
    """Replay requests through a server on this machine."""
    return await Replay(times, requests).run(port, lines)
