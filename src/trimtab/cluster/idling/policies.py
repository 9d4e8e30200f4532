"""When an idle replica stays loaded, as programs: the known rules, and what the search for better ones starts from."""

from __future__ import annotations

from trimtab.cluster.idling.simulator import WARM


def keep_alive(seconds: float) -> str:
    """Loaded for so long after every answer."""
    return f"{WARM.head}\n    return {seconds:g} - idle\n"


FIVE_MINUTES = keep_alive(300)

HISTOGRAM = f"""{WARM.head}
    if gaps < 5 or spread < 2:
        return 600 - idle
    if idle + stretch <= 0.9 * head:
        return -1
    return 1.1 * tail - idle
"""
"""The hybrid histogram policy (Shahrad et al., ATC 2020): from the head to the tail of the function's own idle times,
with its margins of 10 %; where they say little, ten minutes. (ARIMA, for the rarest functions, is left out.)
"""

LIKELY = f"""{WARM.head}
    return hazard - 0.0014
"""
"""Loaded while a call is likely enough: the best there is where idle times are independent draws (an index policy)."""

LIVELY = f"""{WARM.head}
    likely = 0.7 * hazard + 0.3 * usual
    if last > 600 and idle > 2 * mean:
        likely = 0.7 * likely
    return likely - 0.0014
"""
"""The same, sooner at an end where the last wait was long."""

LIBRARY: dict[str, str] = {
    "while a call is likely": LIKELY,
    "while a call is likely, lively functions longer": LIVELY,
    "two minutes": keep_alive(120),
    "three minutes": keep_alive(180),
}
