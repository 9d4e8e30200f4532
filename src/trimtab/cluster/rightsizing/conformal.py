"""Requests at a stated risk: how far pods outgrew their past, learnt from all pods' pasts and from nothing later.

Each past is cut into a shorter past and what followed it. A shape of request (a level and a margin) gets the least
factor on its margin that keeps the risk on those cuts by conformal risk control (Angelopoulos, Bates, Fisch, Lei and
Schuster, 2022): pods over, and one more, are at most the stated share of the pods and one more. Pods are exchanged, so
one pod's cuts count as one pod. Jumps come with time: what followed a cut for half as long as is asked counts twice;
without that, the next stretch, being longer, broke the promise two to three times as often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trimtab.cluster.rightsizing.looks import Series, look
from trimtab.cluster.rightsizing.rule import SIGNS, Rule, drawn, signs_of

CUTS = ((0.0, 0.5, 1.0), (0.0, 0.4, 0.8), (0.0, 0.3, 0.6), (0.1, 0.5, 0.9), (0.2, 0.6, 1.0), (0.4, 0.7, 1.0))
"""From where, until where it is past, until where it is future: shares of a pod's past."""
LEAST = 4  # samples on either side of a cut
MOST_PODS = 3000  # that a rule is learnt from: more add little, and cost time
SLIVER = 1e-9  # a margin of nothing


@dataclass(frozen=True, eq=False)
class Cut:
    """What pods looked like at a cut, and what followed, as shares of the peak before it."""

    pods: tuple[int, ...]  # places in the list of pasts
    peaks: Series  # in the unit of use
    looks: Series
    signs: Series
    peak_after: Series
    mean_after: Series
    seen: float  # how long it followed, in lengths of the past


@dataclass(frozen=True)
class Learnt:
    """A factor or rule, and the share of pods over that the cuts vouch for (above the risk when pods are too few)."""

    rule: Rule
    vouched: float


def cuts_of(pasts: Sequence[Series], floor: float, seed: int = 0) -> tuple[Cut, ...]:
    """Every cut of a list of pasts; of very many pods, a draw."""
    places = sorted(int(place) for place in np.random.default_rng(seed).permutation(len(pasts))[:MOST_PODS])
    return tuple(made for cut in CUTS if (made := _cut(pasts, places, cut, floor)) is not None)


def without(cuts: Sequence[Cut], left_out: frozenset[int]) -> tuple[Cut, ...]:
    """The cuts of the other pods."""
    kept = []
    for cut in cuts:
        rows = np.array([place not in left_out for place in cut.pods])
        if rows.any():
            pods = tuple(place for place in cut.pods if place not in left_out)
            peaks, after = cut.peaks[rows], (cut.peak_after[rows], cut.mean_after[rows])
            kept.append(Cut(pods, peaks, cut.looks[rows], cut.signs[rows], *after, cut.seen))
    return tuple(kept)


def learnt(cuts: Sequence[Cut], risk: float, *, horizon: float = 1.0, draws: int = 1500, seed: int = 0) -> Learnt:
    """Of drawn rules, each calibrated, the one that leaves least idle; `horizon`: asked for, in pasts' lengths."""
    rng = np.random.default_rng(seed)
    krr = Rule((1.0,) + (0.0,) * (len(SIGNS) - 1), factor=0.15)  # where there is nothing to learn from
    best, least = Learnt(krr, 1.0), np.inf
    for _ in range(draws if cuts else 0):
        rule = drawn(rng)
        levels = [rule.levels(cut.looks) for cut in cuts]
        margins = [level * rule.margins(cut.signs) for level, cut in zip(levels, cuts, strict=True)]
        factor, vouched = calibrated(levels, margins, cuts, risk, horizon)
        shares = [
            1.0 - cut.mean_after / (level + factor * margin)
            for cut, level, margin in zip(cuts, levels, margins, strict=True)
        ]
        idle = float(np.mean([share.mean() for share in shares]))
        if idle < least:
            best, least = Learnt(replace(rule, factor=factor), vouched), idle
    return best


def calibrated(
    levels: Sequence[Series], margins: Sequence[Series], cuts: Sequence[Cut], risk: float, horizon: float
) -> tuple[float, float]:
    """The least factor on the margins that keeps the risk, and the risk that it vouches for.

    Levels and margins are shares of the peak, cut by cut. With too few pods, the factor that no cut broke.
    """
    count = len({place for cut in cuts for place in cut.pods})
    needs = np.concatenate(
        [
            (cut.peak_after - level) / np.maximum(margin, SLIVER)
            for cut, level, margin in zip(cuts, levels, margins, strict=True)
        ]
    )
    weights = np.concatenate(
        [np.full(len(cut.pods), max(1.0, horizon / max(cut.seen, SLIVER)) / len(cuts)) for cut in cuts]
    )
    order = np.argsort(-needs)
    over = np.cumsum(weights[order])
    place = int(np.searchsorted(over, risk * (count + 1) - 1.0, side="right"))  # the first need that must be met
    place = min(place, len(needs) - 1)
    factor = max(0.0, float(needs[order[place]])) * (1.0 + 1e-9) + 1e-12
    left = float(over[place - 1]) if place else 0.0
    return factor, min(1.0, (left + 1.0) / (count + 1))


def _cut(pasts: Sequence[Series], places: Sequence[int], cut: tuple[float, float, float], floor: float) -> Cut | None:
    first, middle, last = cut
    kept: list[int] = []
    rows: list[tuple[float, float, float]] = []
    looks: list[Series] = []
    for place in places:
        past = pasts[place]
        start, now, stop = (round(share * len(past)) for share in (first, middle, last))
        if now - start < LEAST or stop - now < LEAST:
            continue
        peak, seen = look(past[start:now], floor)
        after = np.maximum(past[now:stop], 0.0)
        kept.append(place)
        looks.append(seen)
        rows.append((peak, max(float(after.max()), floor) / peak, float(after.mean()) / peak))
    if not rows:
        return None
    peaks, peaks_after, means_after = np.array(rows).T
    every = np.array(looks)
    return Cut(tuple(kept), peaks, every, signs_of(every), peaks_after, means_after, last - middle)
