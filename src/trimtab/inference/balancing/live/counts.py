"""What a router counts: by backend and outcome, and how long answers took, for Prometheus and for the autoscaler."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping

BUCKETS = tuple(round(0.0005 * 1.5**step, 6) for step in range(30))  # seconds: half a millisecond to a minute
CLIENT_LEFT = 499  # no status of HTTP: listeners are told it where nobody waited for one


class Counts:
    """Counters that only grow."""

    def __init__(self) -> None:
        self.arrived = self.ended = 0
        self.events: Counter[str] = Counter()
        self._answers: dict[str, dict[int, int]] = {}  # by backend, then status
        self._took = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0
        self.listeners: list[Callable[[int, float], None]] = []  # told of each answer's status and seconds

    def answered(self, backend: str, status: int, seconds: float) -> None:
        """An answer went to a client."""
        answers = self._answers.get(backend)
        if answers is None:
            answers = self._answers[backend] = {}
        answers[status] = answers.get(status, 0) + 1
        self._took[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds
        self._tell(status, seconds)

    def left(self, seconds: float) -> None:
        """A client went before it had its whole answer."""
        self.events["client gone"] += 1
        self._tell(CLIENT_LEFT, seconds)

    def _tell(self, status: int, seconds: float) -> None:
        for listener in self.listeners:
            listener(status, seconds)

    def quantile(self, share: float) -> float:
        """The time, in seconds, within which this share of all answers came, to the width of a bucket."""
        total, seen = sum(self._took), 0
        for place, count in enumerate(self._took):
            seen += count
            if total and seen >= share * total:
                return BUCKETS[min(place, len(BUCKETS) - 1)]
        return 0.0

    def exposition(self, gauges: Mapping[str, Mapping[str, float]]) -> str:
        """All counts and the given gauges (by name, then backend) in Prometheus' text format."""
        lines = ["# TYPE trimtab_requests_total counter", f"trimtab_requests_total {self.arrived}"]
        lines.append("# TYPE trimtab_answers_total counter")
        for backend, answers in sorted(self._answers.items()):
            for status, count in sorted(answers.items()):
                lines.append(f'trimtab_answers_total{{backend="{backend}",status="{status}"}} {count}')
        lines.append("# TYPE trimtab_events_total counter")
        lines += [f'trimtab_events_total{{event="{name}"}} {count}' for name, count in sorted(self.events.items())]
        lines.append("# TYPE trimtab_answer_seconds histogram")
        seen = 0
        for bound, count in zip([*map(str, BUCKETS), "+Inf"], self._took, strict=True):
            seen += count
            lines.append(f'trimtab_answer_seconds_bucket{{le="{bound}"}} {seen}')
        lines += [f"trimtab_answer_seconds_sum {self._seconds:.6f}", f"trimtab_answer_seconds_count {seen}"]
        for name, values in gauges.items():
            lines.append(f"# TYPE trimtab_{name} gauge")
            lines += [f'trimtab_{name}{{backend="{backend}"}} {value:g}' for backend, value in sorted(values.items())]
        return "\n".join(lines) + "\n"
