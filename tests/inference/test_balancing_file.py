"""`balance_file`: a log in, a policy out; bad input is said clearly before anything is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trimtab.core.errors import InputError
from trimtab.inference.balancing.measure import Fleet
from trimtab.stages import balance
from trimtab.stages.balance import balance_file, on


def log(folder: Path, count: int = 4000, share: float = 0.8) -> Path:
    rng = np.random.default_rng(0)
    times, needs = np.cumsum(rng.exponential(0.02 / 8 / share, count)), 0.02 * rng.lognormal(-0.5, 1, count)
    to = folder / "requests.csv"
    lines = [f"{time:.6f},{need:.6f}" for time, need in zip(times, needs, strict=True)]
    to.write_text("time,seconds\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return to


def test_a_log_alone_gives_a_policy_beside_the_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(balance, "SEARCH_SECONDS", 6.0)
    result = balance_file(log(tmp_path), Fleet(8, 4, 1))
    assert result.facts["ratio_to_oracle"] >= 1.0
    assert {"current", "p2c", "prequal", "chosen"} <= set(result.facts["ways"])
    assert "def pick(" in str(result.facts["program"])


@pytest.mark.parametrize(
    ("fleet", "load", "says"),
    [
        (Fleet(4, 4, 1), 0.0, "× what 4 backends can do"),
        (Fleet(0, 4, 1), 0.0, "0 backends"),
        (Fleet(8, 0, 1), 0.0, "0 routers"),
        (Fleet(8, 4, 1), 1.5, "load of 1.5"),
    ],
)
def test_says_what_cannot_be_replayed(tmp_path: Path, fleet: Fleet, load: float, says: str) -> None:
    with pytest.raises(InputError, match=says):
        balance_file(log(tmp_path), fleet, load=load)


@pytest.mark.parametrize("speeds", ["", "fast", "1,0", "1,-1", "nan"])
def test_speeds_are_positive_numbers(speeds: str) -> None:
    with pytest.raises(InputError, match="no speeds"):
        on(Fleet(), speeds)
