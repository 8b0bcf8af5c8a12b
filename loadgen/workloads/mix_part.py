"""A part of a mix: its share of the mix's arrivals or arrivals of its own, its requests and its objectives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from base.quantities import PER_SECOND, SECONDS
from loadgen.workloads.fields.lengths import OutputTokens, Tokens
from loadgen.workloads.fields.objectives import Objectives

PartKind = Literal["constant", "poisson", "burst", "on-off", "trace", "concurrency"]
_KINDS = get_args(PartKind)
_OWN_FILES = ("prompts", "trace", "lengths")


class MixPart(Objectives):
    """Without a `kind` it has its share of the mix's `rate`, by weight; with one it has arrivals of its own, as a load of that
    kind has them. What it does not say of its requests and objectives is the workload's.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Names the part in tables.")
    weight: float = Field(default=1.0, gt=0, description="Its share of the mix's `rate`, over the sum of all weights.")
    kind: PartKind | None = Field(
        default=None,
        description="Arrivals of its own, as a workload of that kind has them, instead of a share of `rate`.",
    )
    rate: Annotated[float | None, PER_SECOND] = Field(
        default=None, gt=0, description="Requests per second; of on-off while it is on."
    )
    burstiness: float | None = Field(default=None, gt=0, description="Shape of the gamma-distributed gaps.")
    on_s: Annotated[float | None, SECONDS] = Field(
        default=None, gt=0, description="How long on-off is on, first of all."
    )
    off_s: Annotated[float | None, SECONDS] = Field(default=None, gt=0, description="How long it is off after that.")
    off_rate: Annotated[float | None, PER_SECOND] = Field(
        default=None, ge=0, description="Requests per second while it is off."
    )
    trace: Path | None = Field(default=None, description="The recorded traffic that it replays.")
    speed: float | None = Field(default=None, gt=0, description="Replay it this many times as fast.")
    block_tokens: int | None = Field(default=None, ge=1, description="Tokens of a prompt that a hash id stands for.")
    concurrency: int | None = Field(default=None, ge=1, description="Requests in flight.")
    prompts: str | None = Field(
        default=None, description="A file of its prompts or messages, a data set's folder, or a source."
    )
    lengths: Path | None = Field(
        default=None, description="A file of pairs of lengths, of which each of its requests draws one."
    )
    prompt_tokens: Tokens | None = Field(default=None, description="Length of its prompts.")
    output_tokens: OutputTokens | None = Field(default=None, description="Length of its answers.")
    shared_prefix: int | None = Field(default=None, ge=0, description="First tokens that its prompts share.")
    prefix_groups: int | None = Field(default=None, ge=1, description="Groups of its prompts that share them.")
    file_sha256: str | None = Field(
        default=None,
        description="Content of its file; set by the program.",
        json_schema_extra={"readOnly": True},
    )

    @property
    def files(self) -> dict[str, Path]:
        """The user's files that it names, by field; a source of prompts is none."""
        return {name: Path(named) for name in _OWN_FILES if (named := getattr(self, name)) is not None}

    @property
    def fields(self) -> dict[str, Any]:
        """What it says of arrivals and requests, as the fields of a workload."""
        apart = {"name", "weight", "file_sha256", *Objectives.model_fields}
        return self.model_dump(exclude_none=True, exclude=apart)

    @model_validator(mode="before")
    @classmethod
    def _can_be_a_part(cls, given: Any) -> Any:
        """Name the kinds that cannot be one, and arrivals without a kind."""
        if not isinstance(given, Mapping):
            return given
        kind = given.get("kind")
        if kind is not None and kind not in _KINDS:
            alone = "; groups, sessions, ramps and sweeps are loads of their own" if isinstance(kind, str) else ""
            raise ValueError(f"part {given.get('name')}: kind {kind!r} is none of {', '.join(_KINDS)}{alone}")
        timing = ("rate", "burstiness", "on_s", "off_s", "off_rate", "trace", "speed", "block_tokens", "concurrency")
        said = next((name for name in timing if given.get(name) is not None), None)
        if kind is None and said is not None:
            raise ValueError(f"part {given.get('name')}: {said} needs a kind, one of {', '.join(_KINDS)}")
        if kind is not None and given.get("weight", 1.0) != 1.0:
            raise ValueError(
                f"part {given.get('name')}: weight is a share of the mix's rate, and it has arrivals of its own"
            )
        return given
