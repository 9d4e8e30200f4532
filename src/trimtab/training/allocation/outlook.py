"""What a running job will still need: its time, by the pace of its own steps; its memory, by how it grew."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_POINTS = 8
ANCHORS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # of the time so far: forecasts made there are compared with what came
FLOOR = 0.02  # of the time left, as a standard error
WIDTH = 2.353  # Student's 95 % quantile at 3 degrees: the anchors' errors overlap, six are worth about three
GROWTH = 0.01  # of the peak, within the later half: less is no growth


@dataclass(frozen=True, slots=True)
class Range:
    """A forecast with its interval (nominally 90 %)."""

    low: float
    mid: float
    high: float


def time_left(seen: Sequence[tuple[float, float]], total: float) -> Range | None:
    """Seconds until `total` is done, from (moment, done) so far; None where the pace is not known yet.

    The interval comes from the job's own past: how far the same forecast, made earlier, was off from what came then.
    It widens with the root of how much further ahead than those forecasts this one looks.
    """
    moving = [one for at, one in enumerate(seen) if at == 0 or one[1] > seen[at - 1][1]]
    if len(moving) < LEAST_POINTS or total <= moving[-1][1]:
        return None
    began, now = moving[0][0], moving[-1][0]
    pace = _pace(moving, began, now)
    if pace <= 0:
        return None
    mid = (total - moving[-1][1]) / pace
    errors = []
    for share in ANCHORS:
        anchor = began + share * (now - began)
        before, after = _pace(moving, began, anchor), _done_at(moving, now) - _done_at(moving, anchor)
        if before > 0 and after > 0:
            errors.append(math.log(after / (now - anchor) / before))
    if not errors:
        return None
    spread = max(FLOOR, math.sqrt(sum(one * one for one in errors) / len(errors)))
    spread *= min(3.0, max(1.0, math.sqrt(mid / (0.5 * (now - began)))))
    return Range(mid * math.exp(-WIDTH * spread), mid, mid * math.exp(WIDTH * spread))


def peak_memory(seen: Sequence[tuple[float, float]], left: float | None) -> Range:
    """The peak's bytes at the end, from (moment, resident bytes) so far and the seconds left, where they are known.

    A job that did not grow in the later half of its time is taken to have reached its peak.
    """
    peak = max(one[1] for one in seen)
    middle = (seen[0][0] + seen[-1][0]) / 2
    later = seen[bisect_left(seen, (middle, 0.0)) :]
    grown = peak - max((one[1] for one in seen if one[0] < middle), default=peak)
    if grown <= GROWTH * peak or len(later) < LEAST_POINTS:
        return Range(peak, peak, 1.05 * peak)
    half = max(1e-6, seen[-1][0] - middle)
    more = grown * (half if left is None else left) / half
    return Range(peak, peak + more, peak + 2 * more)


def _pace(seen: Sequence[tuple[float, float]], began: float, until: float) -> float:
    """Done a second, over the later half of the time until then: the beginning is a warm-up."""
    since = began + 0.5 * (until - began)
    return (_done_at(seen, until) - _done_at(seen, since)) / max(1e-9, until - since)


def _done_at(seen: Sequence[tuple[float, float]], moment: float) -> float:
    place = min(len(seen) - 1, bisect_left(seen, (moment, -math.inf)))
    if place == 0 or seen[place][0] <= moment:
        return seen[place][1]
    (early, less), (late, more) = seen[place - 1], seen[place]
    return less + (more - less) * (moment - early) / max(1e-9, late - early)
