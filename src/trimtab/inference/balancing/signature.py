"""What a routing policy is given: one candidate backend as one router sees it. The lowest score is chosen."""

from __future__ import annotations

from trimtab.adapters.programs import Input, Signature

NEVER = 1e9
"""The age, in seconds, of a report that never came."""

PICK = Signature(
    "pick",
    (
        Input("outstanding", "requests that this router sent to the backend and that are not answered"),
        Input("in_flight", "requests at the backend, of all routers, when it last reported"),
        Input(
            "work", "seconds of service that the requests at the backend were expected to need when it last reported"
        ),
        Input("elapsed", "seconds that the requests in service had been running for then, added up"),
        Input("age", "seconds since that report was taken; 1e9 when there is none"),
        Input("sent", "requests that this router sent to the backend since that report was taken, at most 8"),
        Input("sent_work", "seconds of service expected of those"),
        Input("reported", "seconds that requests took lately which met as many others as the last report counted"),
        Input("service", "seconds that the backend takes for one second of expected work, as it last reported"),
        Input("latency", "seconds: moving average of the answers to this router"),
        Input("peak", "seconds: the same, but at once at the level of a slower answer"),
        Input("quiet", "seconds since the last answer to this router"),
        Input("slots", "requests that the backend serves at a time"),
        Input("hit", "share of the request's prefix that this router sent to the backend last"),
        Input("home", "1 for the backend that the request's prefix is hashed to, else 0"),
        Input("size", "seconds of service expected of the request, its prefix included"),
        Input("prefix", "seconds of those that a cached prefix would save"),
        Input("turn", "places from the backend after the one that this router chose last, in order"),
        Input("draw", "a random number from 0 to 1, new for each candidate"),
        Input("pace", "requests/s that come to this router, a moving average"),
        Input("routers", "routers in all"),
        Input("backends", "backends in all"),
    ),
    "the score of the backend: the candidate with the lowest is chosen, one of them by chance among equals",
    state=4,
)
