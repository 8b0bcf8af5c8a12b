"""What every kind of workload is: the fields that all share, what its requests are, and its words."""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from base.quantities import SECONDS
from loadgen.workloads.fields.body import Body
from loadgen.workloads.fields.length_pairs import LengthPairs, open_pairs
from loadgen.workloads.fields.lengths import (
    OutputTokens,
    Tokens,
    as_asked,
    draw_tokens,
    leaves_to_requests,
    unasked,
)
from loadgen.workloads.fields.objectives import Objectives
from loadgen.workloads.fields.trace_file import Trace
from loadgen.workloads.timing import Timing

PromptForm = Literal["ids", "text", "words"]  # words: text whose length is counted in words
EndpointName = Literal["auto", "completions", "chat"]

COMMAND_LENGTHS = {"prompt_tokens": 128, "output_tokens": 128}  # on the command line, where it does not say
_LINES = (".jsonl", ".ndjson")  # of which each may be a whole request, as in OpenAI's batches


class Workload(Objectives, Timing):
    """What load is offered. The same object goes into the experiment file, the trial and the report.

    Read as `Workload`, a record becomes an object of its kind: one class each, registered by `register`.
    """

    requests: int | None = Field(
        default=None, ge=1, description="Measured requests after which the load ends, instead of `duration_s`."
    )
    duration_s: Annotated[float | None, SECONDS] = Field(
        default=None, gt=0, description="Time after which no request starts, instead of `requests`."
    )
    prompt_tokens: Tokens = Field(
        default=64,
        description="Length of synthetic prompts: 128, uniform:64-256, normal:128,32 or lognormal:128,64,16-1024.",
    )
    output_tokens: OutputTokens = Field(
        default=64,
        description="Length of the answers, written as `prompt_tokens`; asked:128 is what a line of an OpenAI batch asks for, else "
        "128, and the default with a JSONL file of `prompts`.",
    )
    lengths: Path | None = Field(
        default=None,
        description="A file of pairs of prompt and output tokens (.csv or .jsonl), of which each request draws one, instead of "
        "`prompt_tokens` and `output_tokens`.",
    )
    prompts: str | None = Field(
        default=None,
        description="A file of prompts or messages (.txt, .jsonl, .csv, or ShareGPT's .json), a data set's folder, or hellaswag, mmlu, ifeval, each with "
        ":FOLDER where there is no hub; lines of OpenAI's batches (.jsonl) keep their other keys. Without it prompts are synthetic.",
    )
    endpoint: EndpointName = Field(
        default="auto",
        description="Where requests go: completions, or chat, where a prompt is a user's message; auto: chat if the prompts "
        "are messages.",
    )
    body: Body = Field(
        default=None,
        description="Keys for the body of every request, as JSON or a file of it, over those of the load and of the lines of "
        "`prompts`: temperature, top_p, seed, chat_template_kwargs; a key that is null is left out, and "
        '"$output_tokens" is the length that a request asks for.',
    )
    file_sha256: str | None = Field(
        default=None,
        description="Content of the trace or file of prompts or lengths; set by the program.",
        json_schema_extra={"readOnly": True},
    )
    prompt_as: PromptForm = Field(
        default="ids",
        description="Send synthetic prompts as token ids, as text of exactly `prompt_tokens`, or as text of that number of "
        "words, which requires no tokenizer; chat takes text.",
    )
    shared_prefix: int = Field(default=0, ge=0, description="First tokens that all synthetic prompts share.")
    prefix_groups: int = Field(
        default=1, ge=1, description="Share them within this number of groups, of which each prompt draws one."
    )
    natural_stop: bool = Field(
        default=False,
        description="Let the model stop by itself; otherwise `ignore_eos` makes every answer exactly `output_tokens` long.",
    )
    warmup_requests: int = Field(
        default=2, ge=0, description="Requests of the same shapes that are sent first and not measured."
    )

    def points(self) -> list[Workload]:
        """The workloads that are offered in its place in an experiment: itself, except for a sweep."""
        return [self]

    @classmethod
    def completed(cls, given: Mapping[str, object]) -> dict[str, object]:
        """The fields given on the command line, with how much load and how long requests where they do not say."""
        ends = "requests" in given or "duration_s" in given
        return {**({} if ends else {"requests": 100}), **with_lengths(given)}

    # What its requests are.

    def prompt_length(self, seed: int, index: int) -> int:
        """Tokens of a request's prompt. Warm-up requests count down from -1."""
        pairs = self.length_pairs()
        return pairs.draw(seed, index)[0] if pairs else draw_tokens(self.prompt_tokens, f"{seed}/prompt/{index}")

    def answer_length(self, seed: int, index: int) -> int:
        """Output tokens that a request asks for."""
        pairs = self.length_pairs()
        return pairs.draw(seed, index)[1] if pairs else draw_tokens(self.output_tokens, f"{seed}/output/{index}")

    def leaves_length(self, seed: int, index: int) -> bool:  # noqa: ARG002 - parts of a mix differ
        """Whether a request that asks for a length of its own has that instead."""
        return leaves_to_requests(self.output_tokens)

    def length_pairs(self) -> LengthPairs | None:
        """The rows of the file of `lengths`, if there is one. Raises LoadError if it cannot be read."""
        return None if self.lengths is None else open_pairs(self.lengths)

    def shapes(self) -> list[tuple[int | str, int | str]]:
        """The lengths of prompts and of answers, of each part; of a file of pairs the longest."""
        pairs = self.length_pairs()
        return [pairs.longest if pairs else (self.prompt_tokens, self.output_tokens)]

    @property
    def part_names(self) -> tuple[str, ...]:
        """The parts of a mix, by their numbers; none of another load."""
        return ()

    @property
    def alone(self) -> list[Workload]:
        """The parts of a mix, each as a workload of its own; of another load itself."""
        return [self]

    @property
    def flows(self) -> list[Flow]:
        """The loads that are offered side by side, each with its own schedule or loop: itself, except for a mix."""
        return [Flow(self, None)]

    @property
    def is_synthetic(self) -> bool:
        """Whether any of its prompts are no file's."""
        return any(one.prompts is None for one in self.alone)

    def seed_of(self, seed: int, part: int) -> int:  # noqa: ARG002 - of a mix
        """The seed of a part's requests."""
        return seed

    def part_number(self, seed: int, index: int) -> int:  # noqa: ARG002 - of a mix
        """The part of a mix that a request is of."""
        return 0

    def objectives_of(self, part: int) -> dict[str, float]:  # noqa: ARG002 - of a mix
        """The objectives of a part's requests."""
        return self.objectives

    @property
    def all_objectives(self) -> list[dict[str, float]]:
        """Those of every part, by number; of another load its own."""
        return [self.objectives_of(number) for number in range(len(self.part_names) or 1)]

    @property
    def most_turns(self) -> int:
        """How many prompts and answers a request's context may hold."""
        return 1

    @property
    def shared_tokens(self) -> float:
        """The most tokens at the beginning of a prompt that others are to have too; inf where the workload does not say how many."""
        return self.shared_prefix if self.prompt_as == "ids" or not self.shared_prefix else math.inf

    @property
    def files(self) -> dict[str, Path]:
        """The user's files that say how long its requests are, by the field that names them."""
        return {} if self.lengths is None else {"lengths": self.lengths}

    def recorded(self) -> Trace | None:
        """The rows of the traffic that it replays, if any. Raises LoadError if it cannot be read."""
        return None

    # In words.

    @property
    @abstractmethod
    def words(self) -> str:
        """The load in words, without shapes and length."""

    @property
    def level_words(self) -> str:
        """The level of load, without the shape of its requests."""
        return f"{self.kind}, {self.level:g} requests/s" if self.open_loop and self.level else self.kind

    @property
    def family(self) -> str:
        """What it shares with the workloads that differ from it in level alone."""
        return f"{self.kind} arrivals"

    def describe(self) -> str:
        """The whole workload in words, for reports."""
        output = "as many" if self.lengths is not None else unasked(self.output_tokens)
        stop = f"{'up to' if self.natural_stop else 'exactly'} {output} output tokens"
        if leaves_to_requests(self.output_tokens):
            stop += " or as many as a prompt asks for"
        counted = "words" if self.prompt_as == "words" else "tokens"
        chat = "as chat; " if self.endpoint == "chat" else ""
        body = f"; body with {json.dumps(self.body)}" if self.body else ""
        asked = f"{self.prompt_tokens} prompt {counted}" if self.prompts is None else f"prompts of {self.prompts}"
        if self.lengths is not None:
            asked = f"prompt {counted} as in a row of {self.lengths.name}"
        if self.shared_prefix:
            groups = "" if self.prefix_groups == 1 else f" within {self.prefix_groups} groups"
            asked += f" of which {self.shared_prefix} are shared{groups}"
        return f"{self.words}; {chat}{asked}, {stop}; {self.length_words}{body}"

    @property
    def shape_words(self) -> str:
        """The lengths of its requests."""
        if self.lengths is not None:
            return f"prompt and output tokens as in {self.lengths.name}"
        stop = "up to " if self.natural_stop else ""
        asked = f"prompts of {Path(self.prompts).name}" if self.prompts else f"{self.prompt_tokens} prompt tokens"
        own = " or as many as a prompt asks for" if leaves_to_requests(self.output_tokens) else ""
        return f"{asked}, {stop}{unasked(self.output_tokens)} output tokens{own}"

    @property
    def length_words(self) -> str:
        """How long a trial of it is."""
        return f"{self.requests} requests a trial" if self.requests else f"{self.duration_s or math.inf:g} s a trial"

    def vllm_terms(self) -> dict[str, Any]:
        """The same load in the keys of `vllm bench serve --save-result`."""
        return {"request_rate": "inf", "burstiness": None, "max_concurrency": self.in_flight}

    def guidellm_terms(self, seed: int) -> dict[str, Any]:  # noqa: ARG002 - some depend on it
        """The same load as a strategy of guidellm, or the nearest that guidellm has."""
        if self.open_loop:
            return {"type_": "constant", "rate": self.level or 1.0}
        return {"type_": "concurrent", "streams": self.in_flight or 1}

    # How it is checked.

    @model_validator(mode="before")
    @classmethod
    def _chat_takes_text(cls, given: Any) -> Any:
        """Messages hold text: without a word on `prompt_as`, prompts for chat are text."""
        default = cls.model_fields["endpoint"].default
        if not isinstance(given, Mapping) or given.get("prompts") is not None:
            return given
        if (given.get("endpoint") or default) == "chat":
            return {**given, "prompt_as": given.get("prompt_as") or "text"}
        return given

    @model_validator(mode="before")
    @classmethod
    def _lines_may_ask(cls, given: Any) -> Any:
        """Without a word on `output_tokens`, a line of a JSONL file that asks for a length has that."""
        default = {"output_tokens": cls.model_fields["output_tokens"].default}
        return {**given, **_asked_of_lines(given, default)} if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _fits(self) -> Workload:
        self.check()
        return self

    def check(self) -> None:
        """Raise ValueError for fields that contradict each other."""
        if leaves_to_requests(self.output_tokens) and self.prompts is None and not self.part_names:
            raise ValueError("`output_tokens` asked:… needs `prompts`, whose lines may ask for a length")
        if self.prompts is not None and (self.shared_prefix or self.prompt_as != "ids"):
            raise ValueError("`prompts` cannot be combined with `trace`, `shared_prefix` or `prompt_as`")
        if self.lengths is not None and (self.prompts is not None or self.holds_sessions):
            raise ValueError("`lengths` cannot be combined with `prompts`, and does not apply to sessions")
        if self.endpoint == "chat" and self.prompts is None and self.prompt_as == "ids":
            raise ValueError("`endpoint` chat takes text: `prompt_as` text or words")
        if self.endpoint == "chat" and self.sends_lists:
            raise ValueError("`endpoint` chat takes one conversation a request: `batch_as` requests")
        if self.lengths is None and isinstance(self.prompt_tokens, int) and self.shared_prefix >= self.prompt_tokens:
            raise ValueError("`shared_prefix` must be below `prompt_tokens`")
        if self.prefix_groups > 1 and not self.shared_prefix:
            raise ValueError("`prefix_groups` needs `shared_prefix`")
        self.check_end()

    def check_end(self) -> None:
        """Raise ValueError unless the load ends by exactly one rule."""
        if (self.requests is None) == (self.duration_s is None):
            raise ValueError("a workload needs exactly one of `requests` and `duration_s`")


class Flow(NamedTuple):
    """Requests that leave by one schedule or in one loop, beside those of other flows."""

    load: Workload
    part: int | None  # of a mix, that all of them are of; None: of several, or of no mix


def with_lengths(given: Mapping[str, object]) -> dict[str, object]:
    """The fields given on the command line, with lengths where they do not say."""
    return {**COMMAND_LENGTHS, **_asked_of_lines(given, COMMAND_LENGTHS), **given}


def _asked_of_lines(given: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """`output_tokens` where none are given and lines of a file may ask for their own, those of a part of a mix too.

    One request for a list of prompts has one length.
    """
    prompts = given.get("prompts")
    lines = isinstance(prompts, str) and Path(prompts).suffix.lower() in _LINES
    may_ask = (lines and given.get("batch_as") != "list") or given.get("parts") is not None
    asks = may_ask and given.get("output_tokens") is None
    return {"output_tokens": as_asked(default["output_tokens"])} if asks else {}
