"""Histories from Prometheus: a real server where there is one (Debian's package), and servers that misbehave."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pyarrow.csv
import pytest
from typer.testing import CliRunner

from trimtab.adapters.sources.live import PrometheusFeed, Queries
from trimtab.adapters.sources.prometheus import RangeQuery, fetched
from trimtab.core.errors import InputError, OutsideError
from trimtab.faces.cli.main import app

STEP, STEPS = 60, 14_400  # ten days of minutes: more than one answer may hold


@functools.cache
def now() -> int:
    """When the history ends: not when this file is read, which may be minutes before the server is asked."""
    return int(time.time()) // STEP * STEP


def first() -> int:
    return now() - STEPS * STEP


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with ten days of a counter by pod; pod b was away for an hour."""
    if not shutil.which("prometheus") or not shutil.which("promtool"):
        pytest.skip("there is no Prometheus here (Debian: apt install prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    lines = ["# TYPE memory gauge"]
    for pod, base in (("a", 10), ("b", 20)):
        for step in range(STEPS):
            if pod == "b" and 600 <= step < 660:
                continue
            lines.append(f'memory{{pod="{pod}"}} {base + step % 1440} {first() + STEP * step}')
    (folder / "history.om").write_text("\n".join([*lines, "# EOF", ""]))
    (folder / "prometheus.yml").write_text("global: {}\n")
    made = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(folder / "history.om"), str(folder / "data")]
    subprocess.run(made, check=True, capture_output=True)
    port = free_port()
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
               f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=1y"]  # fmt: skip
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(300):
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(url + "/-/ready").status_code == 200:
                        break
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()


def asked(server: str, text: str, **more: object) -> RangeQuery:
    return RangeQuery(server, text, first(), now() - STEP, STEP, **more)  # type: ignore[arg-type]


def test_a_history_longer_than_one_answer_comes_whole(server: str) -> None:
    text, rows = fetched(asked(server, 'memory{pod="a"}'))
    assert rows == STEPS
    table = pyarrow.csv.read_csv(pyarrow.py_buffer(text.encode()))
    assert table.column_names == ["time", "rate"]
    assert table["rate"].to_pylist() == [10 + step % 1440 for step in range(STEPS)]
    assert (np.diff(table["time"].to_numpy().astype("datetime64[s]").astype(int)) == STEP).all()


def test_series_are_told_apart_by_a_label_and_a_gap_stays_one(server: str, tmp_path: Path) -> None:
    days, to = (now() - first()) / 86_400 + 0.01, tmp_path / "usage.csv"
    options = ["--query", "memory", "--out", str(to), "--days", str(days), "--by", "pod", "--column", "memory"]
    made = CliRunner().invoke(app, ["fetch", server, *options])
    assert made.exit_code == 0, made.output
    table = pyarrow.csv.read_csv(to)
    assert table.column_names == ["time", "pod", "memory"]
    pods = np.array(table["pod"].to_pylist())
    stale = 5  # minutes for which Prometheus repeats the last value
    assert STEPS - 60 <= (pods == "b").sum() <= STEPS - 60 + 2 * stale
    assert list(tmp_path.iterdir()) == [to]


def test_what_is_so_now_and_was_lately_is_known(server: str) -> None:
    feed = PrometheusFeed(server, Queries("sum(memory)", busy='memory{pod="a"}', replicas="count(memory)"))
    look = feed.look()
    assert look is not None
    assert look.busy is not None
    assert (look.rate, look.replicas) == (2 * look.busy + 10, 2)
    past = feed.past(240, 5.0)
    assert len(past) == 240
    assert past[-1] == look.rate
    assert set(np.diff(past)) <= {0.0, 2.0, -2 * 1439.0}
    with pytest.raises(InputError, match="2 series"):
        PrometheusFeed(server, Queries("memory")).look()
    assert PrometheusFeed(server, Queries("nothing_of_that_name")).look() is None


def test_what_prometheus_refuses_is_said(server: str) -> None:
    with pytest.raises(InputError, match="parse error"):
        fetched(asked(server, "sum(rate(memory"))
    with pytest.raises(InputError, match="2 series") as refused:
        fetched(asked(server, "memory"))
    assert "pod" in str(refused.value.hint)
    with pytest.raises(InputError, match="no value"):
        fetched(asked(server, "nothing_of_that_name"))
    with pytest.raises(InputError, match="does not tell"):
        fetched(asked(server, "memory", by="job"))


class Bad(http.server.BaseHTTPRequestHandler):
    """Answers with what the server's `answers` hold, in turn; the last one for ever."""

    def do_POST(self) -> None:
        answers = self.server.answers  # type: ignore[attr-defined]
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def answering(*answers: tuple[int, bytes]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bad) as made:
        made.answers = list(answers)  # type: ignore[attr-defined]
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_address[1]}"
        made.shutdown()


def series(*values: tuple[float, str]) -> bytes:
    found = {"resultType": "matrix", "result": [{"metric": {"pod": 'a,"b"'}, "values": values}]}
    return json.dumps({"status": "success", "data": found}).encode()


def test_a_server_that_stumbles_is_asked_again() -> None:
    with answering((502, b"bad gateway"), (200, series((0, "1.5"), (60, "NaN"), (120, "+Inf"), (180, "2")))) as url:
        text, rows = fetched(RangeQuery(url, "x", 0, 180, 60, by="pod"))
    assert rows == 2
    assert text.splitlines()[1:] == ['1970-01-01T00:00:00Z,"a,""b""",1.5', '1970-01-01T00:03:00Z,"a,""b""",2']


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ((200, b"<html>a page</html>"), OutsideError, "does not answer as Prometheus"),
        ((200, b'{"status": "success", "data": {"result": [{"metric": 3}]}}'), OutsideError, "does not answer as"),
        ((401, b"who are you"), InputError, "who you are"),
        ((500, b"broken"), OutsideError, "status 500"),
        ((302, b""), OutsideError, "does not answer as Prometheus"),
        ((200, series((0, "one"))), OutsideError, "does not answer as"),
    ],
)
def test_answers_of_no_use_are_refused(
    answer: tuple[int, bytes], kind: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with answering(answer) as url, pytest.raises(kind, match=said):
        fetched(RangeQuery(url, "x", 0, 60))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (RangeQuery("localhost:9090", "x", 0, 60), "no address"),
        (RangeQuery("http://h", "x", 60, 60), "nothing lies between"),
        (RangeQuery("http://h", "x", 0, 60, 0), "nothing lies between"),
        (RangeQuery("http://h", "x", 0, 1e9, 1), "moments are asked for"),
    ],
)
def test_questions_that_make_no_sense_are_refused(query: RangeQuery, said: str) -> None:
    with pytest.raises(InputError, match=said):
        fetched(query)


def test_nothing_is_written_when_the_server_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    to = tmp_path / "traffic.csv"
    made = CliRunner().invoke(app, ["fetch", f"http://127.0.0.1:{free_port()}", "--query", "x", "--out", str(to)])
    assert made.exit_code != 0
    assert list(tmp_path.iterdir()) == []
