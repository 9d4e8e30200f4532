"""tune on rows in memory: what `trimtab.Tuner` does once its input is checked.

First default LightGBM is trained on everything: that is the answer when the budget ends there. Then plans race on folds
of four fifths of the rows, the best meets the default on the last fifth, and what is chosen is trained on everything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import numpy as np
from scipy.stats import skew

from trimtab.adapters.models.artifact import Fitted
from trimtab.core.budget import Meter, Stopwatch
from trimtab.core.errors import InputError
from trimtab.core.events import Event, Judged, Recorded
from trimtab.core.loop import optimize
from trimtab.core.model import Brief, Comparison, Decision, Interval, Proposal
from trimtab.core.space import settle
from trimtab.core.wire import load
from trimtab.hooks.session import cores
from trimtab.proposers.enough import Enough
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Before, Derived, Rules
from trimtab.proposers.search import Search
from trimtab.training.selection.fits import Fits, require_room
from trimtab.training.selection.fitting import DEFAULT_ROUNDS, Pool, Request, Rows, Trained, train
from trimtab.training.selection.folded import Folded, folded
from trimtab.training.selection.given import LEAST_ROWS, Given
from trimtab.training.selection.greedy import Greedy
from trimtab.training.selection.memory import busy_cores, threads_for
from trimtab.training.selection.network import expected_seconds
from trimtab.training.selection.plan import DEFAULT, SEARCHED, ModelPlan
from trimtab.training.selection.portfolio import (
    BLENDS,
    HIDDEN,
    LINEAR_LEAVES,
    LOG,
    RANKED,
    WORDED,
    Terms,
    Twin,
    blends,
    network,
    portfolio,
    refinements,
    symmetric,
    twins,
)
from trimtab.training.selection.scoring import Scoring
from trimtab.training.selection.symmetric import WORDS_TIMES, is_installed
from trimtab.training.selection.symmetric import expected_seconds as symmetric_seconds

E = TypeVar("E", bound=Event)

FIRST_SHARE = 0.5  # of the budget: what default LightGBM may take before anything is compared
SEARCH_SHARE = 0.65  # of what is left then; the rest trains the winner on every row
CHECK_SHARE = 0.2
MORE_WORK = 2.0  # times what a fold's training cost: the last ones, on 1.6 times the rows, take more rounds
ENOUGH_PLANS = 15  # to compare, before any is looked at on several folds
SIZES = (2, 3, 4, 6, 8)  # of blends
NETWORK_SHARE, SYMMETRIC_SHARE = 0.1, 0.15  # of the budget, on all folds
PLAN_PRICE = 2.0  # what a plan of the portfolio costs on a fold, in trainings of default LightGBM on every row
SIMPLE = ModelPlan(family="linear")


@dataclass(frozen=True)
class Effort:
    """What may be spent: CPU seconds, plans to train (None: any number), threads (None: as many as pay)."""

    budget: float
    trials: int | None = None
    threads: int | None = None
    seed: int = 0

    def left(self, watch: Stopwatch) -> float:
        """CPU seconds of the budget; none where a count of trials ends the search, so that it repeats."""
        return self.budget - watch.read().cpu_seconds if self.trials is None else 0.0


@dataclass(frozen=True)
class TuningReport:
    """What a search cost and what it found. CPU seconds of this process.

    `oracle_cpu_seconds`: training what was chosen once, all its models, for one who had known it. `gain`: over default
    LightGBM on rows that nothing was chosen on; None where nothing was compared. `is_confirmed`: its interval lies
    above zero.
    """

    spent_cpu_seconds: float
    oracle_cpu_seconds: float
    trials: int
    metric: str
    gain: Interval | None
    is_confirmed: bool
    stopped: str
    notes: tuple[str, ...]

    @property
    def multiple(self) -> float:
        """Everything that was spent, in trainings of the chosen plan."""
        return self.spent_cpu_seconds / max(self.oracle_cpu_seconds, 1e-9)

    def __str__(self) -> str:
        lines = [
            f"{self.trials} plans in {self.spent_cpu_seconds:.1f} CPU-s: {self.multiple:.1f} times the "
            f"{self.oracle_cpu_seconds:.2f} CPU-s of training the chosen one once; {self.stopped}"
        ]
        if self.gain is not None:
            how = "confirmed" if self.is_confirmed else "not confirmed"
            low, mid, high = self.gain.low, self.gain.mid, self.gain.high
            lines.append(f"{self.metric} {mid:+.4g} over default LightGBM ({low:+.4g} to {high:+.4g}), {how}")
        return "\n".join([*lines, *self.notes])


@dataclass(frozen=True)
class Tuned:
    """The model, trained on every row."""

    model: Fitted
    plan: ModelPlan
    report: TuningReport


@dataclass(frozen=True)
class Chosen:
    """A plan, and what the holdout said of it."""

    plan: ModelPlan
    stopped: str
    notes: tuple[str, ...] = ()
    gain: Interval | None = None
    is_confirmed: bool = False
    trials: int = 0


class Unwritten:
    """A ledger of a search that leaves nothing behind: events as they are, neither hashed nor written."""

    def __init__(self) -> None:
        self._rows: list[Recorded[Event]] = []

    def append(self, *events: Event) -> None:
        """Append events in order."""
        for event in events:
            self._rows.append(Recorded(len(self._rows) + 1, datetime.now(UTC), "", event))

    def events(self, kind: type[E], *, study: str | None = None) -> Iterator[Recorded[E]]:
        """Events of one kind, oldest first."""
        return (cast(Recorded[E], row) for row in self._rows if isinstance(row.event, kind))


def tune_rows(made: Given, scoring: Scoring, effort: Effort, watch: Stopwatch) -> Tuned:
    """Search, confirm and train, within the effort; `watch` began with the work. Raises InputError."""
    threads = effort.threads or threads_for(len(made.rows) * len(made.rows.names), cores(), busy_cores())
    if len(made.rows) < LEAST_ROWS:
        trained = train(Rows.of(made.rows), Request(SIMPLE, scoring.loss))
        chosen = Chosen(SIMPLE, f"fewer than {LEAST_ROWS} rows: a linear model, compared with nothing")
        return _tuned(trained, watch.read().cpu_seconds, chosen, scoring, watch)
    pool, most = Pool(made.rows), FIRST_SHARE * effort.budget
    require_room(pool, len(made.rows), DEFAULT)
    first, cost = _timed(Rows(pool), Request(DEFAULT, scoring.loss, threads=threads, most_cpu_seconds=most))
    left = effort.budget - watch.read().cpu_seconds
    if cost >= most or left <= 0:
        return _tuned(first, cost, Chosen(DEFAULT, _too_little(effort, first)), scoring, watch)
    fits = Fits(pool, made.folds(_affordable_folds(effort, left, cost)), scoring.loss, threads)
    chosen = _searched(fits, scoring, made, replace(effort, budget=left))
    if chosen.plan == DEFAULT:
        return _tuned(first, cost, chosen, scoring, watch)
    before = watch.read().cpu_seconds
    trained = fits.final(chosen.plan, {settle(DEFAULT): first}, lambda: effort.left(watch))
    return _tuned(trained, watch.read().cpu_seconds - before, chosen, scoring, watch)


def _timed(rows: Rows, request: Request) -> tuple[Trained, float]:
    watch = Stopwatch()
    trained = train(rows, request)
    return trained, watch.read().cpu_seconds


def _affordable_folds(effort: Effort, left: float, cost: float) -> float:
    """On how many folds enough plans can be looked at; any number where a count of trials, not the budget, ends it."""
    if effort.trials is not None:
        return math.inf
    return SEARCH_SHARE * left / (ENOUGH_PLANS * PLAN_PRICE * max(cost, 1e-9))


def _tuned(trained: Trained, oracle: float, chosen: Chosen, scoring: Scoring, watch: Stopwatch) -> Tuned:
    spent = watch.read().cpu_seconds
    report = TuningReport(
        spent, oracle, chosen.trials, scoring.name, chosen.gain, chosen.is_confirmed, chosen.stopped, chosen.notes
    )
    return Tuned(trained.fitted, chosen.plan, report)


def _too_little(effort: Effort, trained: Trained) -> str:
    trees = f"default LightGBM, {sum(trained.rounds)} of {DEFAULT_ROUNDS} rounds"
    return f"the budget of {effort.budget:g} CPU-s is less than one comparison costs: {trees}"


def _searched(fits: Fits, scoring: Scoring, made: Given, effort: Effort) -> Chosen:
    """Race, and take the best plan that is no worse than the default on the holdout."""
    problem = folded(fits, scoring, made.layout)
    if problem is None:
        raise InputError(
            f"the metric {scoring.name!r} is NaN or not defined on parts of these rows",
            hint="name another scoring, or see that each class has enough rows",
        )
    ledger = Unwritten()
    decision = optimize(
        problem,
        _proposer(effort, problem),
        search=Meter(cpu_seconds=SEARCH_SHARE * effort.budget),
        check=Meter(cpu_seconds=CHECK_SHARE * effort.budget),
        ledger=ledger,
        seed=effort.seed,
    )
    if decision.stopped.startswith("the current plan could not be measured"):
        raise InputError(f"default LightGBM was not scored: {decision.stopped}", hint="check `scoring` on its own")
    return _chosen(decision, ledger)


def _proposer(effort: Effort, problem: Folded) -> Enough:
    """Known plans, blends of what does well and steps from it, then classical search."""
    affordable = (1 - SEARCH_SHARE) * effort.budget / MORE_WORK if effort.trials is None else math.inf
    terms = Terms(affordable, SIZES, are_mixed=problem.fits.rows.task != "ranking")
    kinds, has_network = _twins(problem.fits, problem.scoring), _can_have_network(effort, problem.fits)
    grown = _symmetric(effort, problem.fits, LOG in kinds)
    watch = Stopwatch()
    # Where a count of trials ends the search, no time decides anything, so that it repeats.
    greedy = Greedy(problem, terms, lambda: watch.read().cpu_seconds if effort.trials is None else math.inf)

    def joined(brief: Brief[Any]) -> list[Proposal[ModelPlan]]:
        networks = network(brief) if has_network else ()
        return [
            *twins(brief, kinds),
            *symmetric(brief, grown),
            *networks,
            *blends(brief, terms),
            *greedy.propose(brief),
        ]

    known = Rules("portfolio", portfolio, batch=1)
    search = Search(seed=effort.seed, startup=4, fixed=SEARCHED)
    ideas = Portfolio(known, search=search, derived=Derived("steps", refinements))
    return Enough(Before(Derived("blends", joined), ideas), most=effort.trials, free={BLENDS})


def _twins(fits: Fits, scoring: Scoring) -> list[Twin]:
    """How else boosted models of this target may be taught. LightGBM's linear leaves know squared errors only."""
    if fits.rows.task != "regression":
        return []
    return [*([LOG] if _is_skewed(fits) else []), *([LINEAR_LEAVES] if scoring.loss != "mae" else [])]


