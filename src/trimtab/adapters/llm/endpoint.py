"""One request to a language model over HTTP, through pydantic-ai. Knows nothing of caches, ledgers or repair."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Overdue
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from trimtab.core.model import Json

if TYPE_CHECKING:
    from pydantic_ai.models import Model

SEED, TEMPERATURE = 0, 0.0
Turn: TypeAlias = tuple[str, str]  # ("system" | "user" | "assistant", text)

_GRACE_SECONDS = 1.0  # for a request to end by itself once its time is up


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation, and the shape and size of the answer to it."""

    turns: tuple[Turn, ...]
    schema: Mapping[str, Json]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer's text with what the endpoint says that it took. `cpu_seconds`: on this machine."""

    text: str
    tokens_in: int
    tokens_out: int
    dollars: float | None = None  # None: the price is not known
    cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Fault:
    """There was no answer, and why. `status` is HTTP's, 0 when there was none."""

    reason: str
    status: int = 0


class Backend(Protocol):
    """A place that answers requests. It never raises for what the other side does."""

    @property
    def name(self) -> str:
        """Of the model, for people and the ledger."""
        ...

    @property
    def identity(self) -> str:
        """What the answers depend on besides the request: part of the cache's key."""
        ...

    def complete(self, request: Request, seconds: float, max_bytes: int) -> Reply | Fault: ...
    def close(self) -> None: ...


class Endpoint:
    """An HTTP endpoint that pydantic-ai can speak to; `connect` makes its model on an HTTP client of ours."""

    def __init__(self, name: str, identity: str, connect: Callable[[Any], Model]) -> None:
        self.name, self.identity, self._connect = name, identity, connect

    def complete(self, request: Request, seconds: float, max_bytes: int) -> Reply | Fault:
        """One answer within the caps. A server without JSON schemas is asked once more, with the schema in words."""
        started = time.monotonic()
        reply = self._bounded(request, seconds, max_bytes, in_words=False)
        left = seconds - (time.monotonic() - started)
        # UserError: pydantic-ai knows that this model takes no schema.
        if isinstance(reply, Fault) and left > 0 and (reply.status in (400, 422) or "UserError" in reply.reason):
            return self._bounded(request, left, max_bytes, in_words=True)
        return reply

    def close(self) -> None:
        """Nothing is held between requests."""

    def _bounded(self, request: Request, seconds: float, max_bytes: int, *, in_words: bool) -> Reply | Fault:
        # A thread of its own: a caller's event loop is not disturbed, and what ignores its
        # cancellation (a name server that hangs) is left behind rather than waited for.
        result: Future[Reply | Fault] = Future()
        work = self._once(request, seconds, max_bytes, in_words)
        thread = threading.Thread(target=lambda: result.set_result(asyncio.run(work)), daemon=True)
        thread.start()
        try:
            return result.result(seconds + _GRACE_SECONDS)
        except Overdue:
            return Fault(f"no answer within {seconds:g} s")

    async def _once(self, request: Request, seconds: float, max_bytes: int, in_words: bool) -> Reply | Fault:
        import httpx2

        from trimtab.adapters.llm.transport import Bounded

        try:
            async with (
                asyncio.timeout(seconds),
                httpx2.AsyncClient(transport=Bounded(max_bytes), trust_env=False, follow_redirects=False) as client,
            ):
                return await _ask(self._connect(client), request, seconds, in_words)
        except TimeoutError:
            return Fault(f"no answer within {seconds:g} s")
        except Exception as error:  # what an endpoint sends runs through two libraries: no list of errors is complete
            return _fault(error)


async def _ask(model: Model, request: Request, seconds: float, in_words: bool) -> Reply:
    from pydantic_ai.direct import model_request
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.output import OutputObjectDefinition
    from pydantic_ai.settings import ModelSettings

    shape = OutputObjectDefinition(json_schema=dict(request.schema), name="answer")
    native = ModelRequestParameters(output_mode="native", output_object=shape)
    response = await model_request(
        model,
        _messages(request, in_words),
        model_settings=ModelSettings(
            max_tokens=request.max_tokens, temperature=TEMPERATURE, seed=SEED, timeout=seconds
        ),
        model_request_parameters=ModelRequestParameters() if in_words else native,
    )
    used = response.usage
    text = (response.text or "").encode("utf-8", "replace").decode()  # lone surrogates could not be kept
    return Reply(text, used.input_tokens, used.output_tokens, _dollars(response))


def _messages(request: Request, in_words: bool) -> list[Any]:
    from pydantic_ai.messages import ModelRequest, ModelResponse, SystemPromptPart, TextPart, UserPromptPart

    found: list[Any] = []
    for role, text in request.turns:
        if role == "assistant":
            found.append(ModelResponse(parts=[TextPart(text)]))
        elif role == "system":
            found.append(ModelRequest(parts=[SystemPromptPart(_worded(text, request.schema) if in_words else text)]))
        else:
            found.append(ModelRequest(parts=[UserPromptPart(text)]))
    return found


def _worded(system: str, schema: Mapping[str, Json]) -> str:
    from trimtab.core.wire import canonical

    return f"{system}\nAnswer with one JSON value of this JSON schema, and nothing else: {canonical(schema)}"


def _dollars(response: Any) -> float | None:
    try:
        return float(response.cost().total_price)
    except (LookupError, ValueError, AssertionError):
        return None


def _fault(error: BaseException) -> Fault:
    """The deepest cause says most; the text is capped, since it may quote what the endpoint sent."""
    from trimtab.adapters.llm.transport import CutOff

    status = getattr(error, "status_code", 0)
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and len(causes) < 10:
        causes.append(cause)
    cut = next((one for one in causes if isinstance(one, CutOff)), None)
    if cut is not None:
        return Fault(str(cut))
    if isinstance(status, int) and status >= 400:
        return Fault(f"HTTP {status}", status)
    told = " ".join(str(causes[-1]).split())[:200]
    return Fault(f"{type(error).__name__}: {told}" if told else type(error).__name__)
