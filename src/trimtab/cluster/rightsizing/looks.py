"""What a request is made from: a pod's past in a few numbers, shares of its peak; programs see them in its unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trimtab.adapters.programs import Input, Signature

Series = npt.NDArray[np.float64]

IN_UNITS = ("peak", "recent", "mean", "median", "p95", "p99", "spread", "steps", "jump", "least", "usual")
PLAIN = ("growth_of_peak", "growth_of_mean", "samples")
QUARTERS = 4
STARVED = 1e-3  # of the fleet's median peak: what a pod that used nothing counts as

REQUEST = Signature(
    "request",
    (
        Input("peak", "highest use of the past, in the resource's unit, as are the others up to `usual`"),
        Input("recent", "highest use of the last quarter of the past"),
        Input("mean", "mean use"),
        Input("median", "median use"),
        Input("p95", "95th percentile of the use"),
        Input("p99", "99th percentile of the use"),
        Input("spread", "standard deviation of the use"),
        Input("steps", "standard deviation of the change from one sample to the next"),
        Input("jump", "highest rise from one sample to the next"),
        Input("least", "lowest use but for the first quarter of the past, in which a pod may still start"),
        Input("usual", "median of the highest uses of all pods"),
        Input("growth_of_peak", "highest use of the second half of the past over that of the first half, less 1"),
        Input("growth_of_mean", "mean use of the second half over that of the first half, less 1"),
        Input("samples", "how many samples the past has"),
        Input("tops", "highest use of each quarter of the past, the newest first", QUARTERS),
    ),
    "what to request, in the same unit",
)
WIDTH = REQUEST.width


def floor_of(pasts: Sequence[Series]) -> float:
    """The least peak that counts: a small share of the fleet's, so that idle pods have ratios, too."""
    peaks = [float(past.max()) for past in pasts if len(past)]
    return max(1e-12, STARVED * float(np.median(peaks))) if peaks else 1e-12


def look(past: Series, floor: float) -> tuple[float, Series]:
    """The peak in its unit, and all inputs of a program in the order of the signature, uses as shares of the peak."""
    used = np.maximum(past, 0.0)
    peak = max(float(used.max()), floor)
    share = used / peak
    count = len(share)
    half = max(1, count // 2)
    early, late = share[:half], share[half:] if count > half else share
    tops = [float(part.max()) for part in np.array_split(share, QUARTERS) if len(part)]
    tops = [tops[0]] * (QUARTERS - len(tops)) + tops
    median, p95, p99 = np.quantile(share, (0.5, 0.95, 0.99))
    rises = np.diff(share) if count > 1 else np.zeros(1)
    least = float(share[count // QUARTERS :].min())
    growth_of_peak = float(late.max()) / max(float(early.max()), STARVED) - 1.0
    growth_of_mean = float(late.mean()) / max(float(early.mean()), STARVED) - 1.0
    spreads = (float(share.std()), float(rises.std()), max(0.0, float(rises.max())))
    seen = (1.0, tops[-1], float(share.mean()), median, p95, p99, *spreads, least, floor / STARVED / peak)
    return peak, np.array((*seen, growth_of_peak, growth_of_mean, count, *reversed(tops)))


def in_units(peaks: Series, looks: Series) -> Series:
    """Looks as programs are given them: uses in the resource's unit."""
    given = looks.copy()
    plain = slice(len(IN_UNITS), len(IN_UNITS) + len(PLAIN))
    given *= peaks[:, None]
    given[:, plain] = looks[:, plain]
    return given
