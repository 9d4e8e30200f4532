"""Which language model an environment names: TRIMTAB_MODEL, TRIMTAB_BASE_URL and the usual variables for keys."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from trimtab.adapters.llm.asker import Asker, Caps
from trimtab.adapters.llm.embedded import Embedded
from trimtab.adapters.llm.endpoint import Backend, Endpoint
from trimtab.adapters.llm.gguf import DEFAULT, MODELS, Gguf, find, named, place
from trimtab.core.budget import Meter
from trimtab.core.errors import InputError, ModelError
from trimtab.core.ports import Ledger

if TYPE_CHECKING:
    from pydantic_ai.models import Model

_SHORT = {"": DEFAULT, "0.5b": "qwen2.5-coder-0.5b", "1.5b": "qwen2.5-coder-1.5b", "135m": "smollm2-135m"}


def configured(
    environment: Mapping[str, str], *, caps: Caps, meter: Meter, ledger: Ledger, study: str, cache_folder: Path
) -> Asker | None:
    """The model that the environment names; unnamed, the embedded one if it has been pulled; else None.

    Raises InputError for a name or address that cannot be meant, ModelError for an embedded model that is not there.
    """
    backend = _backend(environment)
    if backend is None:
        return None
    return Asker(backend, caps=caps, meter=meter, ledger=ledger, study=study, cache_folder=cache_folder)


def note(environment: Mapping[str, str]) -> str:
    """One line for people: which model is used, or why none is."""
    backend = _backend(environment)
    if backend is not None:
        return f"language model: {backend.name}"
    if _asked(environment) == "none":
        return "no language model: TRIMTAB_MODEL is none"
    return "no language model: set TRIMTAB_MODEL, or run `trimtab model pull` and install trimtab[local]"


def _asked(environment: Mapping[str, str]) -> str:
    return environment.get("TRIMTAB_MODEL", "").strip()


def _backend(environment: Mapping[str, str]) -> Backend | None:
    asked = _asked(environment)
    kind, _, name = asked.partition(":")
    if asked == "none":
        return None
    if not asked:
        model = MODELS[DEFAULT]
        path = find(model, environment)
        return Embedded(model, path) if path is not None and _has_runtime() else None
    if kind == "local":
        return _embedded(_SHORT.get(name.lower(), name.lower()), environment)
    if not name:
        raise InputError(f"TRIMTAB_MODEL={asked}: no provider is named", hint="write openai:NAME, or local")
    return _endpoint(kind, name, environment)


def _embedded(name: str, environment: Mapping[str, str]) -> Embedded:
    model = named(name)
    path = find(model, environment)
    if path is None:
        raise ModelError(f"{place(model, environment)} is not there", hint=f"run `trimtab model pull {model.name}`")
    if not _has_runtime():
        raise ModelError("the runtime of embedded models is not installed", hint="pip install 'trimtab[local]'")
    return Embedded(model, path)


def _has_runtime() -> bool:
    return importlib.util.find_spec("xllamacpp") is not None


def _endpoint(kind: str, name: str, environment: Mapping[str, str]) -> Endpoint:
    base_url = environment.get("TRIMTAB_BASE_URL", "").strip()
    if base_url and urlsplit(base_url).scheme not in ("http", "https"):
        raise InputError(f"TRIMTAB_BASE_URL={base_url} is no web address", hint="such as http://localhost:8000/v1")
    key = environment.get(f"{kind.upper().replace('-', '_')}_API_KEY", "")
    if not key and not base_url:
        variable = f"{kind.upper().replace('-', '_')}_API_KEY"
        raise InputError(f"TRIMTAB_MODEL={kind}:{name} needs a key", hint=f"set {variable}, or TRIMTAB_BASE_URL")
    if not base_url and not (kind in ("openai", "anthropic") or _is_known(kind)):
        raise InputError(f"TRIMTAB_MODEL={kind}:{name}: unknown provider", hint="name its TRIMTAB_BASE_URL")

    def connect(client: Any) -> Model:
        return _connected(kind, name, base_url, key, client)

    return Endpoint(f"{kind}:{name}", f"{kind}:{name} {base_url}", connect)


def _is_known(kind: str) -> bool:
    return kind.isidentifier() and importlib.util.find_spec(f"pydantic_ai.providers.{kind}") is not None


def _connected(kind: str, name: str, base_url: str, key: str, client: Any) -> Model:
    if kind == "anthropic":
        from anthropic import AsyncAnthropic
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        sdk = AsyncAnthropic(api_key=key or "none", base_url=base_url or None, max_retries=0, http_client=client)
        return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=sdk))
    from pydantic_ai.models.openai import OpenAIChatModel

    return OpenAIChatModel(name, provider=_openai_like(kind, base_url, key, client))


def _openai_like(kind: str, base_url: str, key: str, client: Any) -> Any:
    from pydantic_ai.providers import infer_provider_class
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

    if base_url:
        provider: Any = OpenAICompatibleProvider(kind, base_url=base_url, api_key=key or "none", http_client=client)
    else:
        chosen: Any = infer_provider_class(kind)
        provider = chosen(api_key=key, http_client=client)
    provider.client.max_retries = 0  # retries are counted in one place: the asker
    return provider


def local_models(environment: Mapping[str, str]) -> tuple[tuple[Gguf, bool], ...]:
    """Every embedded model, and whether it has been pulled."""
    return tuple((model, find(model, environment) is not None) for model in MODELS.values())
