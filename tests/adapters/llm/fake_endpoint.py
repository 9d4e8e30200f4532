"""A real HTTP server that speaks /v1/chat/completions, honestly or not. Standard library only."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Talk"], None]


@dataclass
class Fake:
    """What was asked of the server, and how it answers. `sent` counts the bytes that clients took."""

    behave: Behaviour
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    encodings: list[str] = field(default_factory=list)
    sent: int = 0


class Talk(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    fake: Fake

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers.get("content-length", "0"))) or b"{}")
        self.fake.requests.append(self.body)
        self.fake.encodings.append(self.headers.get("accept-encoding", ""))
        self.close_connection = True
        with suppress(OSError):  # the client may have had enough
            self.fake.behave(self)

    def start(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content_type": "application/json", "connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def give(self, content: bytes) -> None:
        self.wfile.write(content)
        self.fake.sent += len(content)

    def log_message(self, *_: object) -> None:
        """Silent."""


def completion(text: str, tokens_in: int = 11, tokens_out: int = 7) -> bytes:
    """An answer as OpenAI's servers write it."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    told = {"id": "1", "object": "chat.completion", "created": 1, "model": "fake", "choices": [choice], "usage": usage}
    return json.dumps(told).encode()


def says(*texts: str, **usage: int) -> Behaviour:
    """Answers with these texts in turn, the last one for ever."""
    left = list(texts)

    def behave(talk: Talk) -> None:
        talk.start(200)
        talk.give(completion(left.pop(0) if len(left) > 1 else left[0], **usage))

    return behave


def gives(content: bytes, **headers: str) -> Behaviour:
    """Answers 200 with these bytes."""

    def behave(talk: Talk) -> None:
        talk.start(200, **headers)
        talk.give(content)

    return behave


def fails(*statuses: int, then: str = "{}") -> Behaviour:
    """Answers with these statuses in turn, then with a text; one status alone is answered for ever."""
    left = list(statuses)

    def behave(talk: Talk) -> None:
        if left:
            talk.start(left.pop(0) if len(statuses) > 1 else left[0])
            talk.give(b'{"error": {"message": "no"}}')
        else:
            says(then)(talk)

    return behave


def redirects(elsewhere: str) -> Behaviour:
    """Sends the client to another address."""

    def behave(talk: Talk) -> None:
        talk.start(307, location=f"{elsewhere}/chat/completions")

    return behave


def drips(talk: Talk) -> None:
    """Never ends: a byte now and then."""
    talk.start(200)
    for _ in range(600):
        talk.give(b" ")
        talk.wfile.flush()
        time.sleep(0.1)


def floods(talk: Talk) -> None:
    """Sends 100 MB of a text that never ends, without saying how long it is."""
    talk.start(200)
    talk.give(b'{"id": "')
    for _ in range(100):
        talk.give(b"x" * 1_000_000)


def without_schemas(text: str) -> Behaviour:
    """A server that knows no response_format."""

    def behave(talk: Talk) -> None:
        if "response_format" in talk.body:
            talk.start(400)
            talk.give(b'{"error": {"message": "unknown field response_format"}}')
        else:
            says(text)(talk)

    return behave


@contextmanager
def serving(behave: Behaviour) -> Iterator[Fake]:
    """A server on a free port of this machine, for the length of the block."""
    fake = Fake(behave)
    talk = type("OneTalk", (Talk,), {"fake": fake})
    server = ThreadingHTTPServer(("127.0.0.1", 0), talk)
    server.daemon_threads, server.block_on_close = True, False
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()


def closed_port() -> str:
    """An address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def texts(requests: Sequence[dict[str, Any]]) -> list[str]:
    """The last message of each request."""
    return [str(one["messages"][-1]["content"]) for one in requests]
