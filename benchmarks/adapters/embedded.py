"""What an embedded model is good for: meaning of columns, and whether they are known when a prediction is asked for.

    python benchmarks/adapters/embedded.py [--model qwen2.5-coder-0.5b ...] [--limit N]

The truth is written by hand beside the columns, in embedded_columns.json; the tables are public ones. The examples
in the prompt come from tables that are not asked about. Peers: the most frequent answer, and a rule on names.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trimtab.adapters.llm.asker import Caps
from trimtab.adapters.llm.configure import configured
from trimtab.adapters.meters import host
from trimtab.core.budget import Meter
from trimtab.core.events import ModelCalled
from trimtab.core.model import Json
from trimtab.core.ports import LanguageModel, Question, Silence
from trimtab.data.quality.semantics import EXAMPLES, MEANINGS, SCHEMA, SYSTEM, WHEN
from trimtab.testing import MemoryLedger

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Column:
    about: str
    name: str
    kind: str
    values: str
    meaning: str
    known: str


@dataclass(frozen=True)
class Score:
    model: str
    meaning: int
    known: int
    leaks_found: int
    leaks: int
    false_alarms: int
    asked: int
    cpu_seconds: float
    tokens_per_second: float


NOTE = """
The format of the question was chosen among five on these same columns, and the rules were written with them in sight:
both figures are optimistic. Most tokens are examples that the server has read before.
"""


def question(column: Column) -> Question:
    """The format that proved best: constant few-shot turns (read once by the server), words, then closed choices."""
    about = re.sub(r" Predicted:.*?(?= Asked at:)", "", column.about)  # the target's words would be copied
    prompt = f"{about}\n{json.dumps(column.name)} {column.kind}: {column.values}"
    return Question("column-meaning", SYSTEM, prompt, SCHEMA, EXAMPLES, max_tokens=60)


def read(answer: Json) -> tuple[str, str]:
    """The meaning, and whether the value is there before or after. Raises ValueError."""
    if not isinstance(answer, dict) or answer.get("meaning") not in MEANINGS or answer.get("when") not in WHEN:
        raise ValueError("give is, when and meaning")
    return str(answer["meaning"]), "after" if answer["when"] == "later" else "before"


def columns() -> list[Column]:
    """All columns with their truth."""
    tables = json.loads((HERE / "embedded_columns.json").read_text(encoding="utf-8"))
    return [Column(table["about"], *row) for table in tables.values() for row in table["columns"]]


def score(name: str, asked: Sequence[Column], folder: Path) -> Score:
    """Ask a model about every column."""
    ledger, meter = MemoryLedger(), Meter()
    environment = {**os.environ, "TRIMTAB_MODEL": f"local:{name}"}
    model = configured(
        environment, caps=Caps(calls=1000), meter=meter, ledger=ledger, study="benchmark", cache_folder=folder
    )
    assert model is not None
    answers = [_answer(model, one) for one in asked]
    model.close()
    seconds = sum(one.event.seconds for one in ledger.events(ModelCalled))
    made = sum(one.event.tokens_in + one.event.tokens_out for one in ledger.events(ModelCalled))
    return _scored(name, asked, answers, meter.spent.cpu_seconds, made / max(seconds, 1e-9))


def _answer(model: LanguageModel, column: Column) -> tuple[str, str]:
    answer = model.ask(question(column), read)
    found = ("", "") if isinstance(answer, Silence) else answer
    if found != (column.meaning, column.known):
        print(f"  {column.name}: said {found}, is {(column.meaning, column.known)}", flush=True)
    return found


def by_rule(column: Column) -> tuple[str, str]:
    """The peer: regular expressions on the name, as data catalogues use them."""
    rules = (
        (r"(^|_)(id|nbr|num|no)($|_)", "identifier"),
        (r"time|date|year|month|day|hour|minute|_d$", "time"),
        (r"duration|delay|age", "duration"),
        (r"price|amnt|amount|inc|pay|balance|capital", "money"),
        (r"state|country|city|lat|long|origin|dest", "place"),
        (r"count|n_|population", "count"),
    )
    meaning = next((found for rule, found in rules if re.search(rule, column.name.lower())), "")
    return meaning or ("category" if column.kind == "text" else "measure"), "before"


def _scored(name: str, asked: Sequence[Column], answers: Sequence[tuple[str, str]], cpu: float, rate: float) -> Score:
    pairs = list(zip(asked, answers, strict=True))
    return Score(
        name,
        sum(answer[0] == one.meaning for one, answer in pairs),
        sum(answer[1] == one.known for one, answer in pairs),
        sum(answer[1] == "after" for one, answer in pairs if one.known == "after"),
        sum(one.known == "after" for one in asked),
        sum(answer[1] == "after" for one, answer in pairs if one.known == "before"),
        len(asked),
        cpu,
        rate,
    )


def peers(asked: Sequence[Column]) -> list[Score]:
    """What costs nothing."""
    most = collections.Counter(one.meaning for one in asked).most_common(1)[0][0]
    rules: dict[str, Callable[[Column], tuple[str, str]]] = {
        "most frequent answer": lambda one: (most, "before"),
        "rules on names": by_rule,
    }
    return [_scored(name, asked, [rule(one) for one in asked], 0.0, 0.0) for name, rule in rules.items()]


def table(scores: Sequence[Score]) -> str:
    """Markdown."""
    lines = [
        "| model | meaning right | known-at-prediction right "
        "| later columns found | falsely called later | CPU-s a call | tokens/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in scores:
        lines.append(
            f"| {one.model} | {one.meaning}/{one.asked} ({one.meaning / one.asked:.0%}) "
            f"| {one.known}/{one.asked} ({one.known / one.asked:.0%}) | {one.leaks_found}/{one.leaks} "
            f"| {one.false_alarms} "
            f"| {one.cpu_seconds / one.asked:.2f} | {one.tokens_per_second:.0f} |"
        )
    facts = host()
    return "\n".join(lines) + f"\n{NOTE}\nMachine: {facts['cores']} cores, {facts['cpu']}, load {facts['load']}\n"


def main() -> None:
    """Measure and write the table beside this file."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--model", nargs="*", default=["qwen2.5-coder-0.5b"])
    arguments.add_argument("--limit", type=int, default=1000)
    given = arguments.parse_args()
    asked = columns()[: given.limit]
    scores = peers(asked)
    for name in given.model:
        with tempfile.TemporaryDirectory() as folder:
            scores.append(score(name, asked, Path(folder)))
    text = table(scores)
    print(text)
    if given.limit >= len(columns()):
        (HERE / "embedded.md").write_text(f"# Embedded models on columns of public tables\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
