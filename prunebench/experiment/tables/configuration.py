"""`[[configurations]]` of an experiment file: what is compared, and how each is served."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from base.choices import OneOf
from base.records import Record
from energy.gpu_limits import GpuLimits
from loadgen.endpoint import LoadError, headers_of, server_address
from prunebench.experiment.tables.settings import Setting
from pruner.scoring.calibration import Refit
from pruner.scoring.criteria import criterion_choices
from server.settings import EngineName

_PRUNED = ("width", "remove_layers", "criterion", "refit")
_STARTED = ("engine", "options", "environment", "speculative")
_LIMITS = ("power_limit_w", "clock_mhz")  # of the machine that serves it


class Speculative(Record):
    """Speculative decoding: `tokens` are proposed at a time, by `[model]` pruned to `width`, else by n-grams of the prompt."""

    tokens: int = Field(default=3, ge=1, le=32, description="Tokens that are proposed at a time.")
    width: int | None = Field(default=None, ge=1, description="The draft: `[model]` pruned to this width.")

    def words(self) -> str:
        """For people."""
        draft = "n-grams of the prompt propose" if self.width is None else f"width {self.width} proposes"
        return f"speculative decoding: {draft} {self.tokens} tokens at a time"


class Configuration(Record):
    """What is compared, beside what `[prune]` makes. Without `checkpoint`, `url` or `command` it is `[model]`'s checkpoint, pruned
    or as it is; what it leaves out of `engine`, `options` and `environment` is that of `[serve]`.
    """

    label: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$", description="Names the configuration in tables and folders."
    )
    checkpoint: str | None = Field(
        default=None, description="Another checkpoint: a folder, or `OWNER/NAME` in the hub's cache."
    )
    width: int | None = Field(default=None, ge=1, description="Prune `[model]` to this width.")
    remove_layers: int | None = Field(
        default=None, ge=1, description="Remove this number of `[model]`'s layers, chosen over the calibration text."
    )
    criterion: Annotated[str, OneOf(criterion_choices)] | None = Field(
        default=None, description="What ranks the neurons for `width`; default the first of `prune.criterion`."
    )
    refit: Refit | None = Field(
        default=None, description="Refit the down projections, as `prune.refit`, which is the default."
    )
    url: str | None = Field(
        default=None,
        description="A server that is already there, such as `http://127.0.0.1:8000`; it is never stopped.",
    )
    command: str | None = Field(
        default=None,
        description="A command line that starts the server, with `{port}` and, for the checkpoint's folder, `{checkpoint}`. No shell "
        "reads it. It is ended with all processes that it started.",
    )
    health: str = Field(
        default="/health",
        pattern=r"^/[!-~]*$",
        description="Path at which the server of a `command` answers 200 once it is ready.",
    )
    model: str | None = Field(
        default=None,
        description="The model that a `url` or `command` serves; without it the only one in its `/v1/models`.",
    )
    api_key_file: Path | None = Field(default=None, description="File with the key that a `url` requires.")
    headers: list[str] = Field(
        default=[],
        description="Headers of every request to a `url`, such as `X-Team: search`. The run's folder has this file: keys belong into "
        "`api_key_file`.",
    )
    energy: str | None = Field(
        default=None,
        description="Its meter, as `energy.source`, which is the default: such as another address of `url`'s host.",
    )
    engine: EngineName | None = Field(
        default=None, description="Instead of `serve.engine`, whose options then do not count."
    )
    options: dict[str, Setting] = Field(
        default={}, description="Options of the engine, beside those of `[serve.options]`."
    )
    environment: dict[str, Setting] = Field(
        default={}, description="Environment variables of the server, beside those of `[serve.environment]`."
    )
    speculative: Speculative | None = Field(
        default=None,
        description="Speculative decoding, by the vllm engine: `{ width = 512, tokens = 3 }`, or without `width` by n-grams.",
    )
    power_limit_w: float | None = Field(
        default=None,
        gt=0,
        description="Power limit of each GPU in use, while this configuration is served; needs `run --may-set-gpu-limits`, and is restored.",
    )
    clock_mhz: int | None = Field(
        default=None,
        gt=0,
        description="Graphics clock to which each GPU in use is locked meanwhile; as `power_limit_w`.",
    )
    levels: dict[str, str] = Field(
        default={},
        description="Its level of each factor, by the factor's name. The report has the effects and interactions of those that name the "
        "same factors as the baseline; `[grid]` writes them by itself.",
    )

    @model_validator(mode="after")
    def _one_thing(self) -> Configuration:
        what = [key for key in ("url", "checkpoint", "command") if getattr(self, key) is not None]
        pruned = [key for key in _PRUNED if getattr(self, key) is not None]
        started = [key for key in _STARTED if getattr(self, key)]
        limits = [key for key in _LIMITS if getattr(self, key)]
        if self.url is not None and (
            extra := [key for key in [*what, *pruned, *started, *limits, "health"] if key != "url" and self._set(key)]
        ):
            raise ValueError(f"`{extra[0]}` does not go with url, a server that is already there")
        if self.checkpoint is not None and pruned:
            raise ValueError(f"`{pruned[0]}` prunes [model], and does not go with checkpoint")
        if self.command is not None and (own := [key for key in started if key != "environment"]):
            raise ValueError(f"`{own[0]}` does not go with command: write it into the command line")
        for key, of in (("health", "command"), ("api_key_file", "url"), ("headers", "url")):
            if self._set(key) and getattr(self, of) is None:
                raise ValueError(f"`{key}` belongs to {of}")
        if self.model is not None and self.url is None and self.command is None:
            raise ValueError("`model` belongs to url or command")
        if {"criterion", "refit"} & {*pruned} and self.width is None:
            raise ValueError(f"`{next(key for key in pruned if key in {'criterion', 'refit'})}` needs a width")
        self._check_command()
        self.endpoint_headers()
        return self

    def endpoint_headers(self) -> tuple[tuple[str, str], ...]:
        """`headers` by name and value. Raises ValueError for what is none, or not the user's to set."""
        try:
            return headers_of(self.headers)
        except LoadError as error:
            raise ValueError(f"{error}".replace("--header", "`headers`")) from None

    def _set(self, key: str) -> bool:
        return key in self.model_fields_set and getattr(self, key) not in (
            None,
            {},
            type(self).model_fields[key].default,
        )

    def _check_command(self) -> None:
        try:
            if self.url is not None:
                server_address(self.url, "")
            words = shlex.split(self.command) if self.command is not None else ["{port}"]
        except (ValueError, LoadError) as error:
            raise ValueError(f"`{'url' if self.url is not None else 'command'}`: {f'{error}'.strip()}") from None
        if not any("{port}" in word for word in words):
            raise ValueError("`command` must have {port}, the port on which its server is to listen")
        if self.command is not None and not self.names_checkpoint and (self.checkpoint is not None or self.is_pruned):
            raise ValueError("`command` must have {checkpoint}, the folder that it is to serve")

    @property
    def gpu_limits(self) -> GpuLimits:
        """What its GPUs are limited to while it is served."""
        return GpuLimits(power_limit_w=self.power_limit_w, clock_mhz=self.clock_mhz)

    @property
    def names_checkpoint(self) -> bool:
        """Whether the command line has the checkpoint's folder."""
        return self.command is not None and "{checkpoint}" in self.command

    @property
    def is_pruned(self) -> bool:
        """Whether the pruner makes its checkpoint."""
        return self.width is not None or self.remove_layers is not None

    @property
    def needs_model(self) -> bool:
        """Whether it is `[model]`'s checkpoint, pruned or not."""
        if self.url is not None or self.checkpoint is not None:
            return False
        return self.command is None or self.names_checkpoint or self.is_pruned

    def beneath(self, engine: str, options: dict[str, str], environment: dict[str, str]) -> Configuration:
        """With what all configurations share, where it has nothing of its own."""
        if self.url is not None:
            return self
        shared: dict[str, object] = {"environment": environment | self.environment}
        if self.command is None:
            own = self.engine or engine
            shared |= {"engine": own, "options": (options if own == engine else {}) | self.options}
        return self.model_copy(update=shared)
