"""A language model on this machine: a child process serves the GGUF on loopback; its CPU seconds are counted."""

from __future__ import annotations

import json
import os
import secrets
import select
import subprocess
import sys
import time
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.adapters.llm.endpoint import Endpoint, Fault, Reply, Request
from trimtab.adapters.llm.gguf import Gguf, verify
from trimtab.adapters.meters import process_usage
from trimtab.core.errors import ModelError

if TYPE_CHECKING:
    from pydantic_ai.models import Model

CONTEXT_TOKENS = 4096
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Running:
    process: subprocess.Popen[str]
    endpoint: Endpoint


class Embedded:
    """A backend that starts its server with the first request, and ends it with `close` or with this process."""

    def __init__(self, model: Gguf, path: Path) -> None:
        self.name = f"local:{model.name}"
        self.identity = f"local:{model.sha256}"
        self._model, self._path = model, path
        self._running: _Running | None = None

    def complete(self, request: Request, seconds: float, max_bytes: int) -> Reply | Fault:
        """One answer. The CPU seconds of starting the server are part of the first one's."""
        before = 0.0 if self._running is None else _cpu_seconds(self._running)
        try:
            running = self._started()
        except ModelError as error:
            return Fault(error.message)
        reply = running.endpoint.complete(request, seconds, max_bytes)
        spent = max(0.0, _cpu_seconds(running) - before)
        return reply if isinstance(reply, Fault) else replace(reply, dollars=0.0, cpu_seconds=spent)

    def close(self) -> None:
        """End the server, if one runs."""
        if self._running is not None:
            _end(self._running.process)
            self._running = None

    def _started(self) -> _Running:
        if self._running is None or self._running.process.poll() is not None:
            verify(self._model, self._path)
            process, url, key = _start(self._path)
            weakref.finalize(self, _end, process)  # runs at exit, too
            self._running = _Running(process, Endpoint(self.name, self.identity, _connection(self.name, url, key)))
        return self._running


def _connection(name: str, url: str, key: str) -> Any:
    def connect(client: Any) -> Model:
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

        provider = OpenAICompatibleProvider("llama.cpp", base_url=f"{url}/v1", api_key=key, http_client=client)
        provider.client.max_retries = 0
        return OpenAIChatModel(name, provider=provider)

    return connect


def _start(path: Path) -> tuple[subprocess.Popen[str], str, str]:
    """A server's process, address and key: no other user of this machine can ask it. Raises ModelError."""
    key = secrets.token_urlsafe(24)
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab.adapters.llm.serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=dict(os.environ) | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps({"model": str(path), "key": key, "context": CONTEXT_TOKENS}) + "\n")
        process.stdin.flush()
        return process, _address(process, time.monotonic() + START_SECONDS), key
    except (OSError, ValueError, LookupError, TypeError):
        _end(process)
        raise ModelError(f"the server of {path.name} did not start", hint="pip install 'trimtab[local]'") from None


def _address(process: subprocess.Popen[str], deadline: float) -> str:
    # The runtime may print of its own before the one line that is ours.
    assert process.stdout is not None
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([process.stdout], [], [], left)
        line = process.stdout.readline() if ready else ""
        if line.startswith('{"url"'):
            return str(json.loads(line)["url"])
        if ready and not line:
            break
    raise ValueError("no address")


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _cpu_seconds(running: _Running) -> float:
    usage = process_usage(running.process.pid)
    return usage.cpu_seconds if usage is not None else 0.0
