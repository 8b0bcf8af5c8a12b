"""What several commands share: where they print, and options of one meaning."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reports.document.console import Console
from server.engines.registry import engine_choices

# Without a terminal rich assumes 80 columns, which cuts the tables.
out = Console(width=None if sys.stdout.isatty() else 150)


err = Console(stderr=True)


if TYPE_CHECKING:
    EngineName = str
else:
    EngineName = Literal[engine_choices()]  # what --engine takes: the engines registered by now


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def key_value(option: str) -> tuple[str, str]:
    key, equals, value = option.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"--engine-option {option}: it must read KEY=VALUE")
    return key, value
