"""The command line: `prunebench.commands` has the commands; here they get their names, and their errors an exit status.

Mistakes of the user print one line that names what to mend and exit 2; a failed run exits 1; Ctrl-C exits 130.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated

import typer

from base.errors import UserError
from loadgen.link.interrupt import raise_lost_interrupts
from prunebench import __version__
from prunebench.commands.checkpoints import inspect, prune
from prunebench.commands.energy import energy_app
from prunebench.commands.experiments import run, schema
from prunebench.commands.figures import compare, plan, published, report
from prunebench.commands.loads import load, load_worker
from prunebench.commands.machine import doctor
from prunebench.commands.options import err, out
from prunebench.commands.quality import evaluate
from prunebench.commands.servers import host, serve

app = typer.Typer(
    name="prunebench",
    help="What a width-pruned language model really costs to serve.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _command in (
    *(run, host, prune, inspect, serve, load, load_worker, report),
    *(compare, evaluate, schema, plan, published, doctor),
):
    app.command()(_command)
app.add_typer(energy_app)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show:
        out.print(__version__, highlight=False)
        raise typer.Exit


def main() -> None:
    """Entry point of `prunebench` and `python -m prunebench`."""
    raise_lost_interrupts()
    try:
        status = app(standalone_mode=False)
    except KeyboardInterrupt:
        err.print("interrupted")
        status = 130
    except Exception as error:
        if isinstance(error, UserError):
            message = str(error)
        elif isinstance(error, OSError) and error.filename is not None:  # no such folder, no room, a name too long
            message = f"{error.filename}: {error.strerror}"
        elif hasattr(error, "format_message"):  # typer carries its own copy of click, whose errors have no public name
            message = error.format_message().replace("Value error, ", "")  # pydantic's, which typer hands on
        else:
            raise
        err.print(f"prunebench: {message}", highlight=False, markup=False, soft_wrap=True)
        status = 2
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.exit(status)