def _can_have_network(effort: Effort, fits: Fits) -> bool:
    """Whether one is cheap beside the budget, on all folds. Rankings have none."""
    if fits.rows.task == "ranking":
        return False
    rows = sum(len(trained_on) for trained_on, _ in fits.folds.search)
    return expected_seconds(rows, fits.pool.encoding, HIDDEN) <= NETWORK_SHARE * effort.budget


def _symmetric(effort: Effort, fits: Fits, has_logs: bool) -> list[ModelPlan]:
    """Which symmetric trees are cheap beside the budget, on all folds. Rankings have none."""
    if fits.rows.task == "ranking" or not is_installed():
        return []
    outputs = len(fits.rows.classes) if fits.rows.task == "multiclass" else 1
    price = sum(symmetric_seconds(len(trained_on), fits.pool.x, outputs) for trained_on, _ in fits.folds.search)
    most = SYMMETRIC_SHARE * effort.budget
    if price > most:
        return []
    has_words = fits.pool.encoding.categorical_features and WORDS_TIMES * price <= most
    return [RANKED, *([LOG.of(RANKED)] if has_logs else []), *([WORDED] if has_words else [])]


def _is_skewed(fits: Fits) -> bool:
    """Whether a target above zero lies more evenly by its logarithm, in the rows that are searched on."""
    if fits.rows.y.min() <= 0:
        return False
    seen = fits.pool.dataset.y
    return seen.min() < seen.max() and abs(float(skew(np.log(seen)))) < abs(float(skew(seen)))


