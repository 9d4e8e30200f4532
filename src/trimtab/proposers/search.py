"""Classical search: Optuna's TPE over the knobs of any plan type, deterministic given the history."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from trimtab.core.model import Brief, Comparison, Proposal, Trial
from trimtab.core.space import Choice, Float, Int, Knob, Source, Subset, faults, knobs, settle

P = TypeVar("P")

MOST_SWITCHES = 64  # names of one Subset knob; beyond, whole subsets are drawn by rules only
UNSAFE_PENALTY = 1e7
CHEAP_PENALTY = 1e6  # for a look at nothing; TPE reads ranks only: a plan that climbed stands above one that did not
TRIES = 20


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
        self._open()
        for trial in brief.history[self._told :]:
            self._tell(trial, space)
        self._told = len(brief.history)
        seen = {brief.current, *(trial.proposal.plan for trial in brief.history)}
        return [Proposal(self._new(brief, space, seen), self.name) for _ in range(self._batch)]

    def _new(self, brief: Brief[P], space: Sequence[Knob], seen: set[P]) -> P:
        """A plan that is not in the history, if a few tries find one: a small space repeats itself."""
        for _ in range(TRIES):
            plan = self._ask(brief, space)
            if plan not in seen:
                break
        seen.add(plan)
        return plan

    def _open(self) -> None:
        if self._study is not None:
            return
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # grouped TPE still calls itself so
            sampler = optuna.samplers.TPESampler(
                seed=self._seed, n_startup_trials=self._startup, multivariate=True, group=True
            )
        self._study = optuna.create_study(direction="maximize", sampler=sampler)

    def _ask(self, brief: Brief[P], space: Sequence[Knob]) -> P:
        trial = self._study.ask()
        values: dict[str, Any] = {
            name: getattr(brief.current, name)
            for name in brief.current.__dataclass_fields__  # type: ignore[attr-defined]
        } | self._fixed
        for knob in space:
            values[knob.name] = _suggest(trial, knob) if knob.matters(values) else knob.default
        # What became of it is told from the history, with the plans of other proposers.
        self._study.tell(trial, state=_fail())
        return settle(brief.plan_type(**values))

    def _tell(self, trial: Trial[Any], space: Sequence[Knob]) -> None:
        import optuna

        verdict, plan = trial.verdict, trial.proposal.plan
        if not isinstance(verdict, Comparison) or faults(plan):
            return
        if any(getattr(plan, name) != value for name, value in self._fixed.items()):
            return
        values = {knob.name: getattr(plan, knob.name) for knob in space} | self._fixed
        params: dict[str, Any] = {}
        distributions: dict[str, Any] = {}
        for knob in space:
            if knob.matters(values):
                found = _distributions(knob)
                distributions |= found
                params |= _params(knob, values[knob.name])
        # Unsafe plans are all equally bad: a larger gain must not draw the search further outside.
        is_unsafe = verdict.ruling == "unsafe"
        value = -UNSAFE_PENALTY if is_unsafe else verdict.gain.mid - CHEAP_PENALTY * (1 - verdict.fraction)
        self._study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))


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
            return trial.suggest_int(knob.name, low, high, log=log)
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
            return {knob.name: kinds.IntDistribution(low, high, log=log)}
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
