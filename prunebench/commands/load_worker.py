"""`prunebench load-worker`: a Locust worker of a load that runs elsewhere."""

from __future__ import annotations

from typing import Annotated

import typer

from base.key_file import read_key
from loadgen.endpoint import headers_of
from loadgen.locust.processes import become_worker
from prunebench.commands.options import Headers, ServerKeyFile
from prunebench.terminal.command_help import examples


@examples(
    ("One of two workers of a load that a third machine started", "prunebench load-worker 10.0.0.2:5557"),
)
def load_worker(
    master: Annotated[str, typer.Argument(metavar="HOST:PORT", help="What `load --remote-workers` printed.")],
    api_key_file: ServerKeyFile = None,
    header: Headers = None,
) -> None:
    become_worker(master, None if api_key_file is None else read_key(api_key_file), headers_of(header or []))
