"""The help of a command: examples first, then its options by panel, those without a panel before the others.

    @examples(("The paper's percentages", "prunebench inspect ./model"))
    def inspect(source: …, seed: Annotated[int, typer.Option(help=…, rich_help_panel="Sampling")] = 0) -> None: …

Plain sections rather than rich's boxes, which leave half a line for the words at 80 columns.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from typer import BadParameter
from typer.core import TyperCommand

from base.paths import expand, matching

_Function = TypeVar("_Function", bound=Callable[..., Any])
_FIRST = "Options"
_LAST = "Help"
_WIDEST = 70  # columns of an option and its choices


def examples(*given: tuple[str, str]) -> Callable[[_Function], _Function]:
    """Give a command's function its examples: what each is for, and the command line."""

    def give(function: _Function) -> _Function:
        function.examples = given  # type: ignore[attr-defined]  # typer hands the attributes of a function on
        return function

    return give


def examples_of(command: Any) -> tuple[tuple[str, str], ...]:
    """The examples of a command of typer's; none for a group."""
    found: tuple[tuple[str, str], ...] = getattr(command.callback, "examples", ())
    return found


def panels_of(command: Any) -> dict[str, list[Any]]:
    """The options of a command by panel, in the order in which they are printed."""
    panels: dict[str, list[Any]] = {_FIRST: []}
    for option in (parameter for parameter in command.params if parameter.param_type_name == "option"):
        panels.setdefault(option.rich_help_panel or _FIRST, []).append(option)
    return {name: options for name, options in panels.items() if options}


def write_examples(given: tuple[tuple[str, str], ...], formatter: Any) -> None:
    """Write examples as lines that a shell takes: what each is for is a comment."""
    with formatter.section("Examples"):
        margin, width = " " * formatter.current_indent, formatter.width - formatter.current_indent
        for meaning, words in given:
            lines = [
                *textwrap.wrap(meaning, width - 2, initial_indent="# ", subsequent_indent="# "),
                *_folded(words, width),
            ]
            formatter.write("".join(f"{margin}{line}\n" for line in lines))


def _folded(words: str, width: int) -> list[str]:
    """A command line before whose options a new line begins where it would be wider than that."""
    first, *options = words.split(" --")
    lines = [first]
    for option in options:
        if len(f"{lines[-1]} --{option} \\") <= width:
            lines[-1] += f" --{option}"
        else:
            lines[-1] += " \\"
            lines.append(f"    --{option}")
    return lines


class CommandWithExamples(TyperCommand):
    """The class of every command."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        for argument in (parameter for parameter in self.params if parameter.param_type_name == "argument"):
            argument.metavar = argument.metavar or str(argument.name).upper()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read them, with `~` in paths expanded, and patterns where it takes several."""
        given = [word.partition("=")[0] for word in args]
        try:
            left: list[str] = super().parse_args(ctx, args)
        except BadParameter as error:
            if hasattr(error, "param_type"):  # a missing one, which click names alone
                error.param_hint = self._missing(given) or error.param_hint
            raise
        ctx.params = {name: _expanded(value) for name, value in ctx.params.items()}
        return left

    def _missing(self, given: list[str]) -> str:
        """All required options that are not among the words `given`."""
        options = (one for one in self.params if one.param_type_name == "option" and one.required)
        return ", ".join(f"'{option.opts[0]}'" for option in options if not set(option.opts) & set(given))

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """What the command does, and its examples."""
        super().format_help_text(ctx, formatter)
        if given := examples_of(self):
            write_examples(given, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then the options by panel."""
        arguments = [parameter for parameter in self.params if parameter.param_type_name == "argument"]
        sections = {"Arguments": arguments, **panels_of(self), _LAST: [self.get_help_option(ctx)]}
        for name, parameters in sections.items():
            if rows := [row for one in parameters if one is not None and (row := _row(one, ctx))]:
                with formatter.section(name):
                    formatter.write_dl(rows)


def _row(parameter: Any, ctx: Any) -> tuple[str, str] | None:
    """An option beside what it does; many choices, which no line holds, stand behind that."""
    row: tuple[str, str] | None = parameter.get_help_record(ctx)
    if row is None or len(row[0]) <= _WIDEST:
        return row
    name, _, choices = row[0].partition(" <")
    return f"{name} <choice>", f"{row[1]} One of {choices.removesuffix('>').replace('|', ', ')}."


def _expanded(value: Any) -> Any:
    if isinstance(value, Path):
        return expand(value)
    if isinstance(value, list) and all(isinstance(one, Path) for one in value):
        return [path for one in value for path in matching(one)]
    return value
