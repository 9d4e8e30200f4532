"""A stage is run again when what its result depends on has changed, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.config import Config, load_config
from trimtab.pipeline import inputs_key
from trimtab.stages.order import STAGES
from trimtab.workplace import open_workplace

TOML = """
name = "small"
[data]
table = "rows.csv"
target = "y"
[prices]
cpu_hour = {cpu_hour}
label = {label}
"""


def keys(folder: Path, cpu_hour: float = 0.04, label: float = 0.02, *, with_model: bool = False) -> dict[str, str]:
    """What each stage's result depends on, at these prices."""
    folder.mkdir(exist_ok=True)
    (folder / "rows.csv").write_text("x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(300)))
    (folder / "trimtab.toml").write_text(TOML.format(cpu_hour=cpu_hour, label=label))
    config: Config = load_config(folder)[0]
    found: dict[str, str] = {}
    with open_workplace(config, folder, with_model=with_model) as workplace:
        for stage in STAGES:
            found[stage.name] = inputs_key(workplace, stage, found)
    return found


def test_a_price_changes_the_stages_that_weigh_it(tmp_path: Path) -> None:
    before, after = keys(tmp_path), keys(tmp_path, cpu_hour=0.08)
    assert before["check"] == after["check"]
    assert {name for name in before if before[name] != after[name]} >= {"tune", "convert", "retrain"}


def test_a_price_that_a_stage_does_not_weigh_leaves_it_as_it_was(tmp_path: Path) -> None:
    before, after = keys(tmp_path), keys(tmp_path, label=0.5)
    assert {name for name in before if before[name] != after[name]} == {"retrain"}


def test_a_stage_that_no_model_was_asked_about_is_run_again_once_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TRIMTAB_MODEL", "openai:first")
    without, first = keys(tmp_path), keys(tmp_path, with_model=True)
    monkeypatch.setenv("TRIMTAB_MODEL", "openai:second")
    second = keys(tmp_path, with_model=True)
    assert all(len({without[name], first[name], second[name]}) == 3 for name in without)
    assert keys(tmp_path) == without
