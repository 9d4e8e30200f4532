"""What `trimtab speedup` and `trimtab shrink` print, and how a version gets into the script."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.faces.cli.commands import print_stage, stage_json
from trimtab.faces.cli.printing import out, print_json
from trimtab.pipeline import StageResult

if TYPE_CHECKING:
    from trimtab.app import Terms


@dataclass(frozen=True)
class Wish:
    """The command's arguments."""

    script: Path
    arguments: tuple[str, ...]
    metric: str
    goal: str
    tolerance: float
    budget: float
    python: str


@dataclass(frozen=True)
class Table:
    """A pipeline's folder or file, or a table with its target."""

    place: Path
    target: str

    @property
    def folder(self) -> Path:
        """Where its ledger lies."""
        if self.place.is_dir():
            return self.place
        return self.place.parent if self.place.suffix == ".toml" else Path.cwd()


def shrink(table: Table, terms: Terms, certificate: Path | None, *, as_json: bool, with_model: bool) -> None:
    """`trimtab shrink`. Raises InputError, TargetError."""
    from trimtab import app
    from trimtab.faces.cli.progress import StageProgress

    with StageProgress(is_shown=not as_json) as progress:
        result = app.shrink(
            table.place,
            target=table.target,
            terms=terms,
            progress=progress.stage,
            seen=progress.event,
            with_model=with_model,
        )
    if certificate is not None:
        from trimtab.faces.certificate import write_certificate

        write_certificate(result, certificate, _evidence(result, table))
    if as_json:
        print_json({"command": "shrink", **stage_json(result)})
        return
    print_stage(result)
    identity, name = str(result.decision["id"]), table.folder  # type: ignore[index]
    if result.decision["by"] != "current":  # type: ignore[index]
        out.print(f"nothing was changed; `trimtab apply {identity} --in {name}` puts it in place", markup=False)


def _evidence(result: StageResult, table: Table) -> dict[str, str]:
    from trimtab import app

    _, length, head = app.verify(table.folder)
    return {
        "source": str(result.facts["source"]),
        "sha256": str(result.facts["sha256"])[:32],
        "split": "searched on the first part of the rows; held on the next, which nothing was chosen on",
        "ledger": f"{length:,} events, the last one hashes to {head[:16]}…",
    }


def speedup(wish: Wish, certificate: Path | None, *, as_json: bool, is_applied: bool) -> None:
    """`trimtab speedup`. Raises InputError, TargetError."""
    from trimtab.stages.speedup import Order
    from trimtab.stages.speedup import speedup as speed_up

    order = Order(
        wish.script, wish.metric, wish.goal, wish.arguments, wish.tolerance, wish.budget, wish.python or sys.executable
    )
    result = speed_up(order)
    diff, identity = str(result.facts["diff"]), str(result.decision["id"])  # type: ignore[index]
    if certificate is not None:
        from trimtab.faces.certificate import write_certificate
        from trimtab.stages.bench import evidence

        seeds = "searched on two shifts of the script's seeds; held on five others, which nothing was chosen on"
        write_certificate(result, certificate, {**evidence([wish.script]), "split": seeds})
    if as_json:
        print_json({"command": "speedup", **stage_json(result), "diff": diff})
    else:
        print_stage(result)
        out.print(diff, markup=False, highlight=False, soft_wrap=True)
    if is_applied and diff:
        from trimtab import app

        app.apply_decision(Path.cwd(), identity)
    if not as_json and diff:
        said = f"{wish.script} was changed; `trimtab revert {identity}` puts it back"
        hint = f"nothing was changed; `trimtab apply {identity}` changes {wish.script}"
        out.print(said if is_applied else hint, markup=False)
