"""Several kinds of requests in one load, each with a share of the arrivals, its own lengths and its own objectives."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field

from loadgen.workloads.base import COMMAND_LENGTHS, Workload
from loadgen.workloads.closed_loop import SingleLoad
from loadgen.workloads.fields.body import read_json
from loadgen.workloads.fields.lengths import Tokens
from loadgen.workloads.fields.objectives import Objectives
from loadgen.workloads.open_loop import PoissonLoad

_APART = 1_000_003  # between the seeds of two parts, so that their prompts share nothing


class MixPart(Objectives):
    """What is left out is the workload's."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Names the part in tables.")
    weight: float = Field(default=1.0, gt=0, description="Its share of the requests, over the sum of all weights.")
    prompt_tokens: Tokens | None = Field(default=None, description="Length of its prompts.")
    output_tokens: Tokens | None = Field(default=None, description="Length of its answers.")
    shared_prefix: int | None = Field(default=None, ge=0, description="First tokens that its prompts share.")
    prefix_groups: int | None = Field(default=None, ge=1, description="Groups of its prompts that share them.")


def _read(given: Any) -> Any:
    """The parts themselves, or the JSON of them, as text or in a file."""
    return read_json(given, list, '[{"name": "chat", "weight": 3}, {"name": "summary"}]')


class MixLoad(PoissonLoad):
    """Poisson arrivals, of which each is of one part, drawn by weight."""

    kind: Literal["mix"] = "mix"  # type: ignore[assignment] # a kind of its own
    parts: Annotated[
        list[MixPart], BeforeValidator(_read, json_schema_input_type=list[MixPart] | str), Field(min_length=2)
    ] = Field(description="The parts, as JSON or a file of it; each with a `name`, a `weight`, lengths and objectives.")

    @property
    def part_names(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.parts)

    def part_number(self, seed: int, index: int) -> int:
        weights = [part.weight for part in self.parts]
        return random.Random(f"{seed}/part/{index}").choices(range(len(weights)), weights)[0]

    def objectives_of(self, part: int) -> dict[str, float]:
        return self.objectives | self.parts[part].objectives

    def prompt_length(self, seed: int, index: int) -> int:
        number = self.part_number(seed, index)
        return self.alone[number].prompt_length(self.seed_of(seed, number), index)

    def answer_length(self, seed: int, index: int) -> int:
        number = self.part_number(seed, index)
        return self.alone[number].answer_length(self.seed_of(seed, number), index)

    @cached_property
    def alone(self) -> list[Workload]:
        """Each part as a workload of its own, for what its requests are. One with a length of its own draws no pairs."""
        names = ("prompt_tokens", "output_tokens", "lengths", "shared_prefix", "prefix_groups", "prompt_as")
        inherited = {name: getattr(self, name) for name in names}
        own = [part.model_dump(exclude_none=True, include=set(inherited)) for part in self.parts]
        own = [fields | ({"lengths": None} if fields.keys() & COMMAND_LENGTHS else {}) for fields in own]
        return [
            SingleLoad.model_validate({"name": part.name, "requests": 1, **inherited, **fields})
            for part, fields in zip(self.parts, own, strict=True)
        ]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, with the parts of the copy: it would carry on those of the original."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("alone", None)
        return copy

    def seed_of(self, seed: int, part: int) -> int:
        """The seed of a part's lengths and prompts."""
        return seed + part * _APART

    def shapes(self) -> list[tuple[int | str, int | str]]:
        return [shape for part in self.alone for shape in part.shapes()]

    @property
    def shape_words(self) -> str:
        return " or ".join(
            part.model_copy(update={"natural_stop": self.natural_stop}).shape_words for part in self.alone
        )

    @property
    def words(self) -> str:
        return f"{super().words}, of {len(self.parts)} parts"

    def describe(self) -> str:
        total = sum(part.weight for part in self.parts)
        shares = (
            f"{part.weight / total:.0%} {one.name} of {one.shape_words.replace(' tokens,', ' and')}"
            for part, one in zip(self.parts, self.alone, strict=True)
        )
        return f"{super().describe().partition(';')[0]}: {', '.join(shares)}; {self.length_words}"

    def check(self) -> None:
        super().check()
        names = self.part_names
        if len(set(names)) < len(names):
            raise ValueError("two `parts` have the same name")
        if self.prompts is not None:
            raise ValueError("`prompts` cannot be combined with `parts`: theirs are synthetic")
        _ = self.alone  # whose lengths and prefixes must fit
