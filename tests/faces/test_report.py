"""The report is one page that reads well and needs nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.test_cli import CONFIG, MODEL, write_rows
from trimtab.config import load_config
from trimtab.core.model import Spend
from trimtab.faces.report import dollars, render
from trimtab.pipeline import Row, StageResult
from trimtab.workplace import open_workplace


@pytest.mark.parametrize(("value", "shown"), [(1234.5, "$1,234.50"), (-0.001, "$0.00"), (-12.3, "-$12.30")])
def test_a_sum_has_its_sign_in_front(value: float, shown: str) -> None:
    assert dollars(value) == shown


def test_a_page_is_self_contained_and_puts_numbers_to_the_right_only(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.parquet")
    (tmp_path / "mine.py").write_text(MODEL)
    (tmp_path / "trimtab.toml").write_text(CONFIG)
    table = {"title": "t", "head": ["name", "p99_ms", "why"], "rows": [["a", "1,250.5", "<b>"], ["b", "", "12 of 17"]]}
    names = [f"2026-05-{day:02}" for day in range(1, 31)]
    grid = {"kind": "grid", "title": "g", "rows": ["x"], "columns": names, "values": [[0.5] * len(names)]}
    row = Row("as it is", "unchanged", "keeps the current plan", "run", "rules")
    result = StageResult("check", row, None, {"tables": [table], "plots": [grid]}, (), Spend())
    config, folder = load_config(tmp_path)
    with open_workplace(config, folder, with_model=False) as workplace:
        page = render(workplace, {"check": result})
    assert '<td class="n">1,250.5</td><td class="">&lt;b&gt;</td>' in page
    assert '<th class="n">p99 ms</th>' in page
    assert sum(f">{name}</text>" in page for name in names) <= 10
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
