"""trimtab.toml: every fault is one message with the file, the key, the value and a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.config import load_config
from trimtab.core.errors import InputError

WHOLE = 'name = "x"\n[data]\ntable = "t.csv"\ntarget = "y"\n'


def write(folder: Path, text: str, name: str = "trimtab.toml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_defaults_fill_what_is_not_said(tmp_path: Path) -> None:
    config, folder = load_config(write(tmp_path, WHOLE))
    assert config.serving.latency_ms == 100.0
    assert folder == tmp_path.resolve()


def test_a_pyproject_can_hold_it(tmp_path: Path) -> None:
    text = '[tool.trimtab]\nname = "x"\n[tool.trimtab.data]\ntable = "t.csv"\ntarget = "y"\n'
    assert load_config(write(tmp_path, text, "pyproject.toml"))[0].data.target == "y"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WHOLE + 'tme = "d"\n', ("unknown key data.tme", "did you mean 'time'?")),
        (WHOLE + "search_share = 1.5\n", ("data.search_share = 1.5", "less than 1")),
        (WHOLE + 'known = ["a", 3]\n', ("data.known.1 = 3", "must be a valid string")),
        (WHOLE + "[prices]\ncpu_hour = -1\n", ("prices.cpu_hour = -1", "dollars")),
        (WHOLE + '[model]\nmetric = "aucc"\n', ("model.metric = 'aucc'", "'auc'")),
        ('name = "x"\n[data]\ntable = "t.csv"\n', ("data.target is missing", "a column, or a comparison")),
        ("name = [", ("not TOML", "trimtab init")),
    ],
)
def test_a_fault_names_file_key_value_and_remedy(tmp_path: Path, text: str, said: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        load_config(write(tmp_path, text))
    for part in ("trimtab.toml", *said):
        assert part in str(caught.value)


def test_an_empty_folder_is_told_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trimtab init"):
        load_config(tmp_path)


def test_the_example_is_valid() -> None:
    config, _ = load_config(Path(__file__).parent.parent / "examples" / "flights")
    assert config.data.target == "arr_delay > 15"
