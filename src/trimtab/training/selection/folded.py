"""tune, on rows in memory: the race climbs over rows and trees, then over folds. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from trimtab.core.model import Evidence, Ladder, Measurement, Objective, Rung, Sample
from trimtab.training.selection.evidence import facts
from trimtab.training.selection.fits import HOLDOUT, Fits
from trimtab.training.selection.folds import Layout, Places, flattened, most_pieces
from trimtab.training.selection.measure import FEWEST_ROWS
from trimtab.training.selection.plan import DEFAULT, ModelPlan
from trimtab.training.selection.portfolio import BLENDS, LINEAR_LEAVES, LOG, NETWORKS, SYMMETRIC
from trimtab.training.selection.problem import BLOCKS, LARGEST_LOOK, LEAST_BLOCK_ROWS, LEAST_ROWS
from trimtab.training.selection.scoring import Scoring, is_defined

KEPT = 0.25  # of the plans that were looked at on one fold: each further one is as dear as the first


@dataclass(frozen=True, eq=False)
class Folded:
    """Choose a model for a table by its folds. Default LightGBM is the current plan."""

    fits: Fits
    scoring: Scoring
    search_parts: tuple[tuple[Places, ...], ...]  # of each fold: what plans are compared on, pair by pair
    holdout_parts: tuple[Places, ...]
    name: str = "tune"

    @property
    def goal(self) -> str:
        return f"predict with the best {self.scoring.name} on rows not seen yet"

    @property
    def plan_type(self) -> type[ModelPlan]:
        return ModelPlan

    @property
    def objective(self) -> Objective:
        return Objective("score", "max", unit=self.scoring.name)

    @property
    def ladder(self) -> Ladder:
        pieces, folds = len(self.search_parts[0]), len(self.search_parts)
        rungs = [Rung(1.0, pieces)]
        count = len(self.fits.folds.search[0][0])
        if count >= LEAST_ROWS:
            rungs.insert(0, Rung(min(LARGEST_LOOK, FEWEST_ROWS / count), pieces))
        if folds > 1:
            rungs.append(Rung(1.0, pieces * folds))
        # A network or a twin may lose alone and win in a blend; a blend costs nothing where its members are known.
        always = {NETWORKS, BLENDS, LOG.by, LINEAR_LEAVES.by}
        # Symmetric trees are dear: of them, a first look that is cheap decides.
        always |= {SYMMETRIC} if rungs[0].fraction == 1.0 else set()
        held = len(self.holdout_parts)
        return Ladder(tuple(rungs), held, finalists=1, keep=KEPT, least=1, steadiest="models", always=frozenset(always))

    def observe(self) -> Evidence:
        """What the rows that may be searched on show: statistics only."""
        shown = facts(self.fits.pool.dataset, self.scoring.name, "")
        return Evidence(shown, "rows in memory", datetime.now(UTC))

    def baselines(self) -> Mapping[str, ModelPlan]:
        """LightGBM as it comes."""
        return {"current": DEFAULT}

    def measure(self, plan: ModelPlan, sample: Sample) -> Measurement:
        """The score on one part of a fold; the fit behind it is shared by the fold's parts."""
        pieces = len(self.search_parts[0])
        fold = HOLDOUT if sample.split == "holdout" else sample.seed // pieces
        parts = self.holdout_parts if fold == HOLDOUT else self.search_parts[fold]
        fit = self.fits.fit(plan, fold, sample.fraction)
        scored_on = self.fits.folds.holdout if fold == HOLDOUT else self.fits.folds.search[fold][1]
        part = parts[sample.seed % len(parts)]
        predicted = fit.predicted[_within(scored_on, part)]
        return Measurement(
            {
                "score": self.scoring(part, predicted),
                "train_cpu_seconds": fit.train_cpu_seconds,
                "predict_us_per_row": fit.predict_us_per_row,
                "rounds": float(sum(fit.rounds)),
                "models": float(len(set(plan.members))),
            },
            "run",
        )


def _within(places: Places, part: Places) -> Places:
    """Where the places of a part stand among the sorted ones."""
    return places.searchsorted(part)


def folded(fits: Fits, scoring: Scoring, layout: Layout) -> Folded | None:
    """The problem, with as many parts as the rows and the metric allow; None when the metric is not defined on any."""
    folds = fits.folds

    def searched(count: int) -> list[list[Places]]:
        return [layout.parts(valid, count) for _, valid in folds.search]

    def confirmed(count: int) -> list[Places]:
        return layout.parts(folds.holdout, count)

    fewest = min(len(valid) for _, valid in folds.search)
    # Pairs are compared: of a single fold there are two parts at the least.
    most = max(2 if len(folds.search) == 1 else 1, min(BLOCKS, fewest // LEAST_BLOCK_ROWS))
    pieces = most_pieces(lambda count: flattened(searched(count)), lambda parts: is_defined(scoring, parts), most)
    on_holdout = most_pieces(
        confirmed, lambda parts: is_defined(scoring, parts), max(3, min(BLOCKS, len(folds.holdout) // LEAST_BLOCK_ROWS))
    )
    if not pieces or on_holdout < 2 or pieces * len(folds.search) < 2:
        return None
    return Folded(fits, scoring, tuple(tuple(one) for one in searched(pieces)), tuple(confirmed(on_holdout)))
