"""Groups of verbs: listed by area; and a verb that has verbs of its own, and does something by itself."""

from __future__ import annotations

from typing import Any

import typer
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


class Unnamed(typer.Context):
    """Of a verb that is called by its group's name."""

    @property
    def command_path(self) -> str:
        """What the user typed."""
        return self.parent.command_path if self.parent else super().command_path


class WithDefault(typer.core.TyperGroup):
    """A verb with a sub-verb: `scale PLACE` replays, `scale run` runs. Its help is that of both."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the verb that works on the argument in front, unless a sub-verb or help is asked for."""
        if not (args and (args[0] in self.commands or args[0] == "--help")):
            self._default.context_class = Unnamed
            args = [DEFAULT_VERB, *args]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The default verb's."""
        pieces: list[str] = self._default.collect_usage_pieces(ctx)
        return pieces

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The default verb's arguments and options, then the sub-verbs."""
        self._default.format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    @property
    def _default(self) -> Any:
        return self.commands[DEFAULT_VERB]
