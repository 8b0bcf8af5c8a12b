"""`[serve]` of an experiment file: the engine that all configurations share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from base.quantities import SECONDS
from base.records import Record
from prunebench.experiment.tables.settings import Setting
from server.engines.registry import AUTO
from server.settings import EngineName


class Serve(Record):
    """How every configuration is served: the engine and options that all share."""

    engine: EngineName = Field(
        default=AUTO, description="What serves; `auto` is vLLM where it is installed with a GPU, else transformers."
    )
    options: dict[str, Setting] = Field(
        default={}, description="Options of the engine, as `serve --engine-option KEY=VALUE`."
    )
    environment: dict[str, Setting] = Field(
        default={}, description="Environment variables of the servers that are started."
    )
    keep_servers: bool = Field(
        default=False,
        description="Keep all configurations loaded side by side, if memory holds them. Servers of the transformers engine then start "
        "side by side too, one for each core, before the first trial.",
    )
    start_timeout_s: Annotated[float, SECONDS] = Field(
        default=600,
        gt=0,
        description="Time from starting a server to its first healthy answer; a slower start fails the cell.",
    )
