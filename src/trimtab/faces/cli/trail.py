"""The trail of a decision as lines of text: what was known, proposed, measured, judged, decided and changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from trimtab.core.events import (
    ChangeDone,
    ChangeIntended,
    Decided,
    Event,
    Judged,
    Measured,
    ModelCalled,
    Recorded,
    StudyOpened,
)
from trimtab.core.model import Comparison, Failure, Json, Verdict


def trail_lines(trail: Sequence[Recorded[Event]]) -> Iterator[str]:
    """One or two lines for each event, oldest first; measurements are gathered behind the verdict that they led to."""
    for one in trail:
        place = f"{one.position:>6} {one.at:%H:%M:%S}"
        for text in _lines(one.event):
            yield f"{place}  {text}"


def _lines(event: Event) -> Iterator[str]:
    match event:
        case StudyOpened():
            yield f"study {event.study}: {event.goal}; proposed by {event.proposer}"
            yield f"evidence: {_short(event.evidence.get('facts'))}"
        case Measured(sample=sample, outcome=result):
            where = f"{sample.split} seed {sample.seed}, {sample.fraction:.0%} of the rows"
            got = result.reason if isinstance(result, Failure) else _numbers(result.metrics)
            yield f"measured {event.plan_key[:8]} on {where}: {got} ({result.cost.cpu_seconds:.2f} CPU-s)"
        case Judged():
            yield f"{event.by} proposed {event.plan_key[:8]}: {_short(event.plan)} {event.because}"
            yield f"  → {_verdict(event.verdict)}"
        case ModelCalled():
            cached = ", from the cache" if event.is_cached else ""
            yield (
                f"asked {event.model} ({event.purpose}): {event.outcome}, {event.tokens_in}+{event.tokens_out} tokens, "
                f"{event.seconds:.1f} s, ${event.dollars:.4f}{cached}"
            )
        case Decided():
            outcome = "keep the current plan" if event.winner is None else f"change to {_short(event.winner)}"
            yield f"decided {event.decision}: {outcome}; {event.stopped}"
            for name, verdict in event.baselines.items():
                yield f"  baseline {name}: {_verdict(verdict)}"
        case ChangeIntended():
            yield f"{event.kind} to {event.target} begins"
        case ChangeDone():
            yield f"{event.kind} to {event.target}: {'done' if event.is_applied else event.reason}"


def _verdict(verdict: Verdict) -> str:
    if not isinstance(verdict, Comparison):
        return f"{verdict.ruling}: {verdict.reason}"
    gain = verdict.gain
    return (
        f"{verdict.ruling} on {verdict.split} ({verdict.samples} samples, {verdict.method}): gain {gain.mid:.4g} "
        f"({gain.low:.4g} to {gain.high:.4g}); {verdict.reason}"
    )


def _numbers(metrics: object) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())  # type: ignore[attr-defined]


def _short(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 400 else text[:400] + " …"
