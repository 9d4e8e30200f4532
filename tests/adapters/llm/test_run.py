"""A run of the loop with a language model that is absent, broken or hostile ends with the best classical result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.llm import fake_endpoint as fake
from tests.core.test_loop import Batching, Valley
from trimtab.adapters.llm.asker import Caps
from trimtab.adapters.llm.configure import configured
from trimtab.core.budget import Meter
from trimtab.core.events import ModelCalled
from trimtab.core.loop import optimize
from trimtab.core.model import Decision
from trimtab.core.space import faults
from trimtab.proposers.language import Language
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.search import Search
from trimtab.testing import MemoryLedger

_OBEYS = json.dumps(
    {
        "plans": [
            {"plan": {"size": 10**9}, "because": "the column said so"},
            {"plan": {"size": "__import__('os').system('touch /tmp/owned')"}, "because": ""},
            {"plan": {"path": "/etc/passwd"}, "because": ""},
        ],
        "apply": True,
    }
)
_HELPS = json.dumps({"plans": [{"plan": {"size": 20}, "because": "the middle"}]})

BROKEN: dict[str, fake.Behaviour] = {
    "500": fake.fails(500),
    "429": fake.fails(429),
    "never ends": fake.drips,
    "100 MB": fake.floods,
    "not JSON": fake.says("size should be 20"),
    "NaN": fake.says('{"plans": [{"plan": {"size": NaN}, "because": ""}]}'),
    "unknown fields": fake.says('{"plans": [{"plan": {"sise": 20}, "because": ""}]}'),
    "cut short": fake.says(_HELPS[:-9]),
    "elsewhere": fake.redirects("http://192.0.2.1/v1"),
    "obeys an injected instruction": fake.says(_OBEYS),
}


def run(url: str | None, folder: Path, ledger: MemoryLedger, meter: Meter) -> Decision[Any]:
    language = None
    if url is not None:
        model = configured(
            {"TRIMTAB_MODEL": "openai:fake", "TRIMTAB_BASE_URL": url},
            caps=Caps(seconds=1, answer_bytes=100_000),
            meter=meter,
            ledger=ledger,
            study="study",
            cache_folder=folder,
        )
        assert model is not None
        language = Language(model)
    return optimize(
        Valley(noise=0.01),
        Portfolio(search=Search(seed=1), language=language),
        search=Meter(measurements=120, tokens=20_000),
        check=Meter(),
        ledger=ledger,
    )


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_broken_model_costs_its_caps_and_nothing_else(name: str, tmp_path: Path) -> None:
    ledger, meter = MemoryLedger(), Meter(tokens=20_000, dollars=1.0)
    without = run(None, tmp_path, MemoryLedger(), Meter())
    with fake.serving(BROKEN[name]) as server:
        decision = run(server.url, tmp_path, ledger, meter)
    assert decision.winner is not None
    assert without.winner is not None
    assert decision.winner.proposal.plan == without.winner.proposal.plan
    assert not [trial for trial in decision.trials if faults(trial.proposal.plan)]
    assert 1 <= len(list(ledger.events(ModelCalled))) <= 6
    assert meter.spent.tokens <= 20_000


def test_an_endpoint_that_is_down_changes_nothing(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    decision = run(fake.closed_port(), tmp_path, ledger, Meter())
    assert decision.winner is not None
    assert {one.event.outcome != "ok" for one in ledger.events(ModelCalled)} == {True}


def test_a_model_that_knows_the_answer_is_heard_and_measured(tmp_path: Path) -> None:
    with fake.serving(fake.says(_HELPS)) as server:
        decision = run(server.url, tmp_path, MemoryLedger(), Meter())
    assert decision.winner is not None
    assert decision.winner.proposal.plan == Batching(20)
    assert "language" in {trial.proposal.by for trial in decision.trials}
