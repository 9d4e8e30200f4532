"""Groups of verbs: listed by area; and a verb that has verbs of its own, and does something by itself."""

from __future__ import annotations

from typing import Any

import typer.core

DEFAULT_VERB = "replay"
LETTERS = 200  # of a verb's first sentence: all of it


class ByArea(typer.core.TyperGroup):
    """Lists its verbs by area, a line each."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """A section for each area, in the order of its first verb."""
        areas: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            if not command.hidden:
                verbs = areas.setdefault(command.rich_help_panel or "Commands", [])
                verbs.append((name, command.get_short_help_str(LETTERS)))
        for area, verbs in areas.items():
            with formatter.section(area):
                formatter.write_dl(verbs)


class WithDefault(typer.core.TyperGroup):
    """A verb with a sub-verb: `scale PLACE` replays, `scale run` runs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the verb that works on the argument in front, unless a sub-verb or help is asked for."""
        if DEFAULT_VERB in self.commands and not (args and (args[0] in self.commands or args[0] == "--help")):
            args = [DEFAULT_VERB, *args]
        return super().parse_args(ctx, args)
