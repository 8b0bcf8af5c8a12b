"""`prunebench host`: servers on this machine for runners elsewhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from prunebench.commands.options import RequiredKeyFile, engine_options
from prunebench.servers.host import host_servers
from prunebench.servers.pool import HostSettings
from prunebench.terminal.command_help import examples

_servers_option = partial(typer.Option, rich_help_panel="Servers")


@examples(
    ("Serve checkpoints of one folder to runners on this machine", "prunebench host --root ./models"),
    (
        "To runners elsewhere, which must send a key",
        "prunebench host --root ./models --host 10.0.0.2 --api-key-file key.txt",
    ),
    ("What they run there", "prunebench run experiment.toml --serve-on http://10.0.0.2:7000 --serve-key-file key.txt"),
)
def host(
    root: Annotated[list[Path], typer.Option(help="Folder whose checkpoints may be served; repeatable.")],
    host: Annotated[str, typer.Option(help="Address to listen on, also of the servers.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 7000,
    first_port: Annotated[int, _servers_option(min=1, max=65535, help="First port of the servers.")] = 8000,
    most_servers: Annotated[int, typer.Option(min=1, max=100, help="Servers at a time, and ports.")] = 10,
    api_key_file: RequiredKeyFile = None,
    logs: Annotated[Path, typer.Option(help="Folder for the servers' logs.")] = Path("logs"),
    engine_option: Annotated[
        list[str] | None,
        _servers_option(help="KEY=VALUE for every server's engine; runners may not change it. Repeatable."),
    ] = None,
) -> None:
    options = engine_options(engine_option)
    host_servers(HostSettings(root, logs, host, port, first_port, most_servers, api_key_file, options))
