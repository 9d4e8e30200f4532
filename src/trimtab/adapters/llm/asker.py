"""The language model that callers see: caps, cache, one retry, one repair turn, a circuit breaker and the ledger."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from trimtab.adapters.llm import cache
from trimtab.adapters.llm.answers import parse
from trimtab.adapters.llm.endpoint import Backend, Fault, Reply, Request, Turn
from trimtab.core.budget import Meter
from trimtab.core.events import ModelCalled
from trimtab.core.model import Json, Spend
from trimtab.core.ports import Ledger, Question, Silence
from trimtab.core.wire import canonical

T = TypeVar("T")

FAILURES = 3  # in a row, after which an endpoint is left alone
BACKOFF_SECONDS = 0.5
_RETRIED = frozenset({429, 500, 502, 503, 504})
_MOST_TOKENS = 10**9  # an endpoint may claim any number


@dataclass(frozen=True, slots=True)
class Caps:
    """What one call may use. Dollars and tokens of all calls are limited by the meter; `calls` counts cached ones."""

    calls: int = 20
    seconds: float = 120.0
    prompt_bytes: int = 64_000
    answer_bytes: int = 1_000_000
    answer_tokens: int = 4096
    dollars_per_million_in: float = 0.0  # both 0: the list price where it is known
    dollars_per_million_out: float = 0.0


class Asker:
    """Implements core.ports.LanguageModel on a backend. Each call is charged to the meter and told to the ledger."""

    def __init__(
        self, backend: Backend, *, caps: Caps, meter: Meter, ledger: Ledger, study: str, cache_folder: Path
    ) -> None:
        self.name = backend.name
        self.notes: list[str] = []
        self._backend, self._caps, self._meter = backend, caps, meter
        self._ledger, self._study, self._folder = ledger, study, cache_folder
        self._calls, self._failures, self._tokens = 0, 0, 0

    def ask(self, question: Question, read: Callable[[Json], T]) -> T | Silence:
        """A value that `read` accepts, after at most one repair turn; else why there is none."""
        request = _request(question, self._caps)
        answer, text = self._attempt(question.purpose, request, read)
        if not (isinstance(answer, Silence) and text):
            return answer
        repair: tuple[Turn, ...] = (("assistant", text), ("user", _complaint(answer.reason)))
        return self._attempt(question.purpose, replace(request, turns=request.turns + repair), read)[0]

    def close(self) -> None:
        """End what the backend runs."""
        self._backend.close()

    def _attempt(self, purpose: str, request: Request, read: Callable[[Json], T]) -> tuple[T | Silence, str]:
        """One call, cached or not, and its text where it could be repaired."""
        refusal = self._refusal(request)
        if refusal:
            return Silence(refusal), ""
        self._calls += 1
        started, name = time.perf_counter(), cache.key(self._backend.identity, request)
        found = cache.find(self._folder, name)
        reply = found if found is not None else self._call(request)
        seconds = time.perf_counter() - started
        if isinstance(reply, Fault):
            self._failed(reply)
            self._record(purpose, request, Reply("", 0, 0, 0.0), seconds, False, reply.reason)
            return Silence(reply.reason), ""
        reply = _measured(request, reply)
        value, outcome = _read(reply.text, read)
        self._failures = 0
        if found is None:
            cache.keep(self._folder, name, reply)
        self._record(purpose, request, reply, seconds, found is not None, outcome)
        return value, reply.text or "(nothing)"

    def _refusal(self, request: Request) -> str:
        """Why this call may not be made, or ""."""
        sent, left = _size(request), self._meter.left
        likely = _tokens(sent) + request.max_tokens
        if self._failures >= FAILURES:
            return f"{self.name} is not asked again: {FAILURES} calls in a row failed"
        if self._calls >= self._caps.calls:
            return f"all {self._caps.calls} calls of a language model are used up"
        if sent > self._caps.prompt_bytes:
            return f"the prompt has {sent:,} bytes, the cap is {self._caps.prompt_bytes:,}"
        # Tokens of cached answers count here, so that a replay stops where the first run did.
        if likely > min(left.tokens, self._meter.limit.tokens - self._tokens):
            return f"a call may need {likely:,} tokens: more than are left"
        if self._price(_tokens(sent), request.max_tokens) > left.dollars or left.dollars <= 0:
            return "a call may cost more dollars than are left"
        return ""

    def _call(self, request: Request) -> Reply | Fault:
        deadline = time.monotonic() + self._caps.seconds
        reply = self._backend.complete(request, self._caps.seconds, self._caps.answer_bytes)
        left = deadline - time.monotonic() - BACKOFF_SECONDS
        if isinstance(reply, Fault) and reply.status in _RETRIED and left > 0:
            time.sleep(BACKOFF_SECONDS)
            return self._backend.complete(request, left, self._caps.answer_bytes)
        return reply

    def _failed(self, fault: Fault) -> None:
        self._failures += 1
        if self._failures == FAILURES:
            self.notes.append(f"{self.name} is not asked again: {FAILURES} calls in a row failed ({fault.reason})")

    def _record(
        self, purpose: str, request: Request, reply: Reply, seconds: float, is_cached: bool, outcome: str
    ) -> None:
        self._tokens += reply.tokens_in + reply.tokens_out
        dollars = 0.0 if is_cached else self._dollars(reply)
        tokens = 0 if is_cached else reply.tokens_in + reply.tokens_out
        self._meter.charge(Spend(reply.cpu_seconds, seconds, dollars, tokens))
        self._ledger.append(
            ModelCalled(
                study=self._study,
                model=self.name,
                purpose=purpose,
                prompt_sha256=_sha256(canonical([request.turns, request.schema])),
                answer_sha256=_sha256(reply.text),
                tokens_in=reply.tokens_in,
                tokens_out=reply.tokens_out,
                seconds=seconds,
                dollars=dollars,
                is_cached=is_cached,
                outcome=outcome,
            )
        )

    def _dollars(self, reply: Reply) -> float:
        stated = self._price(reply.tokens_in, reply.tokens_out)
        unknown = f"the price of {self.name} is not known: its dollars are not counted"
        if stated == 0 and reply.dollars is None and unknown not in self.notes:
            self.notes.append(unknown)
        return stated if stated > 0 else max(0.0, reply.dollars or 0.0)

    def _price(self, tokens_in: int, tokens_out: int) -> float:
        caps = self._caps
        return (tokens_in * caps.dollars_per_million_in + tokens_out * caps.dollars_per_million_out) / 1e6


def _request(question: Question, caps: Caps) -> Request:
    turns: list[Turn] = [("system", question.system)]
    for user, assistant in question.examples:
        turns += [("user", user), ("assistant", assistant)]
    turns.append(("user", question.prompt))
    return Request(tuple(turns), question.schema, min(question.max_tokens, caps.answer_tokens))


def _read(text: str, read: Callable[[Json], T]) -> tuple[T | Silence, str]:
    try:
        return read(parse(text)), "ok"
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # the last: an odd shape met a hasty reader
        reason = " ".join(f"{error}".split())[:300] or type(error).__name__
        return Silence(reason), f"not usable: {reason}"


def _complaint(reason: str) -> str:
    return f"That could not be used: {reason}. Answer again, with corrected JSON only."


def _measured(request: Request, reply: Reply) -> Reply:
    # Where the endpoint counts nothing, or nonsense, what was sent and got is counted instead.
    tokens_in = reply.tokens_in if reply.tokens_in > 0 else _tokens(_size(request))
    tokens_out = reply.tokens_out if reply.tokens_out > 0 else _tokens(len(reply.text.encode()))
    return replace(reply, tokens_in=min(tokens_in, _MOST_TOKENS), tokens_out=min(tokens_out, _MOST_TOKENS))


def _size(request: Request) -> int:
    return len(canonical([request.turns, request.schema]).encode())


def _tokens(size: int) -> int:
    return -(-size // 3)  # English and JSON run at 3 to 4 bytes a token


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
