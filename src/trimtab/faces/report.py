"""The report: one self-contained HTML file, plots included, no scripts, readable offline."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from trimtab.adapters.files import write_whole
from trimtab.bill import Bill
from trimtab.faces.plots import number, svg
from trimtab.pipeline import Results, StageResult, total
from trimtab.totals import Totals, totals
from trimtab.workplace import Workplace

MOST_BYTES = 500_000
_NUMBER = re.compile(r"[-+]?\$?[\d,.]*\d(e[-+]?\d+)?\s?(%|×|s|ms|µs|MB)?$")


def write_report(workplace: Workplace, results: Results, to: Path) -> Path:
    """Render the results of a run into one HTML file, at most 500 kB, and return its path.

    Raises TargetError when the file cannot be written.
    """
    page = render(workplace, results)
    write_whole(to, page)
    return to


def render(workplace: Workplace, results: Results) -> str:
    """The report's HTML."""
    environment = Environment(loader=PackageLoader("trimtab.faces"), autoescape=select_autoescape(default=True))
    template = environment.get_template("report.html.jinja")
    return template.render(
        name=workplace.config.name,
        version=workplace.version,
        made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        data=f"sha256 {workplace.data.fingerprint[:12]}",
        host=workplace.host_line,
        model_note=workplace.model_note,
        stages=[_stage(one) for one in results.values()],
        bill=_bill(totals(workplace, results), results),
    )


def _stage(result: StageResult) -> Mapping[str, Any]:
    facts = result.facts
    return {
        "name": result.stage,
        "row": result.row,
        "cpu": f"{result.spent.cpu_seconds:,.1f}",
        "decision": result.decision,
        "notes": facts.get("notes", ()),
        "program": facts.get("program", ""),
        "tables": [_table(one) for one in _list(facts.get("tables"))],
        "plots": [Markup(svg(plot)) for plot in _list(facts.get("plots"))],  # made by us, text inside is escaped
        "findings": result.findings,
    }


def _table(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """A table with its columns told apart: numbers stand to the right, words to the left."""
    heads = [str(head).replace("_", " ") for head in table["head"]]
    columns = zip_longest(heads, *table["rows"], fillvalue="")
    sides = ["n" if any(cells) and all(map(_is_number, cells)) else "" for _, *cells in columns]
    rows = [list(zip(row, sides, strict=False)) for row in table["rows"]]
    return {"title": table["title"], "head": list(zip(heads, sides, strict=False)), "rows": rows}


def _is_number(cell: object) -> bool:
    return not cell or bool(_NUMBER.match(str(cell)))


def dollars(value: float, digits: int = 2) -> str:
    """A sum with its sign in front of the currency, and none when it is nothing."""
    shown = f"${abs(value):,.{digits}f}"
    return f"-{shown}" if value < 0 and float(shown[1:].replace(",", "")) else shown


def _list(value: Any) -> list[Any]:
    return list(value or ())


def _bill(sums: Totals | None, results: Results) -> Mapping[str, Any] | None:
    if sums is None:
        return None
    columns = {"today": sums.current, "free defaults": sums.free, "chosen": sums.chosen}
    spent = total(results)
    quantities: dict[str, Callable[[Bill], str]] = {
        "training, $": lambda bill: f"{bill.training_dollars:,.2f}",
        "serving, $": lambda bill: f"{bill.serving_dollars:,.2f}",
        "labels, $": lambda bill: f"{bill.label_dollars:,.2f}",
        "together, $": lambda bill: f"{bill.dollars:,.2f}",
        "CPU-hours": lambda bill: f"{bill.cpu_hours:,.1f}",
        "kWh": lambda bill: f"{bill.kwh:,.2f}",
        "CO2, kg": lambda bill: f"{bill.co2_kg:,.2f}",
    }
    bars = [
        {"label": name, "value": bill.dollars, "mark": mark}
        for (name, bill), mark in zip(columns.items(), ("current", "free", "chosen"), strict=True)
    ]
    return {
        "saved": dollars(sums.saved_dollars, 0),
        "saved_free": dollars(sums.saved_against_free_dollars),
        "kwh": f"{sums.current.kwh - sums.chosen.kwh:,.0f} kWh",
        "co2": f"{sums.current.co2_kg - sums.chosen.co2_kg:,.0f} kg",
        "search": f"${sums.search_dollars:,.3f}",
        "search_cpu": f"{number(spent.cpu_seconds)} s",
        "tokens": f"{spent.tokens:,}",
        "columns": list(columns),
        "rows": [
            {"label": name, "cells": [show(one) for one in columns.values()]} for name, show in quantities.items()
        ],
        "note": sums.note,
        "plot": Markup(svg({"kind": "bars", "title": "Dollars a month", "unit": "$", "rows": bars, "log": True})),
    }
