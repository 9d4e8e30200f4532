"""Training runs in the ledger: captured with no code, found among many, compared, noted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import trimtab
from tests.adapters.conftest import new_database, postgres_socket
from trimtab.adapters.ledger import SqlLedger, ledger_in, open_ledger
from trimtab.core.errors import InputError
from trimtab.core.events import Kept, RunEnded
from trimtab.core.model import Spend
from trimtab.stages.runs import compared, plots, pruned
from trimtab.training.tracking import finding
from trimtab.training.tracking.index import Condition, Wanted, found, listed, lost
from trimtab.training.tracking.notes import unsupported, written
from trimtab.training.tracking.runs import Origin
from trimtab.training.tracking.track import _Beginnings

__all__ = ["new_database", "postgres_socket"]  # fixtures


def last(ledger: SqlLedger) -> RunEnded:
    return found(ledger, listed(ledger, Wanted(limit=1))[0].run)


def test_a_training_is_captured_with_no_code(tmp_path: Path) -> None:
    import lightgbm
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 5))
    y = (x[:, 0] + rng.normal(size=2000) > 0).astype(int)
    np.savetxt(tmp_path / "rows.csv", x, delimiter=",")
    with trimtab.track("forest", folder=tmp_path) as run:
        with open(tmp_path / "rows.csv") as file:
            file.readline()
        forest = RandomForestClassifier(n_estimators=7, random_state=0).fit(x[:1500], y[:1500])
        score = forest.score(x[1500:], y[1500:])
        auc = roc_auc_score(y[1500:], forest.predict_proba(x[1500:])[:, 1])
        run.note("the first")
    with trimtab.track("boosted", folder=tmp_path):
        settings = {"num_leaves": 5, "verbose": -1, "metric": "auc", "objective": "binary"}
        data = lightgbm.Dataset(x[:1500], y[:1500])
        lightgbm.train(settings, data, 30, valid_sets=[lightgbm.Dataset(x[1500:], y[1500:], reference=data)])
    ledger = ledger_in(tmp_path)
    boosted, first = (found(ledger, one.run) for one in listed(ledger, Wanted()))
    assert first.parameters["RandomForestClassifier.n_estimators"] == 7
    assert first.metrics["accuracy"] == score
    assert first.metrics["roc_auc"] == auc
    assert list(first.data) == [str(tmp_path / "rows.csv")]
    assert first.notes == ("the first",)
    assert first.spent.cpu_seconds > 0
    assert "commit" in first.code or "script" in first.code
    (packages,) = ledger.events(Kept, study=first.environment)
    assert "scikit-learn==" in packages.event.text
    assert boosted.parameters["lightgbm.num_leaves"] == 5
    assert [step for step, _ in boosted.curves["valid_0 auc"]] == list(range(30))
    assert "RandomForestClassifier.n_estimators" not in boosted.parameters
    assert ledger.first_broken() is None


def test_a_run_that_fails_is_kept_and_its_error_goes_on(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), trimtab.track("bad", folder=tmp_path) as run:  # noqa: PT012
        run.log(loss=float("nan"), step=3)
        run.log(loss=float("inf"))
        run.parameters(rate=float("nan"), layers=(1, 2), on=True, none=None)
        raise ZeroDivisionError
    one = last(ledger_in(tmp_path))
    assert one.status == "failed"
    assert one.metrics == {"loss": "inf"}
    assert one.parameters == {"rate": "nan", "layers": "(1, 2)", "on": True}
    assert written(one)


def test_a_run_whose_process_is_killed_is_known(tmp_path: Path) -> None:
    code = """
        import time, trimtab
        with trimtab.track("long"):
            print("in", flush=True)
            time.sleep(60)
    """
    job = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, stdout=subprocess.PIPE)
    assert job.stdout is not None
    job.stdout.readline()
    ledger = ledger_in(tmp_path)
    while not lost(ledger):
        assert job.poll() is None
    job.send_signal(signal.SIGKILL)
    job.wait()
    job.stdout.close()
    assert [one.name for one in lost(ledger)] == ["long"]
    assert listed(ledger, Wanted()) == []


def test_the_beginning_of_a_forked_childs_run_is_known_too(tmp_path: Path) -> None:
    code = """
        import os, time, trimtab
        with trimtab.track("parent"):
            if os.fork() == 0:
                with trimtab.track("child"):
                    print("in", flush=True)
                    time.sleep(60)
    """
    job = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True
    )
    assert job.stdout is not None
    try:
        job.stdout.readline()
        job.wait()  # the parent's run ends before it has lasted; the child's goes on
        ledger, until = ledger_in(tmp_path), time.monotonic() + 50
        while not lost(ledger):
            assert time.monotonic() < until
            time.sleep(0.1)
        assert [one.name for one in lost(ledger)] == ["child"]
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.stdout.close()


def test_runs_are_known_after_one_whose_beginning_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    ledger, beginnings = ledger_in(tmp_path), _Beginnings()
    for given, name in ((cast("SqlLedger", None), "first"), (ledger, "second")):  # None: what fails in no named way
        beginnings.add(given, Origin(name, "track", (), tmp_path))
        for thread in threading.enumerate():
            if thread.name == "trimtab-track":
                thread.join()
    assert [one.name for one in lost(ledger)] == ["second"]


def filled(ledger: SqlLedger, folder: Path) -> SqlLedger:
    for depth in range(1, 21):
        with trimtab.track("search" if depth % 2 else "other", ledger=ledger) as run:
            run.parameters(depth=depth, kind="wide" if depth > 10 else "narrow\0ü")
            run.log(auc=0.5 + 0.02 * depth)
    return ledger


def check_finding(ledger: SqlLedger) -> None:
    def runs(*where: str, by: str = "", ascending: bool = False, limit: int = 50) -> list[float]:
        conditions = tuple(map(Condition.parse, where))
        return [float(one.parameters["depth"]) for one in listed(ledger, Wanted(conditions, by, ascending, limit))]

    assert runs(limit=3) == [20, 19, 18]
    assert runs("auc >= 0.86") == [20, 19, 18]
    assert runs("auc>=0.8", "name=search", by="auc", ascending=True) == [15, 17, 19]
    assert runs("kind = wide", "depth<13", by="depth") == [12, 11]
    assert runs("kind != wide", by="depth", limit=1) == [10]
    assert runs("depth != 19", "name != other", by="depth", limit=2) == [17, 15]
    assert runs("status = failed") == []
    assert len(runs("cpu_seconds < 100", "by = track")) == 20
    assert runs("no such = 1") == []
    one = listed(ledger, Wanted(limit=1))[0]
    assert found(ledger, one.run[:10]).parameters["depth"] == 20
    with pytest.raises(InputError, match="not in the ledger"):
        found(ledger, "zzz")
    with pytest.raises(InputError, match="several"):
        found(ledger, "")
    with pytest.raises(InputError, match="is a number"):
        runs("seconds > soon")
    for text in ("auc", "", ">= 3", "auc>>"):
        with pytest.raises(InputError, match="no condition"):
            Condition.parse(text)


def test_runs_are_found_in_sqlite(tmp_path: Path) -> None:
    check_finding(filled(open_ledger(tmp_path / "ledger.db"), tmp_path))


@pytest.mark.parametrize(("few", "many"), [(0, 50_000), (0, 5), (1_000, 1_001)])
def test_runs_are_found_whichever_way_touches_the_fewest_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int, many: int
) -> None:
    monkeypatch.setattr(finding, "FEW", few)
    monkeypatch.setattr(finding, "MANY", many)
    check_finding(filled(open_ledger(tmp_path / "ledger.db"), tmp_path))


def test_a_run_with_a_parameter_and_a_metric_of_one_name_is_listed_once(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.db")
    for rate in range(4):
        with trimtab.track("net", ledger=ledger) as run:
            run.parameters(rate=rate)
            run.log(rate=rate + 0.5)
    for by in ("", "rate"):
        for limit in (2, 3, 50):
            runs = listed(ledger, Wanted((Condition.parse("rate >= 0"),), by, limit=limit))
            assert [one.parameters["rate"] for one in runs] == [3, 2, 1, 0][:limit]


@pytest.mark.postgres
def test_runs_are_found_in_postgresql(new_database: Callable[[], str], tmp_path: Path) -> None:
    check_finding(filled(open_ledger(new_database()), tmp_path))


def test_a_ledger_of_before_there_were_runs_takes_them(tmp_path: Path) -> None:
    import sqlite3

    open_ledger(tmp_path / "ledger.db").close()
    with sqlite3.connect(tmp_path / "ledger.db") as database:
        database.execute("DROP TABLE trimtab_runs")
        database.execute("DROP TABLE trimtab_run_values")
    check_finding(filled(open_ledger(tmp_path / "ledger.db"), tmp_path))


def test_runs_are_compared_by_what_differs(tmp_path: Path) -> None:
    ledger = filled(open_ledger(tmp_path / "ledger.db"), tmp_path)
    these = [found(ledger, one.run) for one in listed(ledger, Wanted(limit=2))]
    rows = dict(compared(these))
    assert rows["depth"] == (20, 19)
    assert "kind" not in rows
    assert rows["auc"] == pytest.approx((0.9, 0.88))
    assert {plot["title"] for plot in plots(these)} == {"auc", "CPU", "memory"}


def test_old_runs_go_off_the_list_but_not_the_front(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    for at, (auc, cpu) in enumerate([(0.9, 50.0), (0.8, 60.0), (0.7, 9.0), (0.95, 99.0), (0.5, 10.0), (0.6, 20.0)]):
        one = replace(
            generated(at), name="net", began=f"2026-01-0{at + 1}", metrics={"auc": auc}, spent=Spend(cpu_seconds=cpu)
        )
        ledger.append(one)
    every = [one.run for one in listed(ledger, Wanted(is_ascending=True))]
    ledger.close()
    assert pruned(tmp_path, "auc", "", 1, is_applied=False) == 2
    assert pruned(tmp_path, "auc", "", 1, is_applied=True) == 2
    ledger = ledger_in(tmp_path)
    left = [one.run for one in listed(ledger, Wanted(is_ascending=True))]
    assert left == [every[0], every[2], every[3], every[5]]  # the front, and the newest
    assert found(ledger, every[1]).metrics["auc"] == 0.8
    assert ledger.first_broken() is None
    with pytest.raises(InputError, match="keeps nothing"):
        pruned(tmp_path, "auc", "", 0, is_applied=False)


def test_runs_without_the_metric_stay_on_the_list(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    for at, metrics in enumerate(({"loss": 0.1}, {"auc": 0.5}, {"auc": 0.6}, {"auc": 0.7})):
        ledger.append(replace(generated(at), name="net", began=f"2026-01-0{at + 1}", metrics=metrics, spent=Spend()))
    ledger.close()
    assert pruned(tmp_path, "auc", "", 1, is_applied=True) == 2
    left = listed(ledger_in(tmp_path), Wanted(is_ascending=True))
    assert [one.metrics for one in left] == [{"loss": 0.1}, {"auc": 0.7}]


def generated(seed: int) -> RunEnded:
    """A run with random numbers of every size."""
    rng = np.random.default_rng(seed)
    sizes = 10 ** rng.uniform(-6, 7, 12)
    curve = tuple(
        (int(step), float(value)) for step, value in zip(range(0, 50, 5), rng.normal(0, sizes[0], 10), strict=True)
    )
    return RunEnded(
        run=f"{seed:016x}", name=f"net{seed}", by="track", status="done", began="2026-01-01T00:00:00+00:00",
        command=("train.py", "--seed", str(seed)),
        parameters={"depth": int(rng.integers(1, 99)), "rate": float(sizes[1])},
        metrics={"loss_2": float(sizes[2]), "auc": float(rng.uniform())},
        curves={"loss_2": curve}, environment="", code={}, data={}, host={},
        spent=Spend(cpu_seconds=float(sizes[3]), wall_seconds=float(sizes[4]), peak_rss_bytes=int(1e6 * sizes[5] + 1),
                    run_delay_seconds=float(sizes[4] * 0.5)),
        labels=((0.0, float(sizes[4] * 0.6), "contended"), (float(sizes[4] * 0.6), float(sizes[4]), "io-bound")),
        changes=({"what": "threads", "from": 8, "to": 2, "is_kept": bool(seed % 2)},),
    )  # fmt: skip


def test_no_note_holds_a_number_that_is_not_the_runs() -> None:
    for seed in range(200):
        run = generated(seed)
        text = " ".join(written(run))
        assert unsupported(text, run) == [], text


def test_a_number_that_was_made_up_is_found() -> None:
    run = generated(1)
    made_up = 0
    for wrong in np.random.default_rng(0).uniform(1000, 9000, 100):
        made_up += unsupported(f"It reached an accuracy of {wrong:.3f} at a cost of {wrong:.1f} s.", run) != []
    assert made_up == 100
    assert unsupported("It needed 12 tries.", run) == ["12"]


def test_runs_go_to_mlflow_once(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    from trimtab.adapters.mlflow_export import export

    ledger = filled(open_ledger(tmp_path / "ledger.db"), tmp_path)
    runs = [found(ledger, one.run) for one in listed(ledger, Wanted(limit=3))]
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert export(runs, uri, "trimtab") == 3
    assert export(runs, uri, "trimtab") == 0
    client = mlflow.MlflowClient(tracking_uri=uri)
    place = client.get_experiment_by_name("trimtab").experiment_id
    assert {one.data.metrics["auc"] for one in client.search_runs([place])} == {0.9, 0.88, 0.86}


def test_exporting_without_mlflow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trimtab.adapters.mlflow_export import export

    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError) as caught:
        export([], "sqlite:///x.db", "trimtab")
    assert "trimtab[mlflow]" in caught.value.hint
    assert os.listdir(tmp_path) == []
