"""Several kinds of requests in one load, each with its own arrivals or a share of them, its own prompts and its own objectives."""

from __future__ import annotations

import contextlib
import heapq
import random
from array import array
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError

from base.figures import percent
from base.quantities import PER_SECOND
from loadgen.workloads.base import COMMAND_LENGTHS, Flow, Workload
from loadgen.workloads.fields.body import read_json
from loadgen.workloads.fields.lengths import unasked
from loadgen.workloads.mix_part import MixPart
from loadgen.workloads.open_loop import PoissonLoad
from loadgen.workloads.timing import WindowCut

_APART = 1_000_003  # between the seeds of two parts, so that their prompts share nothing
_DURATION_S = 30.0  # on the command line, of parts with arrivals of their own
# Of the workload, for the parts that do not say; what synthetic prompts are is nothing to a part with a file of them.
_SHARED = ("natural_stop", "endpoint", "body", "output_tokens")
_OF_SYNTHETIC = ("prompt_tokens", "lengths", "shared_prefix", "prefix_groups", "prompt_as")


def _read(given: Any) -> Any:
    """The parts themselves, or the JSON of them, as text or in a file."""
    return read_json(given, list, '[{"name": "chat", "weight": 3}, {"name": "summary"}]')


class MixLoad(Workload):
    """Requests of several parts. Those without a `kind` share Poisson arrivals at `rate`, each of one of them, drawn by weight;
    each other part has arrivals of its own beside them.
    """

    kind: Literal["mix"] = "mix"
    rate: Annotated[float | None, PER_SECOND] = Field(
        default=None, gt=0, description="Requests per second, of all parts without a `kind` of their own."
    )
    parts: Annotated[
        list[MixPart], BeforeValidator(_read, json_schema_input_type=list[MixPart] | str), Field(min_length=2)
    ] = Field(
        description="The parts, as JSON or a file of it; each with a `name`, a `weight` or a `kind` of arrivals, prompts or "
        "lengths, and objectives."
    )

    @property
    def part_names(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.parts)

    def part_number(self, seed: int, index: int) -> int:
        return self.place(seed, index)[0]

    def place(self, seed: int, index: int) -> tuple[int, int]:
        """The part of a request, and its number among the requests of that part.

        Numbers of requests go round the flows: `index` is flow + flows * n. Those of the warm-up count down from -1.
        """
        n, flow = divmod(index, len(self.flows))
        own = self.flows[flow].part
        if own is not None:
            return own, n
        return (self._draw(seed, n), n) if n < 0 else self._drawn_places.setdefault(seed, _Places()).of(self, seed, n)

    def _draw(self, seed: int, n: int) -> int:
        """The part of the n-th request of those that share `rate`."""
        weights = [0.0 if part.kind else part.weight for part in self.parts]
        return random.Random(f"{seed}/part/{n}").choices(range(len(weights)), weights)[0]

    def objectives_of(self, part: int) -> dict[str, float]:
        return self.objectives | self.parts[part].objectives

    def prompt_length(self, seed: int, index: int) -> int:
        part, n = self.place(seed, index)
        return self.alone[part].prompt_length(self.seed_of(seed, part), n)

    def answer_length(self, seed: int, index: int) -> int:
        part, n = self.place(seed, index)
        return self.alone[part].answer_length(self.seed_of(seed, part), n)

    def leaves_length(self, seed: int, index: int) -> bool:
        return self.alone[self.part_number(seed, index)].leaves_length(seed, index)

    @cached_property
    def alone(self) -> list[Workload]:
        """Each part as a workload of its own. Raises ValueError that names the part whose fields do not fit."""
        return [self._as_workload(part) for part in self.parts]

    def _as_workload(self, part: MixPart) -> Workload:
        own = part.fields
        names = (*_SHARED, *(() if part.prompts else _OF_SYNTHETIC))
        given = {"kind": "single", "name": part.name, **{name: getattr(self, name) for name in names}}
        if own.keys() & COMMAND_LENGTHS or part.trace is not None:
            given["lengths"] = None  # one with a length of its own draws no pairs
        if not part.prompts:
            given["output_tokens"] = unasked(self.output_tokens)
        end = {"duration_s": self.duration_s} if part.kind else {"requests": 1}
        try:
            found: Workload = Workload.kinds[part.kind or "single"].model_validate({**given, **end, **own})
        except ValidationError as error:
            said = error.errors()[0]
            words = said["msg"].removeprefix("Value error, ").replace("`", "")  # no keys of the mix, nor options
            raise ValueError(f"part {part.name}: {words}") from None
        return found

    @cached_property
    def flows(self) -> list[Flow]:
        """First that of the parts that share `rate`, if there are any, then each part with arrivals of its own."""
        flows = [Flow(self.alone[number], number) for number, part in enumerate(self.parts) if part.kind]
        if self.rate is None:
            return flows
        end = {"duration_s": self.duration_s} if self.requests is None else {"requests": self.requests}
        return [Flow(PoissonLoad.model_validate({"name": self.name, "rate": self.rate, **end}), None), *flows]

    @cached_property
    def _drawn_places(self) -> dict[int, _Places]:
        """By seed."""
        return {}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, with the parts of the copy: it would carry on those of the original."""
        copy = super().model_copy(update=update, deep=deep)
        for made in ("alone", "flows", "_drawn_places"):
            copy.__dict__.pop(made, None)
        return copy

    def seed_of(self, seed: int, part: int) -> int:
        """The seed of a part's lengths, prompts and arrivals of its own."""
        return seed + part * _APART

    # When its requests leave.

    @property
    def open_loop(self) -> bool:
        return any(flow.load.open_loop for flow in self.flows)

    def arrivals(self, seed: int) -> Iterator[float]:
        """Those of all open loops in it."""
        moments = (
            flow.load.arrivals(seed if flow.part is None else self.seed_of(seed, flow.part))
            for flow in self.flows
            if flow.load.open_loop
        )
        return heapq.merge(*moments)

    @property
    def in_flight(self) -> int | None:
        """Of parts that are all closed loops."""
        return None if self.open_loop else sum(flow.load.in_flight or 0 for flow in self.flows)

    @property
    def window_cut(self) -> WindowCut:  # type: ignore[override] # it depends on the parts
        return "whole" if any(flow.load.window_cut == "whole" for flow in self.flows) else "steady"

    @property
    def constant_rate(self) -> float | None:
        rates = [flow.load.constant_rate for flow in self.flows]
        return None if None in rates else sum(rate for rate in rates if rate is not None)

    # In words.

    def shapes(self) -> list[tuple[int | str, int | str]]:
        return [shape for part in self.alone for shape in part.shapes()]

    @property
    def shape_words(self) -> str:
        return " or ".join(part.shape_words for part in self.alone)

    @property
    def words(self) -> str:
        rate = f"{self.rate} requests/s, Poisson arrivals, " if self.rate else ""
        return f"{rate}{'of ' if self.rate else ''}{len(self.parts)} parts"

    def describe(self) -> str:
        total = sum(part.weight for part in self.parts if part.kind is None)
        said = []
        for part, one in zip(self.parts, self.alone, strict=True):
            shape = one.shape_words.replace(" tokens,", " and")
            said.append(
                f"{part.name}: {one.words}, {shape}"
                if part.kind
                else f"{percent(part.weight / total)} {part.name} of {shape}"
            )
        return f"{self.words}: {', '.join(said)}; {self.length_words}"

    def vllm_terms(self) -> dict[str, Any]:
        return super().vllm_terms() | {
            "request_rate": self.constant_rate,
            "burstiness": 1.0 if len(self.flows) == 1 else None,
        }

    def guidellm_terms(self, seed: int) -> dict[str, Any]:
        rate = self.constant_rate
        return {"type_": "poisson", "rate": rate, "random_seed": seed} if rate else super().guidellm_terms(seed)

    @classmethod
    def completed(cls, given: Mapping[str, object]) -> dict[str, object]:
        """As of other loads; one whose parts have arrivals of their own ends by time."""
        fields = super().completed(given)
        parts: Any = None
        with contextlib.suppress(ValueError):  # which the reading of the fields reports
            parts = _read(given.get("parts"))
        own = isinstance(parts, list) and any(isinstance(part, Mapping) and part.get("kind") for part in parts)
        if own and "requests" not in given and "duration_s" not in given:
            del fields["requests"]
            fields["duration_s"] = _DURATION_S
        return fields

    def check(self) -> None:
        super().check()
        names = self.part_names
        if len(set(names)) < len(names):
            raise ValueError("two `parts` have the same name")
        if self.prompts is not None:
            raise ValueError("`prompts` cannot be combined with `parts`: give them to the parts")
        shared = [part.name for part in self.parts if part.kind is None]
        if shared and self.rate is None:
            raise ValueError(f"part {shared[0]} has no kind of arrivals, so it needs the mix's `rate`")
        if not shared and self.rate is not None:
            raise ValueError("`rate` is shared by the parts without a kind of arrivals, and there are none")
        if len(shared) < len(self.parts) and self.requests is not None:
            raise ValueError("a mix whose parts have arrivals of their own ends by `duration_s`, not by `requests`")
        _ = self.alone, self.flows  # whose fields must fit


class _Places:
    """The part of each request that shares the mix's rate, and its number among those of that part, as far as they were asked for."""

    def __init__(self) -> None:
        self._parts, self._numbers = array("H"), array("q")
        self._counts: dict[int, int] = {}

    def of(self, mix: MixLoad, seed: int, n: int) -> tuple[int, int]:
        """The place of the n-th of them."""
        while len(self._parts) <= n:
            part = mix._draw(seed, len(self._parts))  # noqa: SLF001 - of this module
            self._parts.append(part)
            self._numbers.append(self._counts.get(part, 0))
            self._counts[part] = self._counts.get(part, 0) + 1
        return self._parts[n], self._numbers[n]
