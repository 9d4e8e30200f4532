"""A real embedded model, where one has been pulled (`trimtab model pull smollm2-135m`)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trimtab.adapters.llm.asker import Caps
from trimtab.adapters.llm.configure import configured
from trimtab.adapters.llm.embedded import Embedded
from trimtab.adapters.llm.endpoint import Fault, Request
from trimtab.adapters.llm.gguf import MODELS, find
from trimtab.core.budget import Meter
from trimtab.core.events import ModelCalled
from trimtab.core.model import Json
from trimtab.core.ports import Question
from trimtab.testing import MemoryLedger

SMALL = next((one for one in ("smollm2-135m", "qwen2.5-coder-0.5b") if find(MODELS[one]) is not None), "")
COLOURS: dict[str, Json] = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
needs_a_model = pytest.mark.skipif(
    not SMALL or importlib.util.find_spec("xllamacpp") is None,
    reason="no embedded model: run `trimtab model pull smollm2-135m` and install trimtab[local]",
)


@needs_a_model
def test_an_embedded_model_answers_in_the_shape_of_the_schema_and_its_cpu_is_charged(tmp_path: Path) -> None:
    ledger, meter = MemoryLedger(), Meter()
    asker = configured(
        {**os.environ, "TRIMTAB_MODEL": f"local:{SMALL}"},
        caps=Caps(), meter=meter, ledger=ledger, study="study", cache_folder=tmp_path,
    )  # fmt: skip
    assert asker is not None
    question = Question("colour", "Answer in JSON.", "What colour is grass?", COLOURS, max_tokens=30)
    try:
        answer = asker.ask(question, lambda value: value)
    finally:
        asker.close()
    assert answer in ({"colour": "red"}, {"colour": "green"})
    assert meter.spent.cpu_seconds > 0.05
    assert [one.event.outcome for one in ledger.events(ModelCalled)] == ["ok"]
    # The server is gone; the same question is answered from the cache.
    assert asker.ask(question, lambda value: value) == answer


_PARENT = """
import os, sys
from trimtab.adapters.llm.embedded import _start
from pathlib import Path
process, url, key = _start(Path(sys.argv[1]))
print(process.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@needs_a_model
def test_the_server_ends_when_its_parent_is_killed() -> None:
    path = find(MODELS[SMALL])
    ended = subprocess.run(
        [sys.executable, "-c", _PARENT, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    server = Path(f"/proc/{int(ended.stdout)}")
    for _ in range(200):
        if not server.exists() or "Z" in server.joinpath("stat").read_text().split()[2]:
            break
        time.sleep(0.05)
    else:
        pytest.fail("the server outlived its parent")


def test_a_file_that_is_not_the_pinned_model_is_never_loaded(tmp_path: Path) -> None:
    wrong = tmp_path / "smollm2-135m.gguf"
    wrong.write_bytes(b"GGUF" + b"\0" * 1000)
    embedded = Embedded(MODELS["smollm2-135m"], wrong)
    fault = embedded.complete(Request((("user", "hello"),), {}, 10), 10, 10_000)
    assert isinstance(fault, Fault)
    assert "SHA-256" in fault.reason
