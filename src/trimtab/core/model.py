"""The nouns of the loop, all frozen. They know nothing of how a plan is measured, judged or stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Generic, Literal, TypeAlias, TypeVar

P = TypeVar("P")

Json: TypeAlias = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Method: TypeAlias = Literal["run", "replay", "simulation"]
Split: TypeAlias = Literal["search", "holdout"]

_PEAKS = frozenset({"peak_rss_bytes", "peak_gpu_bytes"})


@dataclass(frozen=True, slots=True)
class Spend:
    """What something cost. Adding two spends sums every field but the peaks, of which the larger counts."""

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    dollars: float = 0.0
    tokens: int = 0
    measurements: int = 0
    peak_rss_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    run_delay_seconds: float = 0.0  # runnable, but waiting for a core
    gpu_seconds: float = 0.0  # of GPUs held, busy or not
    peak_gpu_bytes: int = 0  # on all GPUs

    def __add__(self, other: Spend) -> Spend:
        return Spend(
            *(
                max(mine, theirs) if name in _PEAKS else mine + theirs
                for name, mine, theirs in (
                    (one.name, getattr(self, one.name), getattr(other, one.name)) for one in fields(Spend)
                )
            )
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """What a plan is measured on. The same sample means the same rows, seed and trace window for every plan."""

    split: Split
    seed: int
    fraction: float = 1.0  # below 1: a cheaper look

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction must be in (0, 1], not {self.fraction}")


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of a race: every plan on it is measured on seeds 0 … seeds-1 at this fraction."""

    fraction: float = 1.0
    seeds: int = 5


@dataclass(frozen=True, slots=True)
class Ladder:
    """How carefully plans are looked at: cheap rungs first, then the holdout.

    `interleaved`: measurements are noisy real runs, so comparisons measure their own current arm, in ABBA order: on the
    holdout each one, in the search some neighbours together.
    `steadiest`: a metric; of plans whose gain lies within `TIE` of the best one's interval, the one with the most of it
    is confirmed first. The best of many near equals is best by luck: what is steadier loses less on new data.
    """

    rungs: tuple[Rung, ...] = (Rung(),)
    holdout_seeds: int = 5
    finalists: int = 3
    keep: float = 1 / 3  # share of the plans on a rung that may climb
    least: int = 2  # of the plans on a rung: so many may climb, however few there are
    interleaved: bool = False
    steadiest: str = ""
    always: frozenset[str] = frozenset()  # proposers whose plans all climb, and take no other's place


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was observed, at most 8 kB as JSON, so that it fits a prompt."""

    facts: Mapping[str, Json]
    source: str
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Guardrail:
    """What must not get worse.

    Absolute: the mean of `metric` stays at most/least `bound`. Relative: its paired difference from the current plan
    stays within `bound`, at the stated confidence once on the holdout: a difference in the metric's own unit, or with
    `scale="ratio"` a share of it (positive metrics, such as times, whose noise grows with them).
    """

    metric: str
    bound: float
    side: Literal["at_most", "at_least"]
    relative: bool = False
    scale: Literal["difference", "ratio"] = "difference"


@dataclass(frozen=True, slots=True)
class Objective:
    """The metric to improve. `scale="ratio"`: gains are shares saved (positive metrics); else plain differences."""

    metric: str
    goal: Literal["min", "max"]
    guardrails: tuple[Guardrail, ...] = ()
    margin: float = 0.0  # a gain at or below it is not worth a change
    scale: Literal["difference", "ratio"] = "difference"
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided confidence interval around a paired mean gain; positive is better."""

    low: float
    mid: float
    high: float
    confidence: float = 0.95

    @property
    def standard_error(self) -> float:
        """Nearly: an interval of 95 % is four of them wide."""
        return (self.high - self.low) / 4


@dataclass(frozen=True, slots=True)
class Proposal(Generic[P]):
    """An idea, who had it, and why."""

    plan: P
    by: str
    because: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One plan on one sample."""

    metrics: Mapping[str, float]
    method: Method
    cost: Spend = field(default_factory=Spend)
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A plan that could not be measured is an outcome, too."""

    reason: str
    cost: Spend = field(default_factory=Spend)


Outcome: TypeAlias = Measurement | Failure


@dataclass(frozen=True, slots=True)
class Comparison:
    """A plan against the current one on the same samples."""

    ruling: Literal["better", "no_better", "unsafe"]
    reason: str
    gain: Interval
    metrics: Mapping[str, float]  # means over the samples, of the plan
    reference: Mapping[str, float]  # means over the same samples, of the current plan
    method: Method
    split: Split = "search"
    samples: int = 0
    notes: str = ""
    fraction: float = 1.0  # of the samples; verdicts of different fractions do not compare


@dataclass(frozen=True, slots=True)
class Refusal:
    """A plan that was never compared: outside its space, or it could not be measured."""

    ruling: Literal["invalid", "failed"]
    reason: str


Verdict: TypeAlias = Comparison | Refusal


@dataclass(frozen=True, slots=True)
class Trial(Generic[P]):
    """A proposal and its verdict."""

    proposal: Proposal[P]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Decision(Generic[P]):
    """What the loop concludes. `winner is None` means: keep the current plan.

    `baselines` holds, by name, the verdict of each baseline on the holdout; `spent` is search plus check.
    """

    id: str
    study: str
    problem: str
    current: P
    winner: Trial[P] | None
    trials: tuple[Trial[P], ...]
    baselines: Mapping[str, Verdict]
    spent: Spend
    stopped: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Brief(Generic[P]):
    """All that a proposer may know: no problem object, hence no measuring off the budget and no holdout."""

    goal: str
    plan_type: type[P]
    current: P
    objective: Objective
    evidence: Evidence
    history: tuple[Trial[P], ...]
    left: Spend
    seed: int = 0
