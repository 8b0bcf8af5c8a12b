"""docs/reference/command-line.md, from typer's own tree of commands."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

from prunebench.cli import app
from prunebench.terminal.command_help import examples_of, panels_of

PAGE = "docs/reference/command-line.md"
COLUMNS = 100
TYPES = {"str": "text", "int": "integer", "float": "number", "Path": "path", "bool": "flag"}

HEAD = """# Command line

Every command and option of `prunebench`, with its type and default. `prunebench COMMAND --help`
prints the same. Nothing is imported from the working folder; where another package on the path has
the name of one of ours, put this folder first, in `PYTHONPATH`. `prunebench --install-completion`
has the shell complete commands and options.

Durations, rates and sizes take units: `500ms`, `30s`, `5m`, `2h`, `10/s`, `600/min`, `64MiB`. A
plain number counts seconds, requests per second (of `plan`: per day) or bytes.

Exit status: 0 done; 1 the run, load or comparison failed; 2 a mistake in an option or file, which
one line names; 130 after Ctrl-C. Commands with `--json` print JSON on stdout, for scripts. A
terminal gets a bar of what takes long; a pipe, and with `NO_COLOR`, `CI` or `TERM=dumb` a terminal
too, gets lines without escape codes.

This page is generated: `python -P -m tests.docs`.
"""


def render() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_group("prunebench", get_command(app))]) + "\n"


def _group(prefix: str, group: Any) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        words = f"{prefix} {name}"
        if hasattr(command, "commands"):
            yield from _group(words, command)
        else:
            yield from _command(words, command)


def _command(words: str, command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [option for panel in panels_of(command).values() for option in panel]
    context = typer.Context(command, info_name=words)
    usage = " ".join([words, *map(_argument, arguments), *([_options(options)] if options else [])])
    yield f"## `{words}`\n"
    yield textwrap.fill(" ".join(command.help.split()), COLUMNS, break_on_hyphens=False) + "\n"
    yield f"    {usage}\n"
    if given := examples_of(command):
        yield from (f"    # {meaning}\n    {line}" for meaning, line in given)
        yield ""
    if command.params:
        yield "| argument or option | type | default | meaning |"
        yield "| --- | --- | --- | --- |"
        yield from (_row(parameter, context) for parameter in [*arguments, *options])
        yield ""


def _argument(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()) + ("…" if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _options(options: list[Any]) -> str:
    needed = [f"{option.opts[0]} {(option.metavar or option.name).upper()}" for option in options if option.required]
    return " ".join([*needed, *(["[OPTIONS]"] if len(needed) < len(options) else [])])


def _row(parameter: Any, context: typer.Context) -> str:
    is_argument = parameter.param_type_name == "argument"
    name = _argument(parameter).strip("[]") if is_argument else ", ".join(parameter.opts)
    default = "required" if parameter.required else _default(parameter.default)
    cells = [f"`{name}`", _type(parameter, context), default, " ".join((parameter.help or "").split())]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _type(parameter: Any, context: typer.Context) -> str:
    kind = parameter.type_descriptor
    bare = parameter.display_type(context).strip("<>").removeprefix("list[").removesuffix("]")
    if kind.is_choice:
        named = ", ".join(f"`{choice}`" for choice in bare.split("|"))
    else:
        bare = bare.removesuffix(" range")
        named = TYPES.get(bare, bare) if parameter.metavar is None else f"`{parameter.metavar}`"
    low, high = parameter.min, parameter.max
    limits = {(True, True): f", {low} to {high}", (True, False): f", ≥ {low}", (False, True): f", ≤ {high}"}
    return named + limits.get((low is not None, high is not None), "") + (", repeatable" if parameter.multiple else "")


def _default(value: Any) -> str:
    if value is None or value is False:
        return "—"
    return f"`{getattr(value, 'value', value)}`"
