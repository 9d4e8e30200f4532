"""One page of evidence for one decision: what it rests on, against what it was compared, and what was not seen."""

from __future__ import annotations

from collections.abc import Mapping
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
    environment = Environment(loader=PackageLoader("trimtab.faces"), autoescape=select_autoescape(default=True))
    facts: Any = result.facts
    decision: Any = result.decision
    gain = decision["gain"]
    text = environment.get_template("certificate.html.jinja").render(
        name=result.stage,
        row=result.row,
        decision=decision,
        version=__version__,
        made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        gain=f"{gain['mid']:.4g} ({gain['low']:.4g} to {gain['high']:.4g}) {gain['unit']} of {gain['metric']}, 95 %",
        notes=[*facts.get("notes", ()), *decision["notes"]],
        program=facts.get("program", ""),
        tables=facts.get("tables", ()),
        plots=[Markup(svg(plot)) for plot in facts.get("plots", ())],  # made by us, text inside is escaped
        **about,
    )
    write_whole(to, text)
