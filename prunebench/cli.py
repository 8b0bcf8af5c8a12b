"""The command line: the commands' names, and the exit status of their errors.

A command is the function of its name in the module of its name in `prunebench.commands`, imported once it is called, so that
`prunebench --help` is quick and a process holds only what its command needs. A mistake of the user prints one line that names
what to fix and exits with 2; a failed run exits with 1; Ctrl-C exits with 130.
"""

from __future__ import annotations

import os
import sys
from collections import UserDict
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from base.errors import UserError, describe_os_error
from base.python_process import keep_safe_path
from loadgen.link.interrupt import raise_lost_interrupts
from prunebench.terminal.command_help import CommandWithExamples, write_examples

COMMANDS = {
    "init": "Write a commented experiment file for a checkpoint or a server, by what this machine has.",
    "run": "Compare checkpoints, settings or servers in paired blocks: prune, serve, load, measure, report.",
    "host": "Start and stop servers here for runners elsewhere (`prunebench run --serve-on`).",
    "prune": "Write narrower checkpoints, all widths in one pass over the source.",
    "inspect": "Show what each target width would give, by default the paper's percentages; nothing is written.",
    "serve": "Serve a checkpoint over the OpenAI API until interrupted.",
    "load": "Load a server and record every request.",
    "load-worker": "Send a share of the load of a `load --driver locust` that runs elsewhere.",
    "report": "Turn runs into a report: HTML and Markdown with pictures, and its figures as CSV, Parquet and JSON.",
    "compare": "Compare two runs width by width: another GPU, another engine, last week.",
    "evaluate": "Ask quality tasks through lm-eval of what is served.",
    "schema": "Print the JSON Schema of experiment files, for editors: `#:schema FILE` in the first line of a TOML file.",
    "plan": "Turn a run into GPUs, megawatts, cost and CO2 for a demand, by simulating the queue of every width.",
    "published": "Re-analyse the published study's figures: which of its claims survive our checks.",
    "doctor": "Report what this machine can serve and measure, what is missing, and how to get it.",
    "energy": "Watch power, measure it at rest, predict joules.",
}


FIRST = (
    ("What this machine can serve and measure", "prunebench doctor"),
    ("Load a server that runs already: latencies, throughput, joules", "prunebench load http://127.0.0.1:8000"),
    ("Compare a model with narrower ones: write an experiment, then run it", "prunebench init ./model"),
)


_COMPLETION = "_PRUNEBENCH_COMPLETE"  # typer's name for it

# httpx takes its own command line for not installed: with what that prints by, it takes longer to import than all the rest of it.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]


class Commands(UserDict[str, Any]):
    """Commands by name; one of `COMMANDS` is imported when it is first read."""

    def __getitem__(self, name: str) -> Any:
        if name not in self.data:
            self.data[name] = _import_command(name)
        return self.data[name]

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS or name in self.data

    def __iter__(self) -> Any:
        return iter({**COMMANDS, **self.data})

    def __len__(self) -> int:
        return len({**COMMANDS, **self.data})


class CommandGroup(TyperGroup):
    """The group of all commands."""

    def __init__(self, *, commands: dict[str, Any], **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = Commands(commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Print the names and what they do; nothing is imported for that."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Print what it is for, and what to do first."""
        super().format_help_text(ctx, formatter)
        write_examples(FIRST, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Names that begin so, and what they do; nothing is imported for that."""
        self.commands = {name: TyperCommand(name, help=words) for name, words in COMMANDS.items()}
        return super().shell_complete(ctx, incomplete)


def _import_command(name: str) -> Any:
    if name not in COMMANDS:
        raise KeyError(name)
    word = name.replace("-", "_")
    command = getattr(import_module(f"prunebench.commands.{word}"), word)
    app = typer.Typer(add_completion=False, **_STYLE)
    if isinstance(command, typer.Typer):  # a group of commands
        for one in command.registered_commands:
            one.cls = CommandWithExamples
        app.add_typer(command, name=name, help=COMMANDS[name])
        return typer.main.get_group(app).commands[name]
    app.command(name, help=COMMANDS[name], cls=CommandWithExamples)(command)
    return typer.main.get_command(app)


_STYLE: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False}
_SUMMARY = "What a width-pruned language model really costs to serve."
app = typer.Typer(
    name="prunebench",
    help=_SUMMARY,
    cls=CommandGroup,
    **_STYLE,
)


@app.callback(invoke_without_command=True)
def begin(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        from prunebench import __version__

        sys.stdout.write(f"{__version__}\n")
        raise typer.Exit
    if context.invoked_subcommand is None:
        steps = (f"  # {meaning}\n  {words}\n" for meaning, words in FIRST)
        sys.stdout.write(f"{_SUMMARY} Three things to do first:\n\n{''.join(steps)}\nAll commands: prunebench --help\n")


def main() -> None:
    """Entry point of `prunebench` and `python -m prunebench`."""
    raise_lost_interrupts()
    keep_safe_path()
    status = 0
    try:
        # Not `app()`: typer would turn Ctrl-C into a status without a word, and print errors in several lines.
        group = typer.main.get_command(app)
        if _COMPLETION in os.environ:  # the shell asks how a line could continue
            group.main(prog_name="prunebench")
        with group.make_context("prunebench", sys.argv[1:]) as context:
            group.invoke(context)
    except typer.Exit as ended:
        status = ended.exit_code
    except KeyboardInterrupt:
        _complain("interrupted")
        status = 130
    except BrokenPipeError:
        status = 1
    except Exception as error:
        message = _user_message(error)
        if message is None:
            raise
        _complain(message)
        status = 2
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed our output, as `head` does; Python would complain of it as it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _user_message(error: Exception) -> str | None:
    """An error that the user can fix, in one line; None for any other."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:  # no such folder, no room, a name too long
        return describe_os_error(error)
    if hasattr(error, "format_message"):  # typer carries its own copy of click, whose errors have no public name
        message = str(error.format_message()).replace("Value error, ", "")  # pydantic's prefix, which typer keeps
        context = getattr(error, "ctx", None)
        return f"{message.rstrip('.')}; see `{context.command_path} --help`" if context else message
    return None


def _complain(message: str) -> None:
    from prunebench.terminal.console import err, print_line

    print_line(f"prunebench: {message}", err)
