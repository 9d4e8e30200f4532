"""KEDA's external scaler: a real gRPC client asks the real server; measurements that stop, begin anew or never were."""

from __future__ import annotations

import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner

from trimtab.adapters.keda import SERVICE, NotKnown, messages
from trimtab.adapters.ledger import ledger_in
from trimtab.adapters.sources.live import Look, PrometheusFeed, Queries, RouterFeed
from trimtab.cluster.scaling.controller import Controller, Shield
from trimtab.cluster.scaling.simulator import DESIRED, Service
from trimtab.core.errors import InputError
from trimtab.core.events import Noticed
from trimtab.faces.cli.main import app
from trimtab.stages.keda import Helm

SERVED = Service(0.1, 0.4)
KINDS = messages()


class Answering(http.server.BaseHTTPRequestHandler):
    """Whatever the server's `answer(path, form)` says."""

    def do_GET(self) -> None:
        self._answer("")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["content-length"])).decode())

    def _answer(self, form: str) -> None:
        body = self.server.answer(self.path, form)  # type: ignore[attr-defined]
        self.send_response(200 if body else 503)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said: Any) -> None:
        pass


@contextmanager
def answering(answer: Any) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as made:
        made.answer = answer  # type: ignore[attr-defined]
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_address[1]}"
        made.shutdown()


def prometheus(path: str, form: str) -> bytes:
    """50 requests/s for as long as anybody can remember; 2 series of anything else."""
    now, count = time.time(), 1 if "rate" in form else 2
    if path.endswith("query"):
        found = [{"metric": {}, "value": [now, "50"]}] * count
    else:
        found = [{"metric": {}, "values": [[now - 5 * back, "50"] for back in range(239, -1, -1)]}]
    kind = "vector" if path.endswith("query") else "matrix"
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": found}}).encode()


class LaterTwo:
    """As `prometheus`; but from the third question on every query gives 2 series."""

    def __init__(self) -> None:
        self._questions = 0

    def __call__(self, path: str, form: str) -> bytes:
        self._questions += 1
        return prometheus(path, form if self._questions < 3 else "")


@contextmanager
def scaling(folder: Path, *arguments: str) -> Iterator[tuple[Any, grpc.Channel]]:
    command = [sys.executable, "-m", "trimtab.faces.cli.main", "scale", "keda", "--port", "0", *arguments]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said = ""
        while (found := re.search(r"scaler on (\S+)", said)) is None:
            line = process.stdout.readline()
            assert line, said
            said += line
        with grpc.insecure_channel(found.group(1)) as channel:
            yield process, channel
    finally:
        process.kill()
        process.wait()


def asked(channel: grpc.Channel, method: str, request: str, answer: str, **fields: Any) -> Any:
    call = channel.unary_unary(f"/{SERVICE}/{method}", KINDS[request].SerializeToString, KINDS[answer].FromString)
    return call(KINDS[request](**fields), timeout=20)


