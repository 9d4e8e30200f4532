"""Every ledger and every target keeps its contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.adapters.conftest import new_database, postgres_socket
from trimtab.adapters.ledger import open_ledger
from trimtab.adapters.targets.folder import Folder
from trimtab.adapters.targets.plan_file import PlanFile
from trimtab.testing import MemoryLedger, MemoryTarget, check_ledger, check_target

__all__ = ["new_database", "postgres_socket"]  # fixtures

PLANS = ({"size": 1}, {"size": 2, "names": ["ü", None]}, None)


def test_the_memory_ledger_keeps_the_contract() -> None:
    check_ledger(MemoryLedger)


def test_the_sqlite_ledger_keeps_the_contract(tmp_path: Path) -> None:
    check_ledger(lambda: open_ledger(tmp_path / "ledger.db"))


@pytest.mark.postgres
def test_the_postgresql_ledger_keeps_the_contract(new_database: Callable[[], str]) -> None:
    check_ledger(lambda: open_ledger(new_database()))


def test_the_memory_target_keeps_the_contract() -> None:
    check_target(MemoryTarget({"size": 0}), PLANS)


def test_the_plan_file_keeps_the_contract(tmp_path: Path) -> None:
    check_target(PlanFile(tmp_path / "plans" / "serve.json"), PLANS)


def test_the_folder_keeps_the_contract(tmp_path: Path) -> None:
    versions = [tmp_path / name for name in ("one", "two")]
    for folder in versions:
        folder.mkdir()
        (folder / "model.txt").write_text(folder.name)
    target = Folder(tmp_path / "live")
    check_target(target, [target.keep(folder) for folder in versions] + [None])
