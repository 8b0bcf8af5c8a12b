"""Closed loops: a request is sent when an earlier one has ended, so that the number in flight stays what it is."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from loadgen.workloads.base import Workload

BatchForm = Literal["requests", "list"]


class ClosedLoop(Workload):
    """What the three share: a constant number of requests in flight."""

    @property
    def in_flight(self) -> int:
        """One group, as many requests as there are streams, or one."""
        return self.group_size or self.streams or 1

    @property
    def constant_in_flight(self) -> int | None:
        return self.in_flight

    @property
    def family(self) -> str:
        """A loop of 1, of 8, and a batch of 8 ask for more and more of the same."""
        return "in flight"


class SingleLoad(ClosedLoop):
    """One request at a time."""

    kind: Literal["single"] = "single"
    sequential = True

    @property
    def words(self) -> str:
        return "one request at a time"

    def guidellm_terms(self, seed: int) -> dict[str, Any]:
        return {"type_": "synchronous"}


class BatchLoad(ClosedLoop):
    """Groups of requests sent together, the next group when all are done."""

    kind: Literal["batch"] = "batch"
    sequential = True
    batch_size: int = Field(ge=1, description="Requests sent at once; the next group leaves when all are done.")
    batch_as: BatchForm = Field(
        default="requests", description="Send a batch as separate requests, or as one request with a list of prompts."
    )

    @property
    def group_size(self) -> int:
        return self.batch_size

    @property
    def sends_lists(self) -> bool:
        return self.batch_as == "list"

    @property
    def words(self) -> str:
        form = "requests" if self.batch_as == "requests" else "prompts in one request"
        return f"{self.batch_size} {form} at once, the next when all are done"

    @property
    def level_words(self) -> str:
        return f"batches of {self.batch_size}"

    def check(self) -> None:
        super().check()
        if self.sends_lists and (self.lengths is not None or not isinstance(self.output_tokens, int)):
            raise ValueError("`batch_as` list needs a plain number of `output_tokens`: one request has one max_tokens")


class ConcurrencyLoad(ClosedLoop):
    """A number of users, each of whom sends its next request when its last has ended."""

    kind: Literal["concurrency"] = "concurrency"
    window_cut = "generations"
    concurrency: int = Field(ge=1, description="Requests in flight.")

    @property
    def streams(self) -> int:
        return self.concurrency

    @property
    def words(self) -> str:
        return f"{self.concurrency} request{'s' * (self.concurrency != 1)} in flight"

    @property
    def level_words(self) -> str:
        return f"{self.concurrency} in flight"
