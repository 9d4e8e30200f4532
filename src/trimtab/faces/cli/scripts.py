"""What `trimtab speedup` prints, and how its version gets into the script."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from trimtab.faces.cli.commands import print_stage, stage_json
from trimtab.faces.cli.printing import out, print_json


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
