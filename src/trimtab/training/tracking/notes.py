"""Notes on a run, written from what the ledger holds of it: every number in them is one of the run's own.

`unsupported` is the check, for notes that a language model or a person has written as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trimtab.core.events import RunEnded
from trimtab.core.model import Json

NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?(?!\w)")
LABELLED = 0.1  # of the time, to be worth a word


def written(run: RunEnded) -> list[str]:
    """A few sentences on a run: outcome, cost, what held it back, what was changed."""
    spent = run.spent
    said = [
        f"{run.name} ({run.status}) took {shown(spent.wall_seconds)} s and {shown(spent.cpu_seconds)} CPU-s, "
        f"{shown(spent.peak_rss_bytes / 2**20)} MiB at its peak."
    ]
    if spent.gpu_seconds:
        said.append(
            f"It held GPUs for {shown(spent.gpu_seconds)} s, {shown(spent.peak_gpu_bytes / 2**20)} MiB on them at most."
        )
    if run.metrics:
        said.append("It ended at " + ", ".join(f"{name} {shown(value)}" for name, value in run.metrics.items()) + ".")
    for name, curve in run.curves.items():
        if len(curve) > 2:
            (first, start), (last, end) = curve[0], curve[-1]
            said.append(f"{name} went from {shown(start)} at step {first} to {shown(end)} at step {last}.")
    if spent.run_delay_seconds > LABELLED * max(spent.wall_seconds, 1e-9):
        said.append(f"Its threads waited {shown(spent.run_delay_seconds)} s for a core.")
    for since, until, name in run.labels:
        if until - since > LABELLED * spent.wall_seconds:
            said.append(f"It was {name} from {shown(since)} s to {shown(until)} s.")
    for one in run.changes:
        what = "was kept" if one.get("is_kept") else "was put back"
        said.append(f"A change of {one.get('what')} from {one.get('from')} to {one.get('to')} {what}.")
    return said


def shown(value: Json) -> str:
    """A value as the notes write it: four digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def unsupported(text: str, run: RunEnded) -> list[str]:
    """The numbers in a text that are none of the run's: no value of it, at the text's precision, gives them."""
    known = list(_numbers(run))
    names = {run.name, *run.metrics, *run.curves, *run.parameters, *run.command}
    for name in sorted(names, key=len, reverse=True):
        if any(one.isalpha() for one in name):
            text = text.replace(name, " ")
    return [one for one in NUMBER.findall(text) if not any(_is_same(one, value) for value in known)]


def _numbers(run: RunEnded) -> Iterator[float]:
    spent = run.spent
    yield from (spent.wall_seconds, spent.cpu_seconds, spent.run_delay_seconds, spent.dollars, float(spent.tokens))
    yield spent.gpu_seconds
    for size in (spent.peak_rss_bytes, spent.peak_gpu_bytes, spent.read_bytes, spent.written_bytes):
        yield from (float(size), size / 2**20, size / 2**30)
    for value in (*run.metrics.values(), *run.parameters.values()):
        if isinstance(value, int | float):
            yield float(value)
    for curve in run.curves.values():
        for step, point in curve:
            yield from (float(step), point)
    for since, until, _ in run.labels:
        yield from (since, until)
    for change in run.changes:
        yield from (float(value) for value in change.values() if isinstance(value, int | float))


def _is_same(text: str, value: float) -> bool:
    """Whether the value, rounded to the digits of the text, is what the text says."""
    plain = text.replace(",", "").lstrip("+")
    mantissa, _, power = plain.lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    unit = 10.0 ** (int(power or 0) - digits)
    if digits == 0 and not power:  # 12,300 may stand for 12,345 at four digits, never for less than three
        stripped = mantissa.lstrip("-").rstrip("0")
        unit = 10.0 ** (len(mantissa.lstrip("-")) - max(4, len(stripped))) if len(mantissa.lstrip("-")) > 4 else 1.0
    return abs(float(plain) - value) <= 0.5 * unit * (1 + 1e-9)
