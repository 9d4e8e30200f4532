"""Answers by the content of their question: files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from trimtab.adapters.llm.endpoint import SEED, TEMPERATURE, Reply, Request
from trimtab.core.wire import canonical, digest


def key(identity: str, request: Request) -> str:
    """SHA-256 of all that an answer depends on."""
    return digest([identity, request.turns, request.schema, request.max_tokens, SEED, TEMPERATURE])


def find(folder: Path, name: str) -> Reply | None:
    """The answer under a key; None when there is none, or the file is not what was once written."""
    try:
        told = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        reply = told["reply"]
        kept = Reply(str(reply["text"]), int(reply["tokens_in"]), int(reply["tokens_out"]))
        return kept if told["sha256"] == digest(kept) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def keep(folder: Path, name: str, reply: Reply) -> None:
    """Write an answer. A full or read-only disk costs the replay, not the run."""
    kept = Reply(reply.text, reply.tokens_in, reply.tokens_out)
    text = canonical({"reply": kept, "sha256": digest(kept)})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=folder, suffix=".part")
    except OSError:
        return
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(path, folder / f"{name}.json")
    except (OSError, UnicodeEncodeError):
        Path(path).unlink(missing_ok=True)
