"""One page of evidence for one decision: what it rests on, against what it was compared, and what was not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from trimtab import __version__
from trimtab.adapters.files import write_whole
from trimtab.faces.plots import svg
from trimtab.pipeline import StageResult


def write_certificate(result: StageResult, to: Path, about: Mapping[str, str]) -> None:
    """Write the page. `about`: source, sha256, split, guardrails and the ledger's state. Raises TargetError."""
    facts: Any = result.facts
    decision: Any = result.decision
    gain = decision["gain"]
    text = _rendered(
        "certificate.html.jinja",
        name=result.stage,
        row=result.row,
        decision=decision,
        gain=f"{gain['mid']:.4g} ({gain['low']:.4g} to {gain['high']:.4g}) {gain['unit']} of {gain['metric']}, 95 %",
        notes=[*facts.get("notes", ()), *decision["notes"]],
        program=facts.get("program", ""),
        tables=facts.get("tables", ()),
        plots=facts.get("plots", ()),
        **about,
    )
    write_whole(to, text)


def write_plots(title: str, plots: Sequence[Mapping[str, Any]], to: Path) -> None:
    """Write a page of plots. Raises TargetError."""
    write_whole(to, _rendered("plots.html.jinja", plots=plots, title=title))


def _rendered(template: str, *, plots: Sequence[Mapping[str, Any]], **values: Any) -> str:
    environment = Environment(loader=PackageLoader("trimtab.faces"), autoescape=select_autoescape(default=True))
    drawn = [Markup(svg(plot)) for plot in plots]  # made by us, text inside is escaped
    made_at = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return environment.get_template(template).render(version=__version__, made_at=made_at, plots=drawn, **values)
