"""The settings of `prunebench serve`, and what can be known about them before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from base.choices import OneOf
from base.errors import UserError
from base.key_file import read_key
from base.records import Record
from server.engines.checkpoint import read_config
from server.engines.entry import EngineEntry
from server.engines.registry import AUTO, choose_engine, engine_choices

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


EngineName = Annotated[str, OneOf(engine_choices)]  # of a field in a pydantic model


class ServeError(UserError):
    """A wrong flag or file; one line that names what to fix."""


class ServeSettings(Record):
    """Settings of one server. Command-line flags have the same names."""

    checkpoint: Path
    engine: EngineName = AUTO
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)  # 0: any free one, which is logged
    served_model_name: str | None = None  # None: the checkpoint folder's name
    api_key_file: Path | None = None  # its text, stripped, is the key clients send as "Authorization: Bearer ..."
    allow_open: bool = False  # serve without a key on a host that others can reach
    engine_options: dict[str, str] = {}
    modelled_watts_per_core: float | None = Field(default=None, gt=0)
    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    max_concurrent_requests: int = Field(default=4096, ge=1)  # sequences in the engine, running or waiting: prompts x n
    receive_timeout_s: float = Field(default=30.0, gt=0)  # deadline for a request's headers, and again for its body
    send_timeout_s: float = Field(default=30.0, gt=0)  # a response that stays unread this long ends the connection
    access_log: bool = False  # one line of JSON a request on stderr
    shutdown_grace_s: float = Field(default=5.0, ge=0)  # how long a signal lets running requests finish

    @property
    def model_name(self) -> str:
        """What `model` must be in requests."""
        return self.served_model_name or self.checkpoint.resolve().name


def check_settings(settings: ServeSettings) -> EngineEntry:
    """The engine that will serve. Raises UserError for a wrong checkpoint, engine or exposure."""
    folder = settings.checkpoint
    if not folder.is_dir():
        raise ServeError(f"CHECKPOINT {folder}: no such folder")
    entry = choose_engine(settings.engine)
    if entry.needs_config:
        read_config(folder)
    if settings.host not in LOOPBACK_HOSTS and settings.api_key_file is None and not settings.allow_open:
        raise ServeError(
            f"--host {settings.host}: others could reach the server; give it a key with --api-key-file, "
            "or give --allow-open to serve without one"
        )
    return entry


def read_api_key(settings: ServeSettings) -> str | None:
    """The key, or None where clients need none. Raises UserError for a file that holds none."""
    return None if settings.api_key_file is None else read_key(settings.api_key_file)
