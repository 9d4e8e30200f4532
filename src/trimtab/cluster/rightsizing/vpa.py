"""What Kubernetes' vertical pod autoscaler would request, by its documented defaults.

Histograms with exponential buckets (5 % wider each) whose samples lose half their weight in 24 hours. CPU: every sample
counts. Memory: the highest use of each 24 hours counts. The target is the end of the bucket of the 90th percentile (the
upper bound: of the 95th), and 15 % on top. Source: github.com/kubernetes/autoscaler, vertical-pod-autoscaler/pkg/
recommender (model/aggregations_config.go, util/histogram.go, logic/recommender.go). The weight of a CPU sample by the
request is left out (it is the same for all samples of a pod), and so are the bounds' confidence factors, which fade
with days of history, and the least request (25 milli-cores, 250 MB for a pod).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trimtab.cluster.rightsizing.looks import Series

Times = npt.NDArray[np.int64]
DAY = 86_400  # seconds: the half-life, and the interval of which memory's highest use counts
GROWTH = 0.05
FIRST_BUCKET = {"cpu": 0.01, "memory": 1e7, "gpu_memory": 1e7, "share": 1e-3}  # cores, bytes; shares have no default


def recommended(times: Times, used: Series, quantile: float, first: float, *, is_memory: bool) -> float:
    """The quantile of one pod's decaying histogram, without the margin. Times in seconds, in order."""
    if is_memory:
        days = (times - times[0]) // DAY
        starts = np.flatnonzero(np.concatenate([[True], days[1:] != days[:-1]]))
        used, times = np.maximum.reduceat(used, starts), times[starts]
    weights = 2.0 ** ((times - times[-1]) / DAY)
    ratio = 1.0 + GROWTH
    buckets = np.floor(np.log(np.maximum(used, 0.0) / first * GROWTH + 1.0) / np.log(ratio) + 1e-12).astype(np.int64)
    totals = np.bincount(buckets, weights=weights)
    place = int(np.searchsorted(np.cumsum(totals), quantile * totals.sum() * (1.0 - 1e-12)))
    return float(first * (ratio ** (place + 1) - 1.0) / GROWTH)
