"""trimtab.toml (or [tool.trimtab] in pyproject.toml): what a user's pipeline is. Every key is checked, none is guessed.

Each field is described for `trimtab init`; unknown keys, wrong types and impossible values are
refused with the file, the key, the value and a remedy.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from trimtab.core.errors import InputError

Share = Annotated[float, Field(gt=0, lt=1)]
Cost = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A table of the file: frozen, and no key that is not declared."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Data(Section):
    table: str = Field(
        description="a .parquet, .csv(.gz, .zip), .arrow or .feather file, or a function: 'file.py:name'"
    )
    target: str = Field(description="a column, or a comparison such as 'arr_delay > 15' for a yes/no target")
    positive: str = Field("", description="the class that counts as 'yes' when the target column holds two words")
    time: str = Field("", description="the column that orders the rows in time; empty: rows have no order")
    known: tuple[str, ...] = Field(
        (), description="columns known when a prediction is asked for; empty: all but `later`"
    )
    later: tuple[str, ...] = Field((), description="columns that are only known later: never used to predict")
    moment: str = Field("", description="when a prediction is asked for, in words")
    search_share: Share = Field(0.6, description="first part of the rows, by time: to search on")
    holdout_share: Share = Field(0.15, description="next part: to confirm on; the rest is replayed as production")


class Model(Section):
    current: str = Field("", description="today's model: 'file.py:function' that returns an unfitted estimator")
    metric: Literal["auc", "log_loss", "accuracy", "f1", "brier", "rmse", "mae", "r2"] = Field(
        "auc", description="what quality means"
    )
    tolerance: Cost = Field(0.005, description="how much of the metric may be lost for a saving, in its own unit")
    exact: bool = Field(True, description="whether a converted model must give equal predictions")
    trainings_per_month: Cost = Field(1.0, description="how often today's model is trained")


class Serving(Section):
    latency_ms: PositiveFloat = Field(100.0, description="a request slower than this misses the objective")
    misses: Share = Field(0.01, description="share of requests that may miss it")
    cold_start_seconds: PositiveFloat = Field(60.0, description="from asking for a replica until it serves")
    replica_cpus: PositiveFloat = Field(1.0, description="cores of one replica")
    replica_gb: PositiveFloat = Field(1.0, description="memory of one replica, GB")
    headroom: PositiveFloat = Field(1.2, description="today's replicas: the peak load times this, all day")


class Traffic(Section):
    times: str = Field("", description="a column whose times are the requests' times, or a .csv of (time, rate) rows")
    requests_per_row: PositiveFloat = Field(1.0, description="requests that each row of the column stands for")
    spread_minutes: PositiveInt = Field(1, description="minutes before its time over which a row's requests come")
    requests_per_month: Cost = Field(0.0, description="how many requests come, where `times` says nothing")


class Production(Section):
    window_days: PositiveInt = Field(7, description="how much production is looked at at a time")
    retrain_every: Annotated[int, Field(ge=0)] = Field(
        0, description="today's policy: windows between trainings, 0 never"
    )
    labels: PositiveInt = Field(500, description="labels that may be bought a window")
    training_dollars: Cost = Field(0.0, description="what a training costs beside its CPU time: review, rollout")
    quality_value: Cost = Field(
        1000.0, description="dollars a month that one whole unit of the metric is worth (0.01 AUC: a hundredth of it)"
    )


class Prices(Section):
    cpu_hour: Cost = Field(0.04, description="dollars")
    gb_hour: Cost = Field(0.005, description="dollars")
    kwh: Cost = Field(0.15, description="dollars")
    cpu_watts: Cost = Field(12.0, description="watts of a busy core")
    co2_per_kwh: Cost = Field(380.0, description="grams")
    label: Cost = Field(0.02, description="dollars")
    million_tokens_in: Cost = Field(0.0, description="dollars")
    million_tokens_out: Cost = Field(0.0, description="dollars")


class Budget(Section):
    check: PositiveFloat = Field(60.0, description="CPU seconds of search, likewise for each stage below")
    tune: PositiveFloat = Field(240.0, description="CPU seconds")
    shrink: PositiveFloat = Field(120.0, description="CPU seconds")
    convert: PositiveFloat = Field(40.0, description="CPU seconds")
    package: PositiveFloat = Field(60.0, description="CPU seconds")
    retrain: PositiveFloat = Field(60.0, description="CPU seconds")
    scale: PositiveFloat = Field(60.0, description="CPU seconds")
    measurement_seconds: PositiveFloat = Field(300.0, description="CPU seconds after which one measurement is killed")
    memory_gb: PositiveFloat = Field(8.0, description="memory above which a measurement is killed")
    workers: PositiveInt = Field(1, description="measurements at a time")
    model_calls: Annotated[int, Field(ge=0)] = Field(20, description="calls of a language model in one run")
    tokens: Annotated[int, Field(ge=0)] = Field(200_000, description="tokens in one run")
    dollars: Cost = Field(1.0, description="spent on a language model in one run")


class Config(Section):
    name: str = Field(description="of the pipeline, for reports")
    data: Data
    model: Model = Model()
    serving: Serving = Serving()
    traffic: Traffic = Traffic()
    production: Production = Production()
    prices: Prices = Prices()
    budget: Budget = Budget()


def load_config(place: Path) -> tuple[Config, Path]:
    """The configuration at a file or in a folder, and the folder that its paths are relative to.

    Raises InputError when there is none, it is not TOML, or a key is unknown, missing or has an impossible value.
    """
    file = _find(place)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not TOML: {error}", hint="`trimtab init` writes a valid file") from None
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None
    if file.name == "pyproject.toml":
        content = content["tool"]["trimtab"]
    try:
        # Lists of the file are tuples here; strictness is kept by going through JSON's rules.
        return Config.model_validate(_tuples(content)), file.parent.resolve()
    except ValidationError as error:
        raise _explained(file, content, error) from None


def _find(place: Path) -> Path:
    if place.is_file():
        return place
    if not place.exists():
        raise InputError(f"{place} does not exist", hint="name a folder with a trimtab.toml, or the file itself")
    if (place / "trimtab.toml").is_file():
        return place / "trimtab.toml"
    project = place / "pyproject.toml"
    if project.is_file() and "trimtab" in tomllib.loads(project.read_text(encoding="utf-8")).get("tool", {}):
        return project
    raise InputError(
        f"{place} holds no trimtab.toml and no [tool.trimtab]",
        hint="write one with `trimtab init TABLE --target COLUMN`",
    )


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(one) for key, one in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _explained(file: Path, content: dict[str, Any], error: ValidationError) -> InputError:
    """One message for the first fault; the number of further ones is told."""
    faults = error.errors(include_url=False)
    # A misspelt key is told before the key that is missing for it.
    first = next((one for one in faults if one["type"] == "extra_forbidden"), faults[0])
    path = [str(part) for part in first["loc"]]
    key = ".".join(path)
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known(path[:-1])
        close = difflib.get_close_matches(path[-1], known, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        return InputError(f"{file}: unknown key {key}{more}", hint=remedy)
    if first["type"] == "missing":
        return InputError(f"{file}: the key {key} is missing{more}", hint=_description(path))
    found = _at(content, path)
    reason = first["msg"].replace("Input should be", "must be")
    return InputError(f"{file}: {key} = {found!r}: {reason}{more}", hint=_description(path))


def _at(content: Any, path: list[str]) -> Any:
    for part in path:
        content = content[part] if isinstance(content, dict) else content[int(part)]
    return content


def _section(path: list[str]) -> type[BaseModel]:
    kind: type[BaseModel] = Config
    for part in path:
        annotation = kind.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        kind = annotation
    return kind


def _known(path: list[str]) -> list[str]:
    return list(_section(path).model_fields)


def _description(path: list[str]) -> str:
    name = next((part for part in reversed(path) if not part.isdigit()), "")
    field = _section(path[:-1]).model_fields.get(name) or Config.model_fields.get(path[0])
    text = field.description if field is not None else None
    return f"{'.'.join(path)}: {text}" if text else "see the comments that `trimtab init` writes"
