"""What the commands do: call the app, then print a table or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from trimtab import app
from trimtab.core.wire import dump
from trimtab.faces.cli.printing import out, print_json
from trimtab.faces.cli.progress import StageProgress
from trimtab.faces.report import dollars, write_report
from trimtab.pipeline import StageResult, total
from trimtab.totals import Totals, totals
from trimtab.views import spent_view


def run(place: Path, *, as_json: bool, with_model: bool) -> None:
    """`trimtab run`."""
    with StageProgress(is_shown=not as_json) as progress:
        made = app.run(place, progress=progress.stage, seen=progress.event, with_model=with_model)
    report = write_report(made.workplace, made.results, made.workplace.store / "report.html")
    sums = totals(made.workplace, made.results)
    if as_json:
        stages = [stage_json(one) for one in made.results.values()]
        bill = None if sums is None else _bill_json(sums)
        spent = spent_view(total(made.results))
        print_json({"command": "run", "stages": stages, "bill": bill, "spent": spent, "report": str(report)})
        return
    out.print(_table(list(made.results.values())))
    if sums is not None:
        _print_bill(sums)
    out.print(f"[dim]{made.workplace.model_note}[/]")
    out.print(f"report: {report}", soft_wrap=True)


def stage(name: str, place: Path, target: str, *, as_json: bool, with_model: bool) -> bool:
    """One stage; returns whether it has findings."""
    with StageProgress(is_shown=not as_json) as progress:
        result = app.run_stage(
            name, place, target=target, progress=progress.stage, seen=progress.event, with_model=with_model
        )
    if as_json:
        print_json({"command": name, **stage_json(result)})
    else:
        print_stage(result)
    return bool(result.findings)


def print_stage(result: StageResult) -> None:
    """One stage's row, notes, tables and findings."""
    out.print(_table([result]))
    facts: Any = result.facts
    for note in facts.get("notes", ()):
        out.print(note, markup=False)
    if facts.get("program"):
        out.print("The chosen policy as a program:")
        out.print(facts["program"], markup=False, highlight=False)
    for one in facts.get("tables", ()):
        out.print(_fact_table(one))
    for finding in result.findings:
        out.print(f"[yellow]{finding.get('kind')}[/] {finding.get('column')}: {finding.get('message')}")
    decision: Any = result.decision
    if decision:
        for note in decision.get("notes", ()):
            out.print(note, markup=False, style="dim")
        out.print(f"[dim]decision {decision['id']}: `trimtab show {decision['id']}`[/]")


def init(table: Path, target: str, folder: Path, *, force: bool) -> None:
    """`trimtab init`."""
    from trimtab.initialise import write_config

    written, guesses = write_config(table, target, folder, force=force)
    out.print(f"wrote {written}")
    for one in guesses:
        out.print(f"  guessed {one.key} = {one.value!r}: {one.because}", markup=False)


def history(folder: Path, *, as_json: bool) -> None:
    """`trimtab history`."""
    decisions = app.history(folder)
    if as_json:
        print_json({"command": "history", "decisions": [dump(one.event) for one in decisions]})
        return
    table = Table("decision", "when", "outcome", "by", "CPU-s", box=None)
    for one in decisions:
        past = one.event
        outcome = "keep the current plan" if past.winner is None else "change"
        table.add_row(past.decision, f"{one.at:%Y-%m-%d %H:%M}", outcome, past.by, f"{past.spent.cpu_seconds:.1f}")
    out.print(table)


def show(folder: Path, decision: str, *, as_json: bool) -> None:
    """`trimtab show`."""
    trail = app.trail(folder, decision)
    if as_json:
        events = [{"position": one.position, "at": one.at.isoformat(), "event": dump(one.event)} for one in trail]
        print_json({"command": "show", "trail": events})
        return
    from trimtab.faces.cli.trail import trail_lines

    for line in trail_lines(trail):
        out.print(line, markup=False)


def change(kind: str, folder: Path, decision: str, *, as_json: bool) -> None:
    """`trimtab apply` and `trimtab revert`."""
    change_id, path = (app.apply_decision if kind == "apply" else app.revert_decision)(folder, decision)
    if as_json:
        print_json({"command": kind, "change": change_id, "file": str(path)})
        return
    undo = f"undo with `trimtab revert {decision}`" if kind == "apply" else "the former plan stands again"
    out.print(f"{change_id}: {path} ({undo})")


def verify(folder: Path, *, as_json: bool) -> bool:
    """`trimtab ledger verify`."""
    broken, count, head = app.verify(folder)
    if as_json:
        print_json({"command": "ledger verify", "broken": broken, "events": count, "head": head})
    elif broken is None:
        out.print(f"whole: {count:,} events, head {head}")
    else:
        out.print(f"[red]broken at position {broken:,}[/]")
    return broken is None


def model_pull(name: str, source: str) -> None:
    """`trimtab model pull`."""
    from trimtab.language import pull_model

    out.print(f"{pull_model(name, source, out.print)}")


def model_list() -> None:
    """`trimtab model list`."""
    from trimtab.language import known_models

    table = Table("name", "size", "licence", "SHA-256", "here", box=None)
    for row in known_models():
        table.add_row(*row)
    out.print(table)


def _table(results: list[StageResult]) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("stage", "current → chosen", "saving (95 %)", "measured", "by"):
        table.add_column(head, overflow="fold")
    table.add_column("search CPU-s", justify="right")
    for one in results:
        row = one.row
        change = row.current if row.chosen == row.current else f"{row.current} → {row.chosen}"
        table.add_row(one.stage, change, row.saving, row.method, row.by, f"{one.spent.cpu_seconds:,.1f}")
    return table


def _fact_table(one: dict[str, Any]) -> Table:
    table = Table(title=one["title"], title_justify="left", box=None)
    for place, head in enumerate(one["head"]):
        table.add_column(str(head), justify="left" if place == 0 else "right")
    for row in one["rows"]:
        table.add_row(*(str(cell) for cell in row))
    return table


def _print_bill(sums: Totals) -> None:
    table = Table("a month", box=None)
    for head in ("today", "free defaults", "chosen"):
        table.add_column(head, justify="right")
    ways = (sums.current, sums.free, sums.chosen)
    table.add_row("money", *(f"${one.dollars:,.2f}" for one in ways))
    table.add_row("CPU-hours", *(f"{one.cpu_hours:,.1f}" for one in ways))
    table.add_row("energy", *(f"{one.kwh:,.1f} kWh" for one in ways))
    table.add_row("CO2", *(f"{one.co2_kg:,.1f} kg" for one in ways))
    out.print(table)
    out.print(
        f"first month, search (${sums.search_dollars:,.3f}) deducted: {dollars(sums.saved_dollars)} less than today, "
        f"{dollars(sums.saved_against_free_dollars)} less than the free defaults"
    )


def stage_json(result: StageResult) -> dict[str, Any]:
    return {
        "name": result.stage,
        "decision": result.decision,
        "findings": list(result.findings),
        "row": dump(result.row),
        "facts": dump(result.facts),
        "spent": spent_view(result.spent),
    }


def _bill_json(sums: Totals) -> dict[str, Any]:
    ways = {"current": sums.current, "free_defaults": sums.free, "chosen": sums.chosen}
    bills = {name: {**dump(bill), "dollars": bill.dollars} for name, bill in ways.items()}  # type: ignore[dict-item]
    return {
        **bills,
        "search_dollars": sums.search_dollars,
        "net_dollars": sums.saved_dollars,
        "net_dollars_against_free_defaults": sums.saved_against_free_dollars,
    }