def test_keda_is_told_how_many_replicas_there_should_be(tmp_path: Path) -> None:
    policy = tmp_path / "replicas.py"
    policy.write_text(f"{DESIRED.head}\n    return rate[0] / 10 + 2\n")
    with answering(prometheus) as url:
        wanted = ("--prometheus", url, "--rate", "sum(rate(x[30s]))", "--policy", str(policy), "--service-ms", "100")
        with scaling(tmp_path, *wanted) as (process, channel):
            reference = KINDS["ScaledObjectRef"](name="web", namespace="prod", scalerMetadata={"a": "b"})
            spec = asked(channel, "GetMetricSpec", "ScaledObjectRef", "GetMetricSpecResponse", name="web")
            assert [(one.metricName, one.targetSize, one.targetSizeFloat) for one in spec.metricSpecs] == [
                ("replicas", 1, 1.0)
            ]
            values = asked(
                channel, "GetMetrics", "GetMetricsRequest", "GetMetricsResponse",
                scaledObjectRef=reference, metricName="replicas",
            ).metricValues  # fmt: skip
            # 50 requests/s of 100 ms keep 5 busy: the shield wants 6 at once, and no more than 5 from 1; the policy 7.
            assert [one.metricName for one in values] == ["replicas"]
            assert 5 <= values[0].metricValueFloat <= 7
            assert values[0].metricValue == values[0].metricValueFloat
            assert asked(channel, "IsActive", "ScaledObjectRef", "IsActiveResponse", name="web").result
            stream = channel.unary_stream(
                f"/{SERVICE}/StreamIsActive",
                KINDS["ScaledObjectRef"].SerializeToString,
                KINDS["IsActiveResponse"].FromString,
            )(reference, timeout=20)
            assert next(stream).result
            stream.cancel()
            with pytest.raises(grpc.RpcError) as refused:
                asked(channel, "StreamMetricSpec", "ScaledObjectRef", "GetMetricSpecResponse")
            assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0


