"""Runs a service under load: CPU milliseconds a request, latency, throughput, memory, and whether answers are right."""

from __future__ import annotations

import atexit
import functools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.adapters.models.encoding import Encoding
from trimtab.adapters.models.form import Form, load_form
from trimtab.adapters.models.learn_encoding import encode
from trimtab.adapters.models.raw_rows import raw_rows
from trimtab.adapters.sources.dataset import Dataset, DataSpec, load, part
from trimtab.core.errors import TargetError
from trimtab.core.model import Json, Measurement, Sample, Split
from trimtab.core.wire import digest
from trimtab.deployment.packaging import load as load_program
from trimtab.deployment.packaging.environment import environment
from trimtab.deployment.packaging.plan import ServicePlan
from trimtab.deployment.packaging.server import Server, kill, start
from trimtab.deployment.packaging.service import options_for, write_service

CONNECTIONS = 4
WARM_SECONDS, WARM_REQUESTS = 0.3, 100
MOST_ROWS = 1000  # distinct rows that are asked
ALLOWED = 1e-12  # JSON carries every float64 whole; only threads may sum in another order


@dataclass(frozen=True)
class Setting:
    """Two forms of a model, the rows to ask, and how hard. `own_environment`: servers run on their pins alone."""

    data: DataSpec
    chosen: str
    current: str
    cache: str
    seconds: float = 1.0
    requests: int = 4000
    own_environment: bool = True


@dataclass(frozen=True)
class Questions:
    """Rows as clients send them, and the answers that were computed offline, from the table."""

    bodies: tuple[str, ...]
    expected: tuple[Any, ...]


def measured(setting: Setting, plan: ServicePlan, sample: Sample) -> Measurement:
    """One load run against the plan's service."""
    server = _server(setting, plan)
    asked = questions(setting, plan.form, sample.split)
    before = server.cpu_seconds()
    seen = ask_all(server, asked, setting.seconds * sample.fraction, setting.requests, shift=sample.seed * 97)
    if not seen["requests"]:
        raise TargetError("the service answered nothing", hint=server.logged())
    cpu_ms = (server.cpu_seconds() - before) * 1000 / seen["requests"]
    return Measurement(seen | {"cpu_ms_per_request": cpu_ms, "resident_bytes": float(server.resident_bytes())}, "run")


def ask_all(
    server: Server, asked: Questions, seconds: float, requests: int, *, shift: int = 0, connections: int = CONNECTIONS
) -> dict[str, float]:
    """A load run from a process of its own, starting at row `shift`. Raises TargetError when it breaks off."""
    turn = shift % len(asked.bodies)
    content = {
        "port": server.port,
        "bodies": asked.bodies[turn:] + asked.bodies[:turn],
        "expected": asked.expected[turn:] + asked.expected[:turn],
        "allowed": ALLOWED,
        "most": requests,
        "seconds": seconds,
        "connections": connections,
    }
    command = [sys.executable, "-I", "-S", str(load_program.__file__)]
    try:
        done = subprocess.run(
            command, input=json.dumps(content), capture_output=True, text=True, timeout=seconds + 60, check=False
        )
    except subprocess.TimeoutExpired:
        raise TargetError("the service stopped answering under load", hint=server.logged()) from None
    if done.returncode != 0:
        raise TargetError(f"the load run broke off: {done.stderr.strip()[-300:]}", hint=server.logged())
    found: dict[str, float] = json.loads(done.stdout)
    return found


@functools.lru_cache(maxsize=8)
def questions(setting: Setting, form: str, split: Split) -> Questions:
    """Rows that the model was not trained on, and the form's offline answers to them."""
    rows = part(load(setting.data), setting.data, "valid" if split == "search" else "holdout")
    if len(rows) > MOST_ROWS:
        rows = rows.take(np.linspace(0, len(rows) - 1, MOST_ROWS).round().astype(np.int64))
    return asked_of(load_form(Path(setting.chosen if form == "chosen" else setting.current)), rows)


def asked_of(form: Form, rows: Dataset) -> Questions:
    """Rows as JSON bodies with the answers of a form to the whole table."""
    encoding = Encoding.from_json(form.encoding)
    bodies = [json.dumps(row) for row in raw_rows(rows.table, encoding)]
    return Questions(tuple(bodies), tuple(np.asarray(offline(form, rows)).tolist()))


def offline(form: Form, rows: Dataset) -> Any:
    """A form's answers, computed from the table and not through any service."""
    encoding = Encoding.from_json(form.encoding)
    if not form.reads_frames:
        return form.predict(np.ascontiguousarray(encode(rows, encoding)))
    from trimtab.adapters.models.artifact import to_frame

    return form.predict(to_frame(rows.table, [column.name for column in encoding.columns]))


def service_of(setting: Setting, plan: ServicePlan) -> Path:
    """The service directory of a plan, written once."""
    form = Path(setting.chosen if plan.form == "chosen" else setting.current)
    to = Path(setting.cache) / "services" / digest([str(form), plan])[:24]
    if not (to / "MANIFEST.json").exists():
        write_service(form, options_for(plan, "candidate", "A model under load.", example_of(setting, form)), to)
    return to


def example_of(setting: Setting, form: Path) -> dict[str, Json]:
    """The first row that the model was trained on."""
    rows = part(load(setting.data), setting.data, "train").rows(0, 1)
    return raw_rows(rows.table, Encoding.from_json(load_form(form).encoding))[0]


_LIVING: dict[tuple[Setting, ServicePlan], Server] = {}


def _server(setting: Setting, plan: ServicePlan) -> Server:
    """The plan's service, warm: kept alive in this process, or started again where a runner ends what a task left."""
    kept = _LIVING.get((setting, plan))
    if kept is not None and kept.process.poll() is None:
        return kept
    service = service_of(setting, plan)
    own = setting.own_environment
    python = environment(service / "constraints.txt", Path(setting.cache)) if own else Path(sys.executable)
    server = start(service, python)
    _LIVING[setting, plan] = server
    ask_all(server, questions(setting, plan.form, "search"), WARM_SECONDS, WARM_REQUESTS)
    return server


def close_servers() -> None:
    """End the services that measurements kept alive in this process."""
    while _LIVING:
        kill(_LIVING.popitem()[1])


atexit.register(close_servers)
