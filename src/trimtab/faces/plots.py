"""Plots as inline SVG: plain text, no scripts, readable offline. Each takes the JSON that a stage left in its facts.

    bars    {"kind": "bars", "title", "unit", "rows": [{"label", "value", "low"?, "high"?, "mark"?}], "log"?}
    lines   {"kind": "lines", "title", "x_label", "y_label", "series": [{"name", "x", "y", "low"?, "high"?, "step"?}]}
    points  {"kind": "points", "title", "x_label", "y_label", "points": [{"x", "y", "label"?, "mark"?}], "x_log"?,
             "front"?: [[x, y]]}
    grid    {"kind": "grid", "title", "rows": [names], "columns": [names], "values": [[0 … 1 or null]]}
    gantt   {"kind": "gantt", "title", "x_label", "rows": [{"label", "from", "until", "runs": [[from, until]]}]}

`mark` is "current", "chosen" or "free" (a strong free default): it decides the colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 10, 40
ROW = 26
LABEL = 220
SERIES = ("s0", "s1", "s2", "s3", "s4", "s5")

Plot = Mapping[str, Any]


def svg(plot: Plot) -> str:
    """The plot as an SVG element. Raises KeyError for a kind that is not known."""
    return _KINDS[plot["kind"]](plot)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover [low, high], about `count` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A number as a person reads it: about three digits."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 1e-3:
        return f"{value:.3g}"
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _bars(plot: Plot) -> str:
    rows = plot["rows"]
    is_log = bool(plot.get("log"))
    top = max((max(row["value"], row.get("high") or 0) for row in rows), default=1) or 1
    floor = min((row["value"] for row in rows if row["value"] > 0), default=1) / 2
    width = WIDTH - LABEL - 130

    def length(value: float) -> float:
        if not is_log:
            return max(0.0, value / top * width)
        return 0.0 if value <= floor else math.log(value / floor) / math.log(top / floor) * width

    parts = []
    for place, row in enumerate(rows):
        y = TOP + place * ROW
        parts.append(_text(LABEL - 8, y + 16, row["label"], "end"))
        box = f'x="{LABEL}" y="{y + 4}" width="{length(row["value"]):.1f}" height="16" rx="2"'
        parts.append(f'<rect class="{_colour(row)}" {box}/>')
        if row.get("low") is not None and row.get("high") is not None:
            low, high = LABEL + length(row["low"]), LABEL + length(row["high"])
            parts.append(f'<path class="whisker" d="M{low:.1f} {y + 12}H{high:.1f}"/>')
        end = LABEL + length(max(row["value"], row.get("high") or 0)) + 8
        parts.append(_text(end, y + 16, f"{number(row['value'])} {plot.get('unit', '')}"))
    scale = " (log scale)" if is_log else ""
    return _frame(plot["title"] + scale, "".join(parts), TOP * 2 + ROW * len(rows))


def _lines(plot: Plot) -> str:
    series = plot["series"]
    xs = [x for one in series for x in one["x"]]
    ys = [y for one in series for name in ("y", "low", "high") for y in one.get(name) or () if y is not None]
    if not xs or not ys:
        return _frame(plot["title"], _text(LEFT, 30, "nothing was measured"), 50)
    low = 0.0 if min(ys) >= 0 and min(ys) < 0.5 * max(ys) else min(ys)
    to_x, to_y = _scale(min(xs), max(xs), LEFT, WIDTH - RIGHT), _scale(low, max(ys), HEIGHT - BOTTOM, TOP + 18)
    parts = [_axes(plot, (min(xs), max(xs)), (low, max(ys)), to_x, to_y)]
    for place, one in enumerate(series):
        css = SERIES[place % len(SERIES)]
        if one.get("low"):
            there = [(to_x(x), to_y(y)) for x, y in zip(one["x"], one["high"], strict=True) if y is not None]
            back = [(to_x(x), to_y(y)) for x, y in zip(one["x"], one["low"], strict=True) if y is not None]
            parts.append(f'<path class="band {css}" d="{_path(there + back[::-1])}Z"/>')
        dots = [(to_x(x), to_y(y)) for x, y in zip(one["x"], one["y"], strict=True) if y is not None]
        parts.append(f'<path class="line {css}" d="{_path(_steps(dots) if one.get("step") else dots)}"/>')
        parts.append(_legend(place, one["name"], css))
    return _frame(plot["title"], "".join(parts), HEIGHT)


def _points(plot: Plot) -> str:
    points = plot["points"]
    if not points:
        return _frame(plot["title"], _text(LEFT, 30, "nothing was measured"), 50)
    is_log = bool(plot.get("x_log"))
    xs = [math.log10(one["x"]) if is_log else one["x"] for one in points]
    ys = [one["y"] for one in points]
    pad = (max(ys) - min(ys) or abs(ys[0]) or 1) * 0.08
    y_range = (min(ys) - pad, max(ys) + pad)
    to_x, to_y = _scale(min(xs), max(xs), LEFT + 8, WIDTH - RIGHT - 60), _scale(*y_range, HEIGHT - BOTTOM, TOP + 18)
    parts = [_axes(plot, (min(xs), max(xs)), y_range, to_x, to_y, is_log=is_log)]
    edge = sorted((math.log10(x) if is_log else x, y) for x, y in plot.get("front") or ())
    if edge:
        parts.append(f'<path class="line s0" d="{_path(_steps([(to_x(x), to_y(y)) for x, y in edge]))}"/>')
    for one, x, y in sorted(zip(points, xs, ys, strict=True), key=lambda each: bool(each[0].get("mark"))):
        radius = 5 if one.get("mark") else 3
        parts.append(f'<circle class="{_colour(one)}" cx="{to_x(x):.1f}" cy="{to_y(y):.1f}" r="{radius}"/>')
        if one.get("mark") and one.get("label"):
            parts.append(_text(to_x(x) + 8, to_y(y) + 4, one["label"]))
    return _frame(plot["title"], "".join(parts), HEIGHT)


def _grid(plot: Plot) -> str:
    rows, columns = plot["rows"], plot["columns"]
    cell = min(34.0, (WIDTH - LABEL - RIGHT) / max(1, len(columns)))
    parts = []
    for i, name in enumerate(rows):
        y = TOP + i * 18
        parts.append(_text(LABEL - 8, y + 13, name, "end"))
        for j, value in enumerate(plot["values"][i]):
            shade = "none" if value is None else f"{max(0.04, min(1.0, value)):.2f}"
            fill = 'class="hole"' if value is None else f'class="s0" fill-opacity="{shade}"'
            tip = "" if value is None else f"<title>{escape(f'{name}, {columns[j]}: {value:.3g}')}</title>"
            parts.append(
                f'<rect {fill} x="{LABEL + j * cell:.1f}" y="{y}" width="{cell - 1:.1f}" height="16">{tip}</rect>'
            )
    bottom = TOP + len(rows) * 18
    every = math.ceil((7 * max(map(len, columns), default=0) + 8) / cell)  # labels must not run into each other
    for j, name in enumerate(columns):
        if j % every == 0:
            parts.append(_text(LABEL + j * cell, bottom + 16, name))
    return _frame(plot["title"], "".join(parts), bottom + 24)


def _gantt(plot: Plot) -> str:
    rows, height = plot["rows"], 14
    low = min((row["from"] for row in rows), default=0.0)
    to_x = _scale(low, max((row["until"] for row in rows), default=1.0), LABEL, WIDTH - RIGHT)
    bottom = TOP + len(rows) * height
    parts = []
    for value in ticks(low, max((row["until"] for row in rows), default=1.0), 7):
        parts.append(f'<path class="rule" d="M{to_x(value):.1f} {TOP}V{bottom}"/>')
        parts.append(_text(to_x(value), bottom + 16, number(value), "middle"))
    for place, row in enumerate(rows):
        y = TOP + place * height
        parts.append(_text(LABEL - 8, y + 10, row["label"], "end"))
        for start, end, opacity in [(row["from"], row["until"], 0.25), *((*run, 1.0) for run in row["runs"])]:
            width = max(0.5, to_x(end) - to_x(start))
            tip = f"<title>{escape(row['label'])}: {number(start)} to {number(end)}</title>"
            parts.append(
                f'<rect class="s0" fill-opacity="{opacity}" x="{to_x(start):.1f}" y="{y + 2}" width="{width:.1f}" '
                f'height="{height - 4}">{tip}</rect>'
            )
    parts.append(_text((LABEL + WIDTH - RIGHT) / 2, bottom + 32, plot.get("x_label", ""), "middle"))
    return _frame(plot["title"], "".join(parts), bottom + 38)


def _frame(title: str, body: str, height: float) -> str:
    label = escape(title, quote=True)
    return (
        f'<figure><figcaption>{label}</figcaption><svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{label}">{body}</svg></figure>'
    )


def _axes(
    plot: Plot,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    to_x: Callable[[float], float],
    to_y: Callable[[float], float],
    *,
    is_log: bool = False,
) -> str:
    parts = []
    for value in ticks(*y_range):
        parts.append(f'<path class="rule" d="M{LEFT} {to_y(value):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 6, to_y(value) + 4, number(value), "end"))
    for value in ticks(*x_range, 7):
        shown = number(10**value) if is_log else number(value)
        parts.append(_text(to_x(value), HEIGHT - BOTTOM + 16, shown, "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, plot.get("x_label", ""), "middle"))
    parts.append(_text(LEFT, TOP + 2, plot.get("y_label", "")))
    return "".join(parts)


def _legend(place: int, name: str, css: str) -> str:
    x = LEFT + 150 + place * 150
    return f'<path class="line {css}" d="M{x} {TOP - 2}h18"/>' + _text(x + 24, TOP + 2, name)


def _text(x: float, y: float, content: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(str(content))}</text>'


def _colour(row: Mapping[str, Any]) -> str:
    return {"current": "current", "chosen": "chosen", "free": "free"}.get(str(row.get("mark", "")), "other")


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _path(dots: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in dots) if dots else "M0 0"


def _steps(dots: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    stepped: list[tuple[float, float]] = []
    for x, y in dots:
        if stepped:
            stepped.append((x, stepped[-1][1]))
        stepped.append((x, y))
    return stepped


_KINDS: Mapping[str, Callable[[Plot], str]] = {
    "bars": _bars,
    "lines": _lines,
    "points": _points,
    "grid": _grid,
    "gantt": _gantt,
}
