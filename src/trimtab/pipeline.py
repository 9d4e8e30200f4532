"""`trimtab run`: the stages of a pipeline in order, each skipped when the ledger holds its result for the same inputs.

Knows how stages hang together; what each one does lies in `trimtab.stages`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from trimtab.config import Config
from trimtab.core.events import StageEnded
from trimtab.core.model import Json, Spend
from trimtab.core.stamp import code_stamp
from trimtab.core.wire import digest, dump, load
from trimtab.workplace import Workplace

SCHEMA = 1  # of a stage's result: a change here makes older results unreadable, so they are run again


@dataclass(frozen=True)
class Row:
    """A stage in the table: every number in its texts comes from a measurement."""

    current: str
    chosen: str
    saving: str
    method: str
    by: str


@dataclass(frozen=True)
class StageResult:
    """What a stage leaves behind: a row to show, its decision (None: it decides nothing), facts for later stages."""

    stage: str
    row: Row
    decision: Mapping[str, Json] | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)
    findings: tuple[Mapping[str, Json], ...] = ()
    spent: Spend = field(default_factory=Spend)


Results = Mapping[str, StageResult]


@dataclass(frozen=True)
class Stage:
    """One step. `reads` names the parts of the configuration that it depends on, `needs` the stages before it."""

    name: str
    run: Callable[[Workplace, Results], StageResult]
    reads: tuple[str, ...]
    needs: tuple[str, ...] = ()


Moment = Literal["started", "done", "reused"]
Progress = Callable[[str, Moment, StageResult | None], None]


def run_stages(workplace: Workplace, stages: Sequence[Stage], progress: Progress) -> dict[str, StageResult]:
    """Run every stage whose inputs have changed since the ledger last saw it end; returns all results by name."""
    results: dict[str, StageResult] = {}
    keys: dict[str, str] = {}
    for stage in stages:
        keys[stage.name] = inputs_key(workplace, stage, keys)
        past = find_result(workplace, stage.name, keys[stage.name])
        if past is not None:
            results[stage.name] = past
            progress(stage.name, "reused", past)
            continue
        progress(stage.name, "started", None)
        before = workplace.tokens.spent
        made = stage.run(workplace, results)
        results[stage.name] = replace(made, spent=made.spent + _asked(before, workplace.tokens.spent))
        _record(workplace, keys[stage.name], results[stage.name])
        progress(stage.name, "done", results[stage.name])
    return results


def _asked(before: Spend, after: Spend) -> Spend:
    """What a language model cost between two readings of its meter."""
    return Spend(
        cpu_seconds=after.cpu_seconds - before.cpu_seconds,
        dollars=after.dollars - before.dollars,
        tokens=after.tokens - before.tokens,
    )


def inputs_key(workplace: Workplace, stage: Stage, earlier: Mapping[str, str]) -> str:
    """What a stage's result depends on: configuration, data, the user's code, program version, earlier stages, and the
    language model that is asked, if any. What a study decided without it is still known to the ledger.
    """
    return digest(
        [
            SCHEMA,
            stage.name,
            code_stamp(),
            [_part(workplace.config, name) for name in stage.reads],
            workplace.fingerprints,
            "" if workplace.model is None else workplace.model.name,
            [earlier[name] for name in stage.needs],
        ]
    )


def known(workplace: Workplace, stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The first of these stages, as far as the ledger holds their results for the present inputs."""
    keys: dict[str, str] = {}
    found: list[Stage] = []
    for stage in stages:
        keys[stage.name] = inputs_key(workplace, stage, keys)
        if find_result(workplace, stage.name, keys[stage.name]) is None:
            break
        found.append(stage)
    return tuple(found)


def find_result(workplace: Workplace, stage: str, key: str) -> StageResult | None:
    """The newest result of a stage for these inputs, or None."""
    found = None
    for one in workplace.ledger.events(StageEnded):
        if one.event.stage == stage and one.event.inputs_key == key:
            found = one.event.result
    return None if found is None else load(StageResult, found)


def _record(workplace: Workplace, key: str, result: StageResult) -> None:
    written: Any = dump(result)
    decision = str((result.decision or {}).get("id", ""))
    workplace.ledger.append(
        StageEnded(workplace.config.name, result.stage, key, decision, written, result.spent, result.findings)
    )


def _part(config: Config, name: str) -> Json:
    section, _, key = name.partition(".")
    value = getattr(config, section)
    value = getattr(value, key) if key else value
    return dump(value.model_dump(mode="json") if hasattr(value, "model_dump") else value)


def total(results: Results) -> Spend:
    """What all stages spent."""
    spent = Spend()
    for result in results.values():
        spent = spent + result.spent
    return spent
