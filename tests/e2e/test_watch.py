"""`trimtab watch` and `trimtab runs` as a user meets them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.test_cli import NO_MODEL, trimtab

SCRIPT = """
import sys, time
from trimtab import hooks
hooks.parameters(rows=int(sys.argv[1]))
held = bytearray(int(sys.argv[1]) * 100)
for step in hooks.steps(range(12)):
    time.sleep(0.1)
    hooks.log(loss=1 / (1 + step))
print("trained", flush=True)
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watch")
    (folder / "train.py").write_text(SCRIPT)
    for rows in (100_000, 200_000, 400_000, 800_000):
        done = trimtab("watch", "--", sys.executable, "train.py", str(rows), "0", at=folder)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "trained\n"  # the job's own output, and nothing of ours
    return folder


def test_a_watched_job_keeps_its_exit_code_and_leaves_a_run(place: Path, tmp_path: Path) -> None:
    done = trimtab(
        "watch", "--stream", str(tmp_path / "s"), sys.executable, str(place / "train.py"), "10", "3", at=tmp_path
    )
    assert done.returncode == 3
    assert "train with 3 after" in done.stderr
    looks = [json.loads(line) for line in (tmp_path / "s").read_text().splitlines()]
    assert looks[-1]["total"] == 12
    assert looks[-1]["resident"] > 1_000_000
    listed = trimtab("runs", "--json", at=tmp_path)
    (run,) = json.loads(listed.stdout)["runs"]
    assert (run["status"], run["parameters"]["rows"]) == ("failed", 10)


def test_runs_are_listed_shown_compared_and_plotted(place: Path) -> None:
    table = trimtab("runs", "--where", "rows > 150000", "--by", "rows", at=place).stdout
    assert [line.split()[-2] for line in table.splitlines()[1:]] == ["800,000", "400,000", "200,000"]
    names = re.findall(r"^ ?([0-9a-f]{8}) ", table, re.MULTILINE)
    shown = trimtab("runs", "show", names[0], at=place).stdout
    assert "loss went from 1 at step 0" in shown
    compared = json.loads(trimtab("runs", "compare", *names[:2], "--json", at=place).stdout)["differ"]
    assert compared["rows"] == [800_000, 400_000]
    plotted = trimtab("runs", "plot", *names, "--to", "runs.html", at=place)
    assert plotted.returncode == 0, plotted.stderr
    page = (place / "runs.html").read_text()
    assert page.count("<svg") == 3
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_the_next_request_is_sized_by_the_runs(place: Path) -> None:
    asked = json.loads(trimtab("watch", "report", "--at", "rows=600000", "--json", at=place).stdout)["request"]
    assert 60_000_000 < asked["bytes"] < 300_000_000
    assert asked["features"] == ["rows"]
    more = json.loads(trimtab("watch", "report", "train", "--at", "rows=800000", "--json", at=place).stdout)["request"]
    assert more["bytes"] > asked["bytes"]
    assert "support a risk" in trimtab("watch", "report", at=place).stdout


def test_a_running_job_is_told_in_openmetrics(place: Path) -> None:
    command = [sys.executable, "-m", "trimtab.faces.cli.main", "watch", "--metrics-port", "0", "--json"]
    job = [sys.executable, "-c", "import time; time.sleep(6)"]
    watcher = subprocess.Popen(
        [*command, *job], cwd=place, env=NO_MODEL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert watcher.stderr is not None
    address = watcher.stderr.readline().split()[-1]
    text = ""
    while 'trimtab_job_label{label="loader-starved"} 1' not in text:  # on a busy host it waits for a core at first
        time.sleep(0.1)
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            text = answer.read().decode()
        assert watcher.poll() is None
    assert text.endswith("# EOF\n")
    output, _ = watcher.communicate(timeout=60)
    assert json.loads(output)["exit_code"] == 0


def test_a_place_that_cannot_be_written_is_named_before_the_job_starts(tmp_path: Path) -> None:
    done = trimtab("watch", "--stream", "no/such/place", "--", "touch", "ran", at=tmp_path)
    assert done.returncode == 3
    assert "no/such/place cannot be written" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["watch", "--", "no-such-program"], "no-such-program cannot be started"),
        (["watch", "--pid", "4194305"], "there is no process 4194305"),
        (["watch", "--pid", "1", "--", "ls"], "give a command or --pid"),
        (["watch", "--live", "ls"], "--live needs the terminal"),
        (["watch", "--memory", "lots", "ls"], "'lots' is no size of memory"),
        (["watch", "report"], "no run has ended"),
        (["watch", "report", "--at", "rows"], "'rows' is no number"),
        (["runs", "--where", "auc"], "'auc' is no condition"),
        (["runs", "--limit", "0"], "lists nothing"),
        (["runs", "show", "abc"], "'abc' is not in the ledger"),
        (["runs", "plot", "abc", "--to", "x.html"], "'abc' is not in the ledger"),
    ],
)
def test_bad_input_gets_one_clear_message(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = trimtab(*arguments, at=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
