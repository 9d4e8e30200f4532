"""What `trimtab runs` and `trimtab watch report` print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from trimtab.core.errors import InputError
from trimtab.core.wire import dump
from trimtab.faces.cli.printing import duration, out, print_json, size
from trimtab.stages import runs as stage
from trimtab.training.tracking.index import Condition, Listed, Wanted
from trimtab.training.tracking.notes import shown, written


def list_runs(folder: Path, wanted: Wanted, columns: Sequence[str], *, as_json: bool) -> None:
    """`trimtab runs`."""
    found, unfinished = stage.runs(folder, wanted)
    if as_json:
        print_json(
            {"command": "runs", "runs": [dump(one) for one in found], "unfinished": [dump(one) for one in unfinished]}
        )
        return
    names = list(columns) or _telling(found, wanted)
    table = Table("run", "when", "name", "by", "status", "time", "CPU", "memory", *names, box=None)
    for one in found:
        values = {**one.parameters, **one.metrics}
        told = [shown(values[name]) if name in values else "" for name in names]
        facts = (duration(one.seconds), duration(one.cpu_seconds), size(one.peak_bytes))
        table.add_row(one.run[:8], one.began[:16].replace("T", " "), one.name, one.by, one.status, *facts, *told)
    out.print(table)
    for began in unfinished:
        said = f"{began.run[:8]} {began.name} began {began.began[:16]} and has not ended: it runs, or it was killed"
        out.print(said, style="dim", markup=False)


def show_run(folder: Path, run: str, *, as_json: bool) -> None:
    """`trimtab runs show`."""
    (one,) = stage.run_events(folder, [run])
    if as_json:
        print_json({"command": "runs show", "run": dump(one), "notes": [*one.notes, *written(one)]})
        return
    for line in (*written(one), *one.notes):
        out.print(line, markup=False, soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    for title, values in (("parameters", one.parameters), ("data", one.data), ("code", one.code), ("host", one.host)):
        for at, (name, value) in enumerate(values.items()):
            table.add_row("" if at else title, name, str(value)[:100])
    table.add_row("packages", one.environment[:16], "")
    table.add_row("command", " ".join(one.command)[:120], "")
    out.print(table)


def compare_runs(folder: Path, runs: Sequence[str], *, as_json: bool) -> None:
    """`trimtab runs compare`."""
    these = stage.run_events(folder, runs)
    rows = stage.compared(these)
    if as_json:
        print_json({"command": "runs compare", "runs": [one.run for one in these], "differ": dict(rows)})
        return
    table = Table("", *(f"{one.name} {one.run[:8]}" for one in these), box=None)
    for name, values in rows:
        table.add_row(name, *("" if value is None else shown(value)[:40] for value in values))
    out.print(table)


def plot_runs(folder: Path, runs: Sequence[str], to: Path) -> None:
    """`trimtab runs plot`."""
    from trimtab.faces.certificate import write_plots

    these = stage.run_events(folder, runs)
    write_plots("Training runs: " + ", ".join(f"{one.name} {one.run[:8]}" for one in these), stage.plots(these), to)
    out.print(f"wrote {to}", markup=False)


def export_runs(folder: Path, to: str, experiment: str, wanted: Wanted) -> None:
    """`trimtab runs export`."""
    from trimtab.adapters.mlflow_export import export

    found, _ = stage.runs(folder, wanted)
    count = export(stage.run_events(folder, [one.run for one in reversed(found)]), to, experiment)
    out.print(f"wrote {count} of {len(found)} runs to {to}; the others were there", markup=False)


def prune_runs(folder: Path, metric: str, goal: str, newest: int, *, is_applied: bool) -> None:
    """`trimtab runs prune`."""
    count = stage.pruned(folder, metric, goal, newest, is_applied=is_applied)
    said = "are no longer listed; `runs show` still finds them" if is_applied else "would go; --apply lets them"
    out.print(f"{count} runs {said}", markup=False)


def report(folder: Path, name: str, numbers: Sequence[str], risk: float, *, as_json: bool) -> None:
    """`trimtab watch report`."""
    called, found = stage.request(folder, name, numbers, risk)
    if as_json:
        print_json({"command": "watch report", "name": called, "request": dump(found)})
        return
    said = f"ask for {size(found.bytes)} for the next {called}: typically {size(found.typical)} are used"
    by = f" by {', '.join(found.features)}" if found.features else ""
    out.print(f"{said}; learnt from {found.runs} runs{by}; risk of needing more: {found.risk:.2%}", markup=False)
    for note in found.notes:
        out.print(note, markup=False)


def wanted(where: Sequence[str], by: str, limit: int, *, ascending: bool) -> Wanted:
    """The options as one value. Raises InputError."""
    if limit < 1:
        raise InputError(f"--limit {limit} lists nothing", hint="--limit 20")
    return Wanted(tuple(map(Condition.parse, where)), by, ascending, limit)


def _telling(found: Sequence[Listed], wanted: Wanted) -> list[str]:
    """Up to four metrics or parameters worth a column: asked for, or metrics that most have."""
    asked = [one for one in (wanted.by, *(one.name for one in wanted.where)) if one]
    counts: dict[str, int] = {}
    for one in found:
        for name in one.metrics:
            counts[name] = counts.get(name, 0) + 1
    own = {"seconds", "cpu_seconds", "peak_bytes", "began", "name", "by", "status"}
    metrics = sorted(counts, key=lambda name: -counts[name])
    return [one for one in dict.fromkeys([*asked, *metrics]) if one not in own][:4]
