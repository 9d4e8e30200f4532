"""A verb that has verbs of its own, and does something by itself."""

from __future__ import annotations

from typing import Any

import typer.core

DEFAULT_VERB = "replay"


class WithDefault(typer.core.TyperGroup):
    """A verb with a sub-verb: `scale PLACE` replays, `scale run` runs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the verb that works on the argument in front, unless a sub-verb or help is asked for."""
        if DEFAULT_VERB in self.commands and not (args and (args[0] in self.commands or args[0] == "--help")):
            args = [DEFAULT_VERB, *args]
        return super().parse_args(ctx, args)
