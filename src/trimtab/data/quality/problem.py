"""check: which repairs and drops make the downstream model better on rows that it has not seen."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.adapters.models import boosting
from trimtab.adapters.models.learn_encoding import encode, learn
from trimtab.adapters.models.metrics import GOAL, score
from trimtab.adapters.sources.dataset import Dataset, DataSpec, Part, blocks, load, part
from trimtab.core.budget import Stopwatch
from trimtab.core.model import Brief, Evidence, Json, Ladder, Measurement, Objective, Proposal, Rung, Sample
from trimtab.core.ports import Capability
from trimtab.core.wire import dump
from trimtab.data.quality.plan import Action, repair_plan
from trimtab.data.quality.repair import dropped, repaired

BLOCKS = 8


@dataclass(frozen=True)
class Repairs:
    """Choose repairs of a table. The judge is LightGBM as it comes, trained on the repaired rows."""

    data: DataSpec
    metric: str
    actions: tuple[Action, ...]
    threads: int = 1
    first_look: float = 0.3
    name: str = "check"
    goal: str = "repair the table so that models learn more from it"

    @property
    def plan_type(self) -> Any:
        return repair_plan(tuple(one.name for one in self.actions))

    @property
    def objective(self) -> Objective:
        return Objective(self.metric, GOAL[self.metric], unit=self.metric)

    @property
    def ladder(self) -> Ladder:
        return Ladder((Rung(self.first_look, BLOCKS), Rung(1.0, BLOCKS)), holdout_seeds=BLOCKS, finalists=3)

    def observe(self) -> Evidence:
        """The actions on offer, and why."""
        facts: dict[str, Json] = {one.name: one.because[:200] for one in self.actions[:40]}
        return Evidence({"actions": facts, "metric": self.metric}, Path(self.data.table).name, datetime.now(UTC))

    def baselines(self) -> Mapping[str, Any]:
        """The table as it is, all repairs, and all drops."""
        plan = self.plan_type
        plans = {"current": plan()}
        for name, kinds in (("all-repairs", ("void",)), ("all-drops", ("drop",)), ("everything", ("void", "drop"))):
            chosen = tuple(one.name for one in self.actions if one.kind in kinds)
            if chosen and plan(chosen) not in plans.values() and len(self.usable(chosen)) > 0:
                plans[name] = plan(chosen)
        return plans

    def measure(self, plan: Any, sample: Sample) -> Measurement:
        """The metric on one block; one fit serves all blocks."""
        is_search = sample.split == "search"
        rows: Part = "valid" if is_search else "holdout"
        fitted = _fitted(self, tuple(plan.actions), is_search, sample.fraction)
        scored = part(load(self.data), self.data, rows)
        place = blocks(len(scored), BLOCKS)[sample.seed % BLOCKS]
        metrics = {
            self.metric: score(self.metric, scored.y[place], fitted.predicted[place]),
            "train_cpu_seconds": fitted.cpu_seconds,
            "columns": float(fitted.columns),
        }
        return Measurement(metrics, "run")

    def chosen(self, names: Sequence[str]) -> tuple[Action, ...]:
        """The actions of these names, in the problem's order."""
        return tuple(one for one in self.actions if one.name in names)

    def usable(self, names: Sequence[str]) -> tuple[str, ...]:
        """The columns that are left after these actions."""
        gone = dropped(self.chosen(names))
        return tuple(name for name in load(self.data).names if name not in gone)


@dataclass(frozen=True)
class _Fit:
    predicted: npt.NDArray[np.float64]
    cpu_seconds: float
    columns: int


@functools.lru_cache(maxsize=64)
def _fitted(problem: Repairs, names: tuple[str, ...], is_search: bool, fraction: float) -> _Fit:
    rows: tuple[Part, Part] = ("train", "valid") if is_search else ("search", "holdout")
    actions, usable = problem.chosen(names), problem.usable(names)
    if not usable:
        raise ValueError("no column is left")
    train, scored = (_repaired(part(load(problem.data), problem.data, one), actions) for one in rows)
    if fraction < 1:
        train = train.take(np.flatnonzero(np.random.default_rng(0).random(len(train)) < fraction))
    encoding = learn(train, usable)
    watch = Stopwatch()
    training = boosting.Training(train.task, max(2, len(train.classes)), threads=problem.threads)
    booster = boosting.fit(encode(train, encoding), train.y, training, categorical=encoding.categorical_features)
    seconds = watch.read().cpu_seconds
    return _Fit(np.asarray(booster.predict(encode(scored, encoding)), float), seconds, len(usable))


def _repaired(rows: Dataset, actions: tuple[Action, ...]) -> Dataset:
    return replace(rows, table=repaired(rows.table, actions))


def ideas(brief: Brief[Any]) -> Sequence[Proposal[Any]]:
    """Each action alone, then those together that gained when they were tried alone."""
    names = _names(brief)
    return [Proposal(brief.plan_type((name,)), "each-alone", f"only: {name}") for name in names]


class Greedy:
    """Adds, one at a time, the action that gained most alone to the best plan so far; stops when it gains no more."""

    name = "greedy"

    def propose(self, brief: Brief[Any]) -> Sequence[Proposal[Any]]:
        """The best plan so far with one more of the actions that helped alone."""
        gains = {trial.proposal.plan.actions: _gain(trial.verdict) for trial in brief.history}
        helped = [name for name in _names(brief) if gains.get((name,), -1.0) > 0]
        helped.sort(key=lambda name: -gains[(name,)])
        best = max(gains, key=lambda actions: gains[actions], default=())
        for name in helped:
            more = tuple(one for one in _names(brief) if one in best or one == name)
            if name not in best and more not in gains:
                return [Proposal(brief.plan_type(more), self.name, f"with {name} as well")]
        return ()


def _names(brief: Brief[Any]) -> tuple[str, ...]:
    from trimtab.core.space import Subset, knobs

    (knob,) = knobs(brief.plan_type)
    return knob.range.values if isinstance(knob.range, Subset) else ()


def _gain(verdict: Any) -> float:
    return float(verdict.gain.mid) if hasattr(verdict, "gain") and verdict.ruling != "unsafe" else float("-inf")


def as_json(actions: Sequence[Action]) -> list[Json]:
    """Actions for the ledger."""
    return [dump(one) for one in actions]


def _sample(folder: Path, seed: int) -> Repairs:
    """Three columns that tell something, one with errors and one of noise, drawn by the seed."""
    import pyarrow as pa
    import pyarrow.parquet

    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1500, 3))
    y = (x[:, 0] + x[:, 1] + rng.normal(0, 1, 1500) > 0).astype(int)
    wrong = np.where(rng.random(1500) < 0.01, -999.0, x[:, 1])
    to = folder / f"repairs-{seed}.parquet"
    pyarrow.parquet.write_table(pa.table({"a": x[:, 0], "b": wrong, "noise": x[:, 2], "y": y}), to)
    actions = (Action("drop", "noise", "noise"), Action("void", "b", "outlying", -10.0, 10.0))
    data = DataSpec(str(to), "y", search_share=0.6, holdout_share=0.3, fingerprint=str(seed))
    return Repairs(data, "log_loss", actions, first_look=0.5)


CAPABILITY = Capability("check", Repairs, _sample)