def _chosen(decision: Decision[ModelPlan], ledger: Unwritten) -> Chosen:
    """The finalist, if it does no worse than the default by what was measured; the default otherwise."""
    on_holdout = [
        one.event
        for one in ledger.events(Judged)
        if isinstance(one.event.verdict, Comparison) and one.event.verdict.split == "holdout"
    ]
    count = sum(one.proposal.by != BLENDS for one in decision.trials)
    if not on_holdout:
        notes = (*decision.notes, "nothing better than default LightGBM was found")
        return Chosen(DEFAULT, decision.stopped, notes, trials=count)
    best = on_holdout[0]
    assert isinstance(best.verdict, Comparison)
    plan, gain = load(ModelPlan, best.plan), best.verdict.gain
    searched = {one.proposal.plan: one.verdict.gain for one in decision.trials if isinstance(one.verdict, Comparison)}
    if _pooled(searched[plan], gain) <= 0:
        notes = (*decision.notes, "by all that was measured the best plan did no better: default LightGBM is kept")
        return Chosen(DEFAULT, decision.stopped, notes, gain, trials=count)
    return Chosen(plan, decision.stopped, decision.notes, gain, best.verdict.ruling == "better", count)


def _pooled(searched: Interval, confirmed: Interval) -> float:
    """The gain by all that was measured: each part counts as much as its interval is narrow.

    That the best of many looks better than it is, is not taken off: on each of 25 sets what was taken did better than
    the default on rows that nothing was chosen on (`benchmarks/training/members.md`), two against the holdout's word.
    """
    weights = [1 / max(1e-12, one.high - one.low) ** 2 for one in (searched, confirmed)]
    return (weights[0] * searched.mid + weights[1] * confirmed.mid) / sum(weights)
