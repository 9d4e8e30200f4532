"""A stage is run again when what its result depends on has changed, and only then."""

from __future__ import annotations

from pathlib import Path

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


def keys(folder: Path, cpu_hour: float = 0.04, label: float = 0.02) -> dict[str, str]:
    """What each stage's result depends on, at these prices."""
    folder.mkdir(exist_ok=True)
    (folder / "rows.csv").write_text("x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(300)))
    (folder / "trimtab.toml").write_text(TOML.format(cpu_hour=cpu_hour, label=label))
    config: Config = load_config(folder)[0]
    found: dict[str, str] = {}
    with open_workplace(config, folder, with_model=False) as workplace:
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
