"""Services as real processes over real HTTP: what is written, verified, measured and refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trimtab.adapters.models.form import load_form
from trimtab.adapters.sources.dataset import Dataset, load, part
from trimtab.core.errors import InputError, OutsideError, TargetError
from trimtab.core.model import Sample
from trimtab.deployment.packaging import environment as environments
from trimtab.deployment.packaging.measure import close_servers, example_of, offline
from trimtab.deployment.packaging.plan import ServicePlan
from trimtab.deployment.packaging.problem import CAPABILITY, Packaging
from trimtab.deployment.packaging.server import ask, running
from trimtab.deployment.packaging.service import ServiceOptions, changed_files, write_service
from trimtab.deployment.packaging.verify import verify_service


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("package")


@pytest.fixture(scope="module")
def problem(folder: Path) -> Iterator[Packaging]:
    yield CAPABILITY.sample(folder, 0)  # type: ignore[misc]
    close_servers()


@pytest.fixture(scope="module")
def options(problem: Packaging) -> ServiceOptions:
    return ServiceOptions("cancer", "P(benign)", example_of(problem.setting, Path(problem.chosen)))


@pytest.fixture(scope="module")
def service(problem: Packaging, options: ServiceOptions, folder: Path) -> Path:
    return write_service(Path(problem.chosen), options, folder / "service")


@pytest.fixture(scope="module")
def holdout(problem: Packaging) -> Dataset:
    return part(load(problem.data), problem.data, "holdout")


def test_a_service_is_done_once_it_was_installed_asked_mistreated_and_loaded(
    service: Path, problem: Packaging, holdout: Dataset, folder: Path
) -> None:
    predictions = offline(load_form(Path(problem.chosen)), holdout)
    verified = verify_service(service, holdout, predictions, folder / "cache", seconds=0.5)
    assert verified.holds, [check for check in verified.checks if not check.holds]
    assert verified.load["requests"] > 100
    assert {"parity", "NaN", "oversized", "shutdown"} <= {check.name for check in verified.checks}


def test_other_answers_than_offline_are_found_out(
    service: Path, problem: Packaging, holdout: Dataset, folder: Path
) -> None:
    predictions = offline(load_form(Path(problem.chosen)), holdout)
    predictions[3] += 1e-9
    verified = verify_service(service, holdout, predictions, folder / "cache", seconds=0.1)
    assert [check.name for check in verified.checks if not check.holds] == ["parity", "load"]


def test_an_environment_is_made_once_for_the_same_pins(service: Path, folder: Path) -> None:
    first = environments.environment(service / "constraints.txt", folder / "cache")
    stamp = first.parent.stat().st_mtime_ns
    assert environments.environment(service / "constraints.txt", folder / "cache") == first
    assert first.parent.stat().st_mtime_ns == stamp


def test_pins_that_cannot_be_installed_are_an_outside_error_and_leave_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (folder / "pins.txt").write_text("numpy==0.0.1\n")
    with pytest.raises(OutsideError, match="environment"):
        environments.environment(folder / "pins.txt", folder / "empty-cache")
    assert list((folder / "empty-cache" / "venvs").iterdir()) == []


def test_a_service_names_no_machine_and_needs_nothing_of_trimtab(service: Path, folder: Path) -> None:
    texts = {one: one.read_text() for one in service.rglob("*") if one.is_file()}
    assert not [one for one, text in texts.items() if str(folder) in text or str(Path.home()) + "/" in text]
    assert not [one for one, text in texts.items() if "import trimtab" in text or "from trimtab" in text]
    assert "trimtab" not in (service / "constraints.txt").read_text()


def test_a_changed_file_is_found_by_the_manifest(service: Path, options: ServiceOptions, problem: Packaging) -> None:
    copy = write_service(Path(problem.chosen), options, service.parent / "changed")
    assert changed_files(copy) == []
    (copy / "app.py").write_text((copy / "app.py").read_text() + "\n")
    assert changed_files(copy) == ["app.py"]


def test_a_folder_that_is_no_form_is_refused(options: ServiceOptions, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no form"):
        write_service(tmp_path, options, tmp_path / "service")
    assert not (tmp_path / "service").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_place_that_cannot_be_written_is_a_target_error(
    problem: Packaging, options: ServiceOptions, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(TargetError, match="cannot be written"):
        write_service(Path(problem.chosen), options, tmp_path / "service")


def test_a_service_whose_model_is_broken_does_not_start_and_says_why(service: Path, folder: Path) -> None:
    import shutil
    import sys

    broken = folder / "broken"
    shutil.copytree(service, broken)
    (broken / "form" / "form.json").write_text("{}")
    with pytest.raises(TargetError, match="did not become ready"), running(broken, Path(sys.executable)):
        pass


def test_rows_of_one_window_are_predicted_together_with_the_same_answers(
    problem: Packaging, options: ServiceOptions, folder: Path
) -> None:
    import sys

    batching = write_service(Path(problem.chosen), replace(options, batch_window_ms=2.0), folder / "batching")
    body = json.dumps(dict(options.example)).encode()
    with running(batching, Path(sys.executable)) as server:
        code, text = ask(server.port, "POST", "/predict", body)
        _, many = ask(server.port, "POST", "/predict", b"[" + body + b"," + body + b"]")
        _, counters = ask(server.port, "GET", "/metrics")
    assert code == 200
    assert json.loads(many)["predictions"] == [json.loads(text)["prediction"]] * 2
    assert b'predict_requests_total{code="200"} 2' in counters


def test_a_load_run_tells_cpu_latency_and_whether_answers_are_right(problem: Packaging) -> None:
    measured = problem.measure(ServicePlan(), Sample("search", 0))
    assert measured.method == "run"
    assert measured.metrics["errors"] == 0
    assert measured.metrics["cpu_ms_per_request"] > 0
    assert measured.metrics["requests"] == problem.requests


def test_a_pipeline_of_the_users_own_is_served_from_its_pickle(folder: Path) -> None:
    """Words, times, numbers and missing values through a pandas pipeline, compared with its offline answers."""
    import pickle
    import sys

    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    from trimtab.adapters.models.learn_encoding import learn

    rng = np.random.default_rng(0)
    size = rng.normal(size=400)
    table = pa.table(
        {
            "size": pa.array(size, mask=rng.random(400) < 0.1),
            "colour": pa.array(rng.choice(["red", "it's", "blué"], 400)),
            "when": pa.array(np.datetime64("2024-02-28T23:00", "us") + np.arange(400).astype("timedelta64[h]")),
        }
    )
    rows = Dataset(table, (size > 0).astype(float), "binary", ("no", "yes"), ("size", "colour", "when"))
    encoding = learn(rows)
    steps = [("words", OneHotEncoder(handle_unknown="ignore"), ["colour"]), ("numbers", SimpleImputer(), ["size"])]
    model = Pipeline([("columns", ColumnTransformer(steps)), ("model", LogisticRegression())])
    model.fit(table.to_pandas(), rows.y.astype(int))
    form = folder / "pandas-form"
    form.mkdir()
    (form / "model.pkl").write_bytes(pickle.dumps(model))
    about = {"kind": "pickle", "task": "binary", "classes": ["no", "yes"], "reads_frames": True}
    (form / "form.json").write_text(json.dumps(about | {"encoding": json.loads(encoding.to_json())}))
    example = {"size": 1.5, "colour": "it's", "when": "2024-02-28T23:00:00"}
    written = write_service(form, ServiceOptions("colours", "P(yes)", example), folder / "pandas-service")
    expected = offline(load_form(form), rows)
    with running(written, Path(sys.executable)) as server:
        from trimtab.adapters.models.raw_rows import raw_rows

        code, text = ask(server.port, "POST", "/predict", json.dumps(raw_rows(table, encoding)[:200]).encode())
        strange, _ = ask(server.port, "POST", "/predict", json.dumps(example | {"when": "yesterday"}).encode())
    assert (code, strange) == (200, 422)
    assert json.loads(text)["predictions"] == expected[:200].tolist()
