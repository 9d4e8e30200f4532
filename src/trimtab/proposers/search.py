"""Classical search: Optuna's TPE over the knobs of any plan type.

What is proposed depends on the seed and the history alone, so that a resumed study goes on as it would have.
"""

from __future__ import annotations

import dataclasses
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from trimtab.core.model import Brief, Comparison, Proposal, Trial, Verdict
from trimtab.core.space import Choice, Float, Int, Knob, Source, Subset, draw, faults, knobs, settle

P = TypeVar("P")

MOST_SWITCHES = 64  # names of one Subset knob; beyond, whole subsets are drawn by rules only
UNSAFE_PENALTY = 1e7
CHEAP_PENALTY = 1e6  # for a look at nothing; TPE reads ranks only: a plan that climbed stands above one that did not
TRIES = 8  # to get a new plan from the model
DRAWS = 200  # to draw one, where the model has settled


class Search:
    """Optuna, told of every trial in the history whoever proposed it; asks for `batch` plans at a time.

    `startup` plans come before the model of the space is trusted; `fixed` knobs keep these values, and plans with
    others are not learned from.
    """

    def __init__(
        self, *, seed: int = 0, batch: int = 1, startup: int = 8, fixed: Mapping[str, Any] | None = None
    ) -> None:
        self.name, self._fixed = "search", dict(fixed or {})
        self._seed, self._batch, self._startup = seed, batch, startup
        self._study: Any = None
        self._told = 0

    def propose(self, brief: Brief[P]) -> Sequence[Proposal[P]]:
        """The next plans to try; none when the plan type has no knobs that can be drawn."""
        space = [knob for knob in knobs(brief.plan_type) if _is_searchable(knob) and knob.name not in self._fixed]
        if not space:
            return ()
        self._open(len(brief.history))
        for trial in brief.history[self._told :]:
            self._tell(trial, space)
        self._told = len(brief.history)
        seen = {brief.current, *(trial.proposal.plan for trial in brief.history)}
        return [Proposal(self._new(brief, space, seen), self.name) for _ in range(self._batch)]

    def _new(self, brief: Brief[P], space: Sequence[Knob], seen: set[P]) -> P:
        """A plan that is not in the history, if there is one to be found: the model of a small space repeats itself."""
        for _ in range(TRIES):
            plan = self._ask(brief, space)
            if plan not in seen:
                break
        else:
            plan = self._drawn(brief, space, seen, plan)
        seen.add(plan)
        return plan

    def _drawn(self, brief: Brief[P], space: Sequence[Knob], seen: set[P], otherwise: P) -> P:
        rng = random.Random(f"{self._seed} {len(brief.history)} {len(seen)}")
        kept = {name: value for name, value in self._start(brief).items() if name not in {knob.name for knob in space}}
        draws = (draw(brief.plan_type, rng, **kept) for _ in range(DRAWS))
        return next((plan for plan in draws if plan not in seen), otherwise)

    def _start(self, brief: Brief[P]) -> dict[str, Any]:
        plan: Any = brief.current
        return {one.name: getattr(plan, one.name) for one in dataclasses.fields(plan)} | self._fixed

    def _open(self, trials: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if self._study is None or trials < self._told:  # a shorter history is that of another study
            self._study, self._told = optuna.create_study(direction="maximize"), 0
        # Seeded anew for each answer: it then depends on the history, not on how often this object was asked before.
        seed = (self._seed * 1_000_003 + trials) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # grouped TPE still calls itself so
            self._study.sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=self._startup, multivariate=True, group=True
            )

    def _ask(self, brief: Brief[P], space: Sequence[Knob]) -> P:
        trial = self._study.ask()
        values = self._start(brief)
        for knob in space:
            values[knob.name] = _suggest(trial, knob) if knob.matters(values) else knob.default
        # What became of it is told from the history, with the plans of other proposers.
        self._study.tell(trial, state=_fail())
        return settle(brief.plan_type(**values))

    def _tell(self, trial: Trial[Any], space: Sequence[Knob]) -> None:
        import optuna

        verdict, plan = trial.verdict, trial.proposal.plan
        if faults(plan):
            return
        if any(getattr(plan, name) != value for name, value in self._fixed.items()):
            return
        values = {knob.name: getattr(plan, knob.name) for knob in knobs(type(plan))}
        params: dict[str, Any] = {}
        distributions: dict[str, Any] = {}
        for knob in space:
            if knob.matters(values):
                found = _distributions(knob)
                distributions |= found
                params |= _params(knob, values[knob.name])
        told = optuna.trial.create_trial(params=params, distributions=distributions, value=_value(verdict))
        self._study.add_trial(told)


def _value(verdict: Verdict) -> float:
    # Optuna ignores failed trials, and would propose their like for ever: so they are told as the worst of all.
    # Unsafe plans are all equally bad: a larger gain must not draw the search further outside.
    if not isinstance(verdict, Comparison):
        return -2 * UNSAFE_PENALTY
    return -UNSAFE_PENALTY if verdict.ruling == "unsafe" else verdict.gain.mid - CHEAP_PENALTY * (1 - verdict.fraction)


def _is_searchable(knob: Knob) -> bool:
    if isinstance(knob.range, Source):
        return False
    return not (isinstance(knob.range, Subset) and len(knob.range.values) > MOST_SWITCHES)


def _fail() -> Any:
    import optuna

    return optuna.trial.TrialState.FAIL


def _suggest(trial: Any, knob: Knob) -> Any:
    match knob.range:
        case Int(low, high, log):
            return trial.suggest_int(knob.name, low, high, log=log and low > 0)
        case Float(low, high, log):
            return trial.suggest_float(knob.name, low, high, log=log)
        case Choice(values=values):
            return trial.suggest_categorical(knob.name, list(values))
        case Subset(values=names):
            return tuple(name for name in names if trial.suggest_categorical(f"{knob.name}:{name}", [False, True]))
        case Source():
            raise ValueError("a program cannot be searched")


def _distributions(knob: Knob) -> dict[str, Any]:
    import optuna.distributions as kinds

    match knob.range:
        case Int(low, high, log):
            return {knob.name: kinds.IntDistribution(low, high, log=log and low > 0)}
        case Float(low, high, log):
            return {knob.name: kinds.FloatDistribution(low, high, log=log)}
        case Choice(values=values):
            return {knob.name: kinds.CategoricalDistribution(list(values))}  # type: ignore[arg-type]
        case Subset(values=names):
            return {f"{knob.name}:{name}": kinds.CategoricalDistribution([False, True]) for name in names}
        case Source():
            return {}


def _params(knob: Knob, value: Any) -> dict[str, Any]:
    if isinstance(knob.range, Subset):
        return {f"{knob.name}:{name}": name in value for name in knob.range.values}
    return {knob.name: value}
