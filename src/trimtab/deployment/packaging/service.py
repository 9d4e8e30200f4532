"""Writes a service directory: app, schema, model, pins, Dockerfile, README, and a manifest of it all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from trimtab.adapters.models import encoding as encoding_module
from trimtab.adapters.models import form as form_module
from trimtab.adapters.models.encoding import Encoding
from trimtab.adapters.models.form import load_form
from trimtab.core.errors import InputError, TargetError
from trimtab.core.model import Json
from trimtab.deployment.packaging.pins import pins
from trimtab.deployment.packaging.plan import ServicePlan

LIBGOMP = "RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*\n"


@dataclass(frozen=True)
class ServiceOptions:
    """What service.json holds. `example`: one raw row, shown in the schema and asked by /ready."""

    name: str
    meaning: str  # of the answer, in words
    example: Mapping[str, Json]
    workers: int = 1
    threads: int = 1
    batch_window_ms: float = 0.0
    most_batch: int = 64
    most_rows: int = 256
    most_bytes: int = 1 << 18
    version: str = "1"


def options_for(plan: ServicePlan, name: str, meaning: str, example: Mapping[str, Json]) -> ServiceOptions:
    """The options of a plan."""
    return ServiceOptions(name, meaning, example, plan.workers, plan.threads, plan.batch_window_ms)


def write_service(form: Path, options: ServiceOptions, to: Path) -> Path:
    """Write a service for a form's folder to `to`, all or nothing; what stood there is replaced.

    Raises InputError when the form cannot be read, TargetError when the place cannot be written.
    """
    try:
        loaded = load_form(form)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{form} holds no form of a model: {error}", hint="`trimtab convert` makes one") from None
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{to.name}-"))
        try:
            _write(building, form, options, loaded)
            _replace(building, to)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise TargetError(f"{to} cannot be written: {error.strerror}", hint="check the folder and its disk") from None
    return to


def manifest(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder but the manifest itself."""
    files = sorted(one for one in folder.rglob("*") if one.is_file() and "__pycache__" not in one.parts)
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.name != "MANIFEST.json"
    }


def changed_files(folder: Path) -> list[str]:
    """The files that are not as the manifest says, or not in it."""
    written: dict[str, str] = json.loads((folder / "MANIFEST.json").read_text(encoding="utf-8"))
    found = manifest(folder)
    return sorted(name for name in written.keys() | found.keys() if written.get(name) != found.get(name))


def _write(folder: Path, form: Path, options: ServiceOptions, loaded: form_module.Form) -> None:
    shutil.copytree(form, folder / "form")
    for module in (encoding_module, form_module):
        source = Path(str(module.__file__))
        shutil.copyfile(source, folder / source.name)
    (folder / "app.py").write_text(_template("app.py"), encoding="utf-8")
    (folder / "serve.py").write_text(_template("serve.py"), encoding="utf-8")
    (folder / "service.json").write_text(json.dumps(asdict(options), indent=1) + "\n", encoding="utf-8")
    (folder / "constraints.txt").write_text(pins(loaded.kind, loaded.reads_frames), encoding="utf-8")
    system = LIBGOMP if loaded.kind in ("native", "pickle") else ""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    docker = _template("Dockerfile").format(python=python, system=system)
    (folder / "Dockerfile").write_text(docker, encoding="utf-8")
    (folder / ".dockerignore").write_text("venv\n__pycache__\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(options, loaded), encoding="utf-8")
    (folder / "MANIFEST.json").write_text(json.dumps(manifest(folder), indent=1) + "\n", encoding="utf-8")
    for place in (folder, folder / "form"):  # a container's user is not the one who packaged
        place.chmod(0o755)


def _readme(options: ServiceOptions, loaded: form_module.Form) -> str:
    row = dict(options.example)
    encoding = Encoding.from_json(loaded.encoding)
    asked: Any = encoding.row(row)
    if loaded.reads_frames:
        import pandas

        asked = pandas.DataFrame([row], columns=[column.name for column in encoding.columns])
    return _template("README.md").format(
        name=options.name,
        meaning=options.meaning,
        kind=loaded.kind,
        example=json.dumps(dict(options.example)).replace("'", "'\\''"),
        answer=json.dumps({"prediction": loaded.predict(asked)[0].tolist()}),
        most_rows=options.most_rows,
        most_bytes=options.most_bytes,
    )


def _replace(building: Path, to: Path) -> None:
    if not to.exists():
        os.replace(building, to)
        return
    before = Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{to.name}-before-"))
    os.replace(to, before / to.name)
    try:
        os.replace(building, to)
    except OSError:
        os.replace(before / to.name, to)
        raise
    finally:
        shutil.rmtree(before, ignore_errors=True)


def _template(name: str) -> str:
    return (resources.files(__package__) / "templates" / f"{name}.txt").read_text(encoding="utf-8")
