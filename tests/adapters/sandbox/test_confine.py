"""Confined workers, really started: what code that nobody has reviewed cannot do, whatever it says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab.adapters.runners.local import LocalRunner
from trimtab.adapters.sandbox import Confinement
from trimtab.core.model import Failure, Json
from trimtab.core.ports import Limits, Returned, Task


@pytest.fixture(scope="module")
def granted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("granted")
    (folder / "trace.csv").write_text("1,2\n")
    return folder


@pytest.fixture(scope="module")
def runner(granted: Path) -> Iterator[LocalRunner]:
    with LocalRunner(confinement=Confinement(reads=(str(granted),), imports=("socket", "subprocess"))) as made:
        yield made


def outcome(runner: LocalRunner, call: str, limits: Limits | None = None, **arguments: Json) -> Returned | Failure:
    (result,) = runner.map([Task(call, arguments, call, limits or Limits())])
    return result.outcome


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("builtins:open", {"file": "/etc/passwd"}),
        ("os:listdir", {"path": "/root"}),
        ("os:listdir", {"path": "/proc/1"}),
        ("socket:socket", {}),
        ("socket:create_server", {"address": ["127.0.0.1", 0]}),
        ("os:fork", {}),
        ("subprocess:run", {"args": ["/bin/true"]}),
        ("os:mkdir", {"path": "/tmp/trimtab-confined"}),
    ],
)
def test_a_confined_worker_is_denied(runner: LocalRunner, call: str, arguments: dict[str, Json]) -> None:
    found = outcome(runner, call, **arguments)
    assert isinstance(found, Failure)
    assert "PermissionError" in found.reason, found.reason


def test_a_confined_worker_reads_what_it_was_granted_and_writes_nothing(runner: LocalRunner, granted: Path) -> None:
    assert outcome(runner, "os:listdir", path=str(granted)) == Returned(["trace.csv"])
    refused = outcome(runner, "builtins:open", file=str(granted / "trace.csv"), mode="a")
    assert isinstance(refused, Failure)
    assert "PermissionError" in refused.reason


def test_a_confined_worker_that_hangs_loses_its_task_only(runner: LocalRunner) -> None:
    hung = outcome(runner, "time:sleep", Limits(wall_seconds=0.3), secs=60)
    assert isinstance(hung, Failure)
    assert outcome(runner, "math:sqrt") != hung  # the next worker answers: a TypeError, for the missing argument
