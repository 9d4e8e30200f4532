"""`trimtab init`: writes a commented trimtab.toml from a table and a target, and says what it guessed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from trimtab.adapters.files import write_whole
from trimtab.adapters.models.metrics import FOR_TASK
from trimtab.adapters.sources.dataset import DataSpec, load
from trimtab.adapters.sources.tables import read_table
from trimtab.config import Config
from trimtab.core.errors import InputError

TITLES = {
    "data": "The table, and what is asked of it",
    "model": "Today's model, and what quality means",
    "serving": "How predictions are served today",
    "traffic": "When requests come",
    "production": "What watching and retraining may cost",
    "prices": "What things cost you: every saving is counted by these",
    "budget": "What a search may cost",
}


@dataclass(frozen=True)
class Guess:
    """A value that nobody gave, and why it was taken."""

    key: str
    value: Any
    because: str


def write_config(table: Path, target: str, folder: Path, *, force: bool = False) -> tuple[Path, tuple[Guess, ...]]:
    """Write folder/trimtab.toml and return it with what was guessed. All or nothing.

    Raises InputError when the table or the target cannot be used or a file is there already; TargetError when the
    folder cannot be written.
    """
    to = folder / "trimtab.toml"
    if to.exists() and not force:
        raise InputError(f"{to} exists already", hint="give --force to replace it")
    guesses = guess(table, target)
    name = (folder.resolve().name or "pipeline").replace('"', "")
    text = _text(name, _relative(table, folder), target, guesses)
    write_whole(to, text)
    return to, guesses


def guess(table: Path, target: str) -> tuple[Guess, ...]:
    """What can be told from the table: time order, metric, and columns that are only known after the target."""
    content = read_table(table)
    time = _time_column(content)
    dataset = load(DataSpec(str(table), target, time.value))
    metric = FOR_TASK[dataset.task][0]
    later = _later_columns(content, target, dataset.names)
    because = "missing exactly where the target is missing: written after the event"
    return (
        time,
        Guess("model.metric", metric, f"the target is {dataset.task}"),
        Guess("data.later", later, because if later else "no column is missing exactly where the target is"),
    )


def _time_column(table: pa.Table) -> Guess:
    moments = [
        field.name
        for field in table.schema
        if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type)
        if table.column(field.name).null_count == 0
    ]
    if not moments:
        return Guess("data.time", "", "no column holds a time in every row: rows are taken to have no order")
    return Guess("data.time", moments[0], "the first column with a time in every row")


def _later_columns(table: pa.Table, target: str, names: tuple[str, ...]) -> tuple[str, ...]:
    source = next((name for name in table.column_names if target == name or target.startswith(f"{name} ")), "")
    if not source or table.column(source).null_count == 0:
        return ()
    gone = pc.is_null(table.column(source))
    whole = pc.invert(gone)
    later = []
    for name in names:
        missing = pc.is_null(table.column(name))
        # A column that is missing in most rows without a target, and in hardly any with one, is written with it.
        share_gone = pc.mean(missing.filter(gone)).as_py() or 0.0
        share_whole = pc.mean(missing.filter(whole)).as_py() or 0.0
        if share_gone > 0.5 and share_whole < 0.01:
            later.append(name)
    return tuple(later)


def _relative(table: Path, folder: Path) -> str:
    return os.path.relpath(table.resolve(), folder.resolve())


def _text(name: str, table: str, target: str, guesses: tuple[Guess, ...]) -> str:
    given = {"data.table": table, "data.target": target}
    guessed = {one.key: one for one in guesses}
    lines = [
        "# A pipeline for trimtab. Commented keys hold their defaults. `trimtab run` reads this file.",
        f"name = {_toml(name)}",
    ]
    for section, title in TITLES.items():
        kind = Config.model_fields[section].annotation
        lines += ["", f"# {title}", f"[{section}]"]
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            lines += [_line(f"{section}.{key}", field, given, guessed) for key, field in kind.model_fields.items()]
    return "\n".join(lines) + "\n"


def _line(key: str, field: Any, given: dict[str, str], guessed: dict[str, Guess]) -> str:
    name = key.rpartition(".")[2]
    if key in given:
        return f"{name} = {_toml(given[key])}  # {field.description}"
    if key in guessed and guessed[key].value:
        return f"{name} = {_toml(guessed[key].value)}  # guessed: {guessed[key].because}"
    default = "" if field.default is PydanticUndefined else field.default
    return f"# {name} = {_toml(default)}  # {field.description}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    # A JSON string is a TOML basic string, but for the escape of DEL.
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
