"""What starts a server: what any command says of itself, and that of `prunebench serve`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from base.python_process import python_command


class Command(Protocol):
    """What starts a server."""

    @property
    def model(self) -> str | None:
        """The name by which it is asked; None: the only one that it serves."""

    @property
    def host(self) -> str:
        """On which it listens."""

    @property
    def port(self) -> int | None:
        """On which it listens; None: any free one."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables beside those of this process."""

    @property
    def health(self) -> str:
        """Path that answers 200 once it is ready."""

    def arguments(self, port: int) -> list[str]:
        """The command line."""


@dataclass(frozen=True)
class ServerCommand:
    """What to serve and how; becomes the arguments of `prunebench serve`."""

    checkpoint: Path
    model: str
    engine: str
    options: Mapping[str, str]
    modelled_watts_per_core: float | None
    host: str = "127.0.0.1"
    port: int | None = None  # None: any free one
    api_key_file: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    health: str = "/health"

    def arguments(self, port: int) -> list[str]:
        """The command line, with this interpreter."""
        words = python_command("-m", "prunebench", "serve", str(self.checkpoint), "--engine", self.engine)
        words += ["--host", self.host, "--port", str(port), "--served-model-name", self.model]
        if self.api_key_file is not None:
            words += ["--api-key-file", str(self.api_key_file)]
        if self.modelled_watts_per_core is not None:
            words += ["--modelled-watts-per-core", str(self.modelled_watts_per_core)]
        for key, value in self.options.items():
            words += ["--engine-option", f"{key}={value}"]
        return words
