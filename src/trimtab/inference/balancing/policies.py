"""Routing policies as programs: the known rules to be read, and what the search for better ones starts from."""

from __future__ import annotations

from textwrap import indent

from trimtab.inference.balancing.signature import PICK


def program(body: str) -> str:
    """The text of a program from its body alone: the inputs are the same for all."""
    return f"{PICK.head}\n{indent(body.strip(), '    ')}\n"


RANDOM = program("return draw")
"""Any backend."""

ROUND_ROBIN = program("return turn")
"""One after the other, each router in its own order."""

LEAST_REQUESTS = program("return outstanding")
"""The fewest own requests without an answer: of two drawn, Envoy's default (Mitzenmacher, 2001); of all, JSQ."""

LEAST_EWMA = program("return latency")
"""The backend that answered fastest lately; one that never answered comes first."""

PEAK_EWMA = program("""
cost = peak * exp(-quiet / 10)
return cost * (outstanding + 1)
""")
"""Finagle's Peak EWMA: the latency, at once as bad as its worst answer and forgotten over 10 s, times the requests."""

PREQUAL = program("""
count = in_flight + sent
hot = count > state[0]
if sent < 1:
    state[0] = max(0, state[0] + (0.042 if hot else -0.008))
if hot:
    return 1000000 + count
return reported
""")
"""Prequal (Wydrowski and others, NSDI 2024): hot above the 0.84 quantile of requests in flight; of the cold, the
lowest latency, else the least loaded. The quantile is followed by steps of 0.05 × 0.84 up and 0.05 × 0.16 down."""

SHORTEST = program("return in_flight + sent")
"""The fewest requests by the newest report, with what this router sent since: it does not send twice on one report."""

SHORTEST_TIME = program("""
count = in_flight + sent
return (max(0, count - slots + 1) / slots + 1) * service + 0.3 * count / slots
""")
"""The time until the answer, by the newest report and the backend's speed; the emptier of equals."""

OWN_FIRST = program("return outstanding + 0.3 * in_flight")
"""The fewest own requests, then the fewest reported: what a router knows for certain counts before what it was told,
so that routers that were told the same do not all run to the same backend."""

OWN_FIRST_TIME = program("return (outstanding + 0.3 * in_flight + 0.4) * service")
"""The same in the backend's own time: an idle slow backend may wait longer for work than a busy fast one."""

RELAXED = program("""
fresh = exp(-age / (10 * size))
count = in_flight * fresh + (slots + 1) * (1 - fresh)
return count + sent
""")
"""Reports grow old: over ten service times, what was told gives way to the suspicion that one request waits."""

PREFIX = program("""
count = in_flight + sent
wait = max(0, count - slots + 1) * size / slots
return (wait + size) * service - hit * prefix + 0.1 * count / slots
""")
"""The time until the answer, less what this router's last request with the same prefix left in the cache."""

PREFIX_HOME = program("""
count = in_flight + sent
wait = max(0, count - slots + 1) * size / slots
saved = max(hit, 0.5 * home) * prefix
return (wait + size) * service - saved + 0.1 * count / slots
""")
"""The same; all routers know where a prefix is at home, so that they fill the same cache without speaking."""

COMPLETION = program("return work + size * service")
"""When the request would be done. With the true work of every backend: the oracle."""

IN_FLIGHT = program("return in_flight")
"""The fewest requests; with every backend's count of this moment: JSQ with a global view."""

LIBRARY: dict[str, str] = {
    "own first": OWN_FIRST,
    "own first, in time": OWN_FIRST_TIME,
    "relaxed": RELAXED,
    "shortest": SHORTEST,
    "shortest time": SHORTEST_TIME,
    "least requests": LEAST_REQUESTS,
    "peak ewma": PEAK_EWMA,
    "prequal": PREQUAL,
    "prefix": PREFIX,
    "prefix with a home": PREFIX_HOME,
}
