"""Requests as programs: the known rules to be read, and what the search for better ones starts from."""

from __future__ import annotations

from trimtab.cluster.rightsizing.looks import REQUEST

HEAD = REQUEST.head

KRR_MEMORY = f"""{HEAD}
    return 1.15 * peak
"""
"""Robusta KRR's default for memory: the highest use, and 15 %."""

KRR_CPU = f"""{HEAD}
    return p95
"""
"""Robusta KRR's default for CPU: the 95th percentile. (Its text says 99 in older versions.)"""

UNREST = f"""{HEAD}
    unrest = 0.003 + (peak - p99) / peak + 2 * steps / peak + 0.3 / sqrt(samples)
    return peak * (1 + min(0.5, unrest))
"""
"""Steady pods closely; restless and new ones with room."""

SIGMA = f"""{HEAD}
    return max(peak, mean + 4 * spread)
"""
"""Four standard deviations above the mean, and never below what was seen."""

CARRIED_ON = f"""{HEAD}
    rise = max(0, tops[0] - tops[1])
    return peak + 2 * rise + spread
"""
"""The rise of the last quarter, carried on for two more, and a standard deviation."""

RECENT = f"""{HEAD}
    return 0.3 * peak + 0.7 * recent + 0.1 * (peak - mean) + 0.01 * peak
"""
"""What it used of late counts more than what it used at the start."""

LIBRARY: dict[str, str] = {
    "krr-memory": KRR_MEMORY,
    "krr-cpu": KRR_CPU,
    "unrest": UNREST,
    "sigma": SIGMA,
    "carried-on": CARRIED_ON,
    "recent": RECENT,
}
