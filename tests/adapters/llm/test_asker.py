"""The language model adapter against real servers that are good, down, slow, lying or hostile."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.adapters.llm import fake_endpoint as fake
from trimtab.adapters.llm.asker import Asker, Caps
from trimtab.adapters.llm.configure import configured, note
from trimtab.core.budget import Meter
from trimtab.core.errors import InputError, ModelError
from trimtab.core.events import ModelCalled
from trimtab.core.model import Json
from trimtab.core.ports import Question, Silence
from trimtab.testing import MemoryLedger

SCHEMA: dict[str, Json] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
QUESTION = Question("number", "Answer in JSON.", "Which number?", SCHEMA, (("Two?", '{"n": 2}'),), max_tokens=50)
Make = Callable[..., Asker]


def number(value: Json) -> int:
    if not isinstance(value, dict) or set(value) != {"n"} or not isinstance(value["n"], int) or value["n"] > 100:
        raise ValueError("expected {'n': a number up to 100}")
    return value["n"]


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


@pytest.fixture
def meter() -> Meter:
    return Meter()


@pytest.fixture
def make(tmp_path: Path, ledger: MemoryLedger, meter: Meter) -> Make:
    def asker(url: str, caps: Caps | None = None, *, meter: Meter = meter, model: str = "openai:fake") -> Asker:
        made = configured(
            {"TRIMTAB_MODEL": model, "TRIMTAB_BASE_URL": url},
            caps=caps or Caps(seconds=60, answer_bytes=100_000),
            meter=meter,
            ledger=ledger,
            study="study",
            cache_folder=tmp_path / "answers",
        )
        assert made is not None
        return made

    return asker


def calls(ledger: MemoryLedger) -> list[ModelCalled]:
    return [one.event for one in ledger.events(ModelCalled)]


def test_a_good_answer_becomes_a_value_and_its_cost_is_recorded(make: Make, ledger: MemoryLedger, meter: Meter) -> None:
    with fake.serving(fake.says('{"n": 7}')) as server:
        caps = Caps(dollars_per_million_in=1.0, dollars_per_million_out=10.0)
        assert make(server.url, caps).ask(QUESTION, number) == 7
    (call,) = calls(ledger)
    assert (call.outcome, call.tokens_in, call.tokens_out, call.is_cached) == ("ok", 11, 7, False)
    assert call.dollars == pytest.approx((11 * 1.0 + 7 * 10.0) / 1e6)
    assert (meter.spent.tokens, meter.spent.dollars) == (18, pytest.approx(call.dollars))
    assert server.requests[0]["response_format"]["json_schema"]["schema"].items() >= SCHEMA.items()
    assert [one["role"] for one in server.requests[0]["messages"]] == ["system", "user", "assistant", "user"]


def test_code_fences_around_an_answer_are_tolerated(make: Make) -> None:
    with fake.serving(fake.says('Sure:\n```json\n{"n": 3}\n```\n')) as server:
        assert make(server.url).ask(QUESTION, number) == 3


def test_anthropic_is_spoken_to_in_its_own_protocol(make: Make) -> None:
    told = {
        "id": "1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": '{"n": 5}'}], "usage": {"input_tokens": 3, "output_tokens": 4},
    }  # fmt: skip
    with fake.serving(fake.gives(json.dumps(told).encode())) as server:
        asker = make(server.url.removesuffix("/v1"), model="anthropic:claude-sonnet-4-5")
        assert asker.ask(QUESTION, number) == 5


def test_an_answer_that_cannot_be_used_is_repaired_once(make: Make, ledger: MemoryLedger) -> None:
    with fake.serving(fake.says('{"n": 700}', '{"n": 70}')) as server:
        assert make(server.url).ask(QUESTION, number) == 70
    assert "expected {'n': a number up to 100}" in fake.texts(server.requests)[1]
    assert [one.outcome for one in calls(ledger)][1] == "ok"


@pytest.mark.parametrize(
    "text",
    [
        "I would say seven.",
        '{"n": NaN}',
        '{"n": 1e999}',
        '{"n": 7, "and": "rm -rf /"}',
        '{"n": 7',
        "[" * 100_000,
        '{"n": "\\ud800"}',
        "",
        "null",
    ],
)
def test_an_unusable_answer_is_silence_after_one_repair_turn(make: Make, ledger: MemoryLedger, text: str) -> None:
    with fake.serving(fake.says(text)) as server:
        answer = make(server.url, Caps(seconds=60, answer_bytes=500_000, prompt_bytes=500_000)).ask(QUESTION, number)
    assert isinstance(answer, Silence)
    assert len(server.requests) == 2
    assert all(one.outcome.startswith("not usable") for one in calls(ledger))


def test_an_endpoint_that_is_down_is_silence_and_left_alone_after_three_calls(make: Make, ledger: MemoryLedger) -> None:
    asker = make(fake.closed_port())
    answers = [asker.ask(QUESTION, number) for _ in range(5)]
    assert all(isinstance(one, Silence) for one in answers)
    assert len(calls(ledger)) == 3
    assert "not asked again" in asker.notes[0]


@pytest.mark.parametrize("status", [500, 429])
def test_a_busy_endpoint_is_asked_once_more(make: Make, status: int) -> None:
    with fake.serving(fake.fails(status, status, then='{"n": 7}')) as server:
        asker = make(server.url)
        first = asker.ask(QUESTION, number)
        assert isinstance(first, Silence)
        assert f"HTTP {status}" in first.reason
        assert len(server.requests) == 2
        assert asker.ask(QUESTION, number) == 7


def test_a_refused_key_is_not_tried_again(make: Make) -> None:
    with fake.serving(fake.fails(401)) as server:
        assert isinstance(make(server.url).ask(QUESTION, number), Silence)
    assert len(server.requests) == 1


def test_an_endless_answer_ends_with_the_seconds(make: Make) -> None:
    with fake.serving(fake.drips) as server:
        started = time.monotonic()
        answer = make(server.url, Caps(seconds=1)).ask(QUESTION, number)
    assert isinstance(answer, Silence)
    assert "within" in answer.reason
    assert time.monotonic() - started < 30  # the drip would go on for a minute


def test_an_answer_of_100_megabytes_is_cut_off(make: Make) -> None:
    with fake.serving(fake.floods) as server:
        answer = make(server.url).ask(QUESTION, number)
    assert isinstance(answer, Silence)
    assert "cut off" in answer.reason
    assert server.sent < 20_000_000  # what lies in the buffers of both sides


def test_an_announced_large_answer_is_not_read(make: Make) -> None:
    with fake.serving(fake.gives(b"{}", content_length="100000000")) as server:
        answer = make(server.url).ask(QUESTION, number)
    assert isinstance(answer, Silence)
    assert "100,000,000 bytes" in answer.reason


def test_a_packed_answer_is_refused_since_it_may_unpack_to_anything(make: Make) -> None:
    with fake.serving(fake.gives(gzip.compress(b" " * 50_000_000), content_encoding="gzip")) as server:
        answer = make(server.url).ask(QUESTION, number)
    assert isinstance(answer, Silence)
    assert "packed" in answer.reason
    assert server.encodings == ["identity"]


def test_a_redirect_is_not_followed(make: Make) -> None:
    with fake.serving(fake.says('{"n": 7}')) as other, fake.serving(fake.redirects(other.url)) as server:
        answer = make(server.url).ask(QUESTION, number)
    assert isinstance(answer, Silence)
    assert "redirect" in answer.reason
    assert other.requests == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'{"choices": []}',
        b'{"choices": [{"message": null}]}',
        b'{"id": 3, "choices": "x", "usage": {"prompt_tokens": "many"}}',
        b"\xff\xfe\x00",
    ],
)
def test_a_malformed_completion_is_silence(make: Make, content: bytes) -> None:
    with fake.serving(fake.gives(content)) as server:
        assert isinstance(make(server.url).ask(QUESTION, number), Silence)


@pytest.mark.parametrize("claim", [-5, 0, 10**30])
def test_claimed_tokens_may_be_any_number(make: Make, ledger: MemoryLedger, claim: int) -> None:
    with fake.serving(fake.says('{"n": 7}', tokens_in=claim)) as server:
        assert make(server.url).ask(QUESTION, number) == 7
    assert 0 < calls(ledger)[0].tokens_in <= 10**9


def test_a_server_without_schemas_is_told_the_schema_in_words(make: Make) -> None:
    with fake.serving(fake.without_schemas('{"n": 7}')) as server:
        assert make(server.url).ask(QUESTION, number) == 7
    assert '"properties"' in server.requests[1]["messages"][0]["content"]


def test_answers_replay_without_the_network(make: Make, ledger: MemoryLedger) -> None:
    with fake.serving(fake.says("no", '{"n": 7}')) as server:
        assert make(server.url).ask(QUESTION, number) == 7
    # The server is gone: the second run can only have read the cache, repair turn included.
    fresh = Meter()
    assert make(server.url, meter=fresh).ask(QUESTION, number) == 7
    first, second = calls(ledger)[:2], calls(ledger)[2:]
    assert [one.is_cached for one in first + second] == [False, False, True, True]
    assert [one.answer_sha256 for one in first] == [one.answer_sha256 for one in second]
    assert [one.outcome for one in first] == [one.outcome for one in second]
    assert (fresh.spent.tokens, fresh.spent.dollars) == (0, 0.0)


def test_a_damaged_cache_is_asked_anew(make: Make, tmp_path: Path) -> None:
    with fake.serving(fake.says('{"n": 7}')) as server:
        assert make(server.url).ask(QUESTION, number) == 7
        (kept,) = (tmp_path / "answers").iterdir()
        kept.write_text(kept.read_text().replace("7", "8"))
        assert make(server.url).ask(QUESTION, number) == 7
    assert len(server.requests) == 2


def test_no_more_calls_are_made_than_allowed(make: Make) -> None:
    with fake.serving(fake.says('{"n": 7}')) as server:
        asker = make(server.url, Caps(calls=2))
        questions = [Question("number", "JSON", f"Number {i}?", SCHEMA) for i in range(4)]
        answers = [asker.ask(one, number) for one in questions]
    assert answers[:2] == [7, 7]
    assert isinstance(answers[3], Silence)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("meter", "caps"),
    [
        (Meter(tokens=100), Caps()),
        (Meter(dollars=0.0), Caps()),
        (Meter(dollars=1e-6), Caps(dollars_per_million_in=1.0)),
        (Meter(), Caps(prompt_bytes=20)),
    ],
)
def test_a_call_that_could_pass_a_cap_is_not_made(make: Make, meter: Meter, caps: Caps) -> None:
    with fake.serving(fake.says('{"n": 7}')) as server:
        assert isinstance(make(server.url, caps, meter=meter).ask(QUESTION, number), Silence)
    assert server.requests == []


def test_proxies_of_the_environment_are_not_used(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake.serving(fake.says('{"n": 1}')) as proxy, fake.serving(fake.says('{"n": 7}')) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("ALL_PROXY", proxy.url.removesuffix("/v1"))
        assert make(server.url).ask(QUESTION, number) == 7


def unconfigured(environment: dict[str, str], folder: Path) -> Asker | None:
    return configured(
        environment, caps=Caps(), meter=Meter(), ledger=MemoryLedger(), study="study", cache_folder=folder
    )


def test_nothing_configured_means_no_model_and_says_so(tmp_path: Path) -> None:
    environment = {"TRIMTAB_CACHE": str(tmp_path)}
    assert unconfigured(environment, tmp_path) is None
    assert "trimtab model pull" in note(environment)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"TRIMTAB_MODEL": "gpt"}, "no provider"),
        ({"TRIMTAB_MODEL": "openai:gpt-x"}, "needs a key"),
        ({"TRIMTAB_MODEL": "nobody:x", "NOBODY_API_KEY": "k"}, "unknown provider"),
        ({"TRIMTAB_MODEL": "openai:x", "TRIMTAB_BASE_URL": "file:///etc"}, "no web address"),
        ({"TRIMTAB_MODEL": "local:llama"}, "no embedded model"),
    ],
)
def test_a_name_that_cannot_be_meant_is_refused(environment: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        unconfigured(environment, tmp_path)


def test_an_embedded_model_that_was_not_pulled_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not there"):
        unconfigured({"TRIMTAB_MODEL": "local", "TRIMTAB_CACHE": str(tmp_path)}, tmp_path)