def test_nothing_is_decided_before_a_minute_was_measured(tmp_path: Path) -> None:
    with (
        answering(lambda path, form: b"trimtab_requests_total 100\n") as url,
        scaling(tmp_path, "--router", url + "/metrics") as (_, channel),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            asked(channel, "GetMetrics", "GetMetricsRequest", "GetMetricsResponse")
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert asked(channel, "IsActive", "ScaledObjectRef", "IsActiveResponse").result


def test_a_query_that_makes_no_sense_any_more_counts_as_missing(tmp_path: Path) -> None:
    with (
        answering(LaterTwo()) as url,
        scaling(tmp_path, "--prometheus", url, "--rate", "rate(x[30s])") as (process, channel),
    ):
        assert any("2 series" in line for line in iter(process.stdout.readline, ""))
        assert asked(channel, "GetMetrics", "GetMetricsRequest", "GetMetricsResponse").metricValues[0].metricValue > 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "where do measurements come from"),
        (("--prometheus", "http://127.0.0.1:9"), "needs --rate"),
        (("--prometheus", "localhost", "--rate", "x"), "no address of a server"),
        (("--router", "localhost"), "no address of metrics"),
        (("--router", "http://127.0.0.1:9", "--most", "0"), "1 to 0 replicas"),
        (("--router", "http://127.0.0.1:9", "--policy", "/nope"), "cannot be read"),
    ],
)
def test_what_cannot_be_answered_is_refused_at_once(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        CliRunner().invoke(app, ["scale", "keda", *arguments], catch_exceptions=False)


class Given:
    """A feed that has no past."""

    def look(self) -> Look | None:
        raise NotImplementedError

    def past(self, count: int, step: float) -> list[float]:
        return []


def test_when_measurements_stop_the_last_number_holds_then_the_most_needed_and_the_ledger_knows(tmp_path: Path) -> None:
    said: list[str] = []
    controller = Controller(f"{DESIRED.head}\n    return rate[0] / 5\n", SERVED, Shield(0, 40, 0.0))
    with closing(ledger_in(tmp_path)) as ledger:
        helm, now = Helm(controller, Given(), ledger, said.append), 0.0
        with pytest.raises(NotKnown):
            helm.replicas()
        for rate, there in [(100.0, 20)] * 60 + [(30.0, 6)] * 60:
            now += 5.0
            helm.step(now, Look(rate, replicas=there), is_sync=True)
        assert helm.replicas() == 6
        for _ in range(60):
            now += 5.0
            helm.step(now, None, is_sync=True)
            if now < 700.0:
                assert helm.replicas() == 6
        assert helm.replicas() == 20
        assert helm.is_active()
        helm.step(now + 5.0, Look(0.0, 0.0, 20), is_sync=True)
        for back in range(20):
            helm.step(now + 10.0 + 5 * back, Look(0.0, 0.0, 20), is_sync=True)
        assert not helm.is_active()
        assert [one.event.what.split(":")[0] for one in ledger.events(Noticed)] == [
            "measurements stopped", "measurements are missing for long", "measurements are back",
        ]  # fmt: skip


def test_the_number_does_not_fall_while_what_was_asked_for_starts(tmp_path: Path) -> None:
    with closing(ledger_in(tmp_path)) as ledger:
        controller = Controller(f"{DESIRED.head}\n    return rate[0] / 5\n", SERVED, Shield(1, 100))
        helm, told = Helm(controller, Given(), ledger, lambda said: None), []
        for step, rate in enumerate([100.0] * 15 + [15.0] * 3):
            helm.step(5.0 * step, Look(rate, replicas=1), is_sync=True)
            if step >= 12:
                told.append(helm.replicas())
    assert told == [20.0] * 6


def test_a_small_rise_is_told_as_one_that_kubernetes_heeds(tmp_path: Path) -> None:
    with closing(ledger_in(tmp_path)) as ledger:
        controller = Controller(f"{DESIRED.head}\n    return rate[0]\n", SERVED, Shield(1, 100, 0.0))
        helm = Helm(controller, Given(), ledger, lambda said: None)
        for step in range(15):
            helm.step(5.0 * step, Look(21.0, replicas=20), is_sync=True)
        assert 22 < helm.replicas() <= 23  # above 1.1 × 20: else the tolerance of the autoscaler would swallow it
        assert 22 < helm.replicas() <= 23  # for a second one who asks as well
        helm.step(80.0, Look(19.0, replicas=20), is_sync=True)
        assert helm.replicas() == 19


def test_a_small_rise_is_told_for_as_long_as_it_lasts_where_the_replicas_are_not_known(tmp_path: Path) -> None:
    with closing(ledger_in(tmp_path)) as ledger:
        controller = Controller(f"{DESIRED.head}\n    return rate[0]\n", SERVED, Shield(1, 100, 0.0))
        helm, told = Helm(controller, Given(), ledger, lambda said: None), []
        for step, rate in enumerate([20.0] * 15 + [21.0] * 4 + [22.0] * 2):
            helm.step(5.0 * step, Look(rate), is_sync=True)
            if step >= 14:
                told.append(helm.replicas())
    assert told == [20.0, *[pytest.approx(22.01)] * 4, 22.0, 22.0]


def test_a_counter_that_begins_anew_is_no_negative_rate_and_an_answer_of_no_use_is_none() -> None:
    answers = [
        b"trimtab_requests_total 1000\n",
        b"trimtab_requests_total 5\n",
        b"<html>",
        b"",
        b"trimtab_requests_total x\n",
    ]
    with answering(lambda path, form: answers.pop(0)) as url:
        feed = RouterFeed(url)
        assert feed.look() is None  # one count is no rate
        second = feed.look()
        assert second is not None
        assert second.rate > 0
        assert [feed.look() for _ in range(3)] == [None, None, None]
        assert RouterFeed("http://127.0.0.1:9/metrics").look() is None


def test_prometheus_gives_a_value_none_or_says_that_the_query_is_wrong() -> None:
    with answering(prometheus) as url:
        feed = PrometheusFeed(url, Queries("sum(rate(x[1m]))"))
        assert feed.look() == Look(50.0)
        assert list(feed.past(240, 5.0)) == [50.0] * 240
        with pytest.raises(InputError, match="2 series"):
            PrometheusFeed(url, Queries("sum(rate(x[1m]))", busy="x")).look()
    with answering(lambda path, form: b'{"status": "success", "data": {"resultType": "vector", "result": []}}') as url:
        assert PrometheusFeed(url, Queries("x")).look() is None
    refusal = b'{"status": "error", "errorType": "bad_data", "error": "parse error"}'
    with answering(lambda path, form: refusal) as url, pytest.raises(InputError, match="parse error"):
        PrometheusFeed(url, Queries("x(")).look()
