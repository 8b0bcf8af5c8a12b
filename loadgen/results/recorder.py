"""Parse answers into records while the load runs, outside the process that measures.

Records are kept as columns and, where a file is given, written to it every half second as an Arrow IPC stream: if this
process is killed, that file can be read up to the last batch (`read_stream`).
"""

from __future__ import annotations

import http
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from loadgen.answers.list_response import ListedAnswers
from loadgen.answers.sse import Answer
from loadgen.link.messages import Ended, Part, Said
from loadgen.metrics.read_lag import LagHistogram
from loadgen.prompts.base import Prompts
from loadgen.prompts.request_body import asked_tokens
from loadgen.records.arrow import ArrowStream, read_batches
from loadgen.records.batch import Batch
from loadgen.records.schema import RequestRecord
from loadgen.records.table import Records, in_order
from loadgen.workloads.base import Workload

_EVERY_S = 0.5
_MANY_ROWS = 4096
_MANY_LAGS = 64 * 1024  # bytes of them; a histogram takes thousands in the time of ten


@dataclass
class _Reading:
    """Answers whose end has not come yet: one, or as many as the prompt's list was long."""

    answers: Answer | ListedAnswers
    lag_ns: array[int] = field(default_factory=lambda: array("q"))


class Recorder:
    """Turn the clients' messages into records; a context manager that writes the remaining records on leaving."""

    def __init__(
        self,
        workload: Workload,
        seed: int,
        *,
        prompts: Prompts | None = None,
        file: Path | None = None,
        count_tokens: Callable[[str], int] | None = None,
        on_finished: Callable[[RequestRecord], None] | None = None,
        on_tokens: Callable[[int, int], None] | None = None,
    ) -> None:
        self._lags, self._lag_at, self._lag_ns = LagHistogram(), bytearray(), bytearray()
        self._workload, self._seed, self._count_tokens = workload, seed, count_tokens
        self._prompts = prompts  # None: none of them asks for a length itself
        self._on_finished, self._on_tokens = on_finished, on_tokens
        self._under_way: dict[tuple[int, ...], _Reading] = {}
        self._rows: list[RequestRecord] = []
        self._batches: list[Batch] = []
        self._written = time.monotonic()
        self._file = file.open("wb", buffering=0) if file is not None else None
        self._stream = ArrowStream(self._file) if self._file is not None else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._write()
            if self._stream is not None:
                self._stream.close()
        finally:
            if self._file is not None:
                self._file.close()

    @property
    def lags(self) -> LagHistogram:
        """The client's own lag, over every read so far."""
        self._count_lags()
        return self._lags

    def part(self, part: Part) -> None:
        """Read some of an answer."""
        reading = self._under_way.get(part.indices)
        if reading is None:
            reading = self._under_way[part.indices] = self._begun(len(part.indices))
        at_ns, ends = array("q", part.at_ns), array("q", part.ends)
        answers, start, before = reading.answers, 0, reading.answers.counted
        for at, end in zip(at_ns, ends, strict=True):
            answers.feed(at, part.body[start:end])
            start = end
        reading.lag_ns.frombytes(part.lag_ns)
        self._lag_at += part.at_ns
        self._lag_ns += part.lag_ns
        if len(self._lag_at) >= _MANY_LAGS:
            self._count_lags()
        if at_ns and self._on_tokens is not None:
            self._on_tokens(at_ns[-1], answers.counted - before)

    def ended(self, ended: Ended) -> Said:
        """Make the records of a request that is over. Returns the message that its answer is, unless it failed or is of no session."""
        self.part(ended.rest)
        reading = self._under_way.pop(ended.indices)
        reading.answers.settle(self._count_tokens)
        for index, answer in zip(ended.indices, reading.answers.all, strict=True):
            record = RequestRecord(
                request_id=f"{self._seed}-{index}",
                index=index,
                group=ended.group,
                scheduled_ns=ended.scheduled_ns,
                sent_ns=ended.sent_ns,
                headers_ns=ended.headers_ns,
                end_ns=ended.end_ns,
                turn=ended.turn,
                asked_tokens=self._asked_tokens(index, ended.group),
                status=ended.status,
                error=ended.error,
            )
            if ended.status == http.HTTPStatus.OK:
                _fill(record, answer, reading.lag_ns)
            self._rows.append(record)
            if self._on_finished is not None:
                self._on_finished(record)
        whole = self._workload.holds_sessions and self._rows[-1].error is None
        answer = reading.answers.all[0]
        return Said(ended.indices[0], answer.message, answer.calls) if whole else Said(ended.indices[0], None)

    def tick(self) -> None:
        """Write what has been ready for a while; to be called often."""
        if len(self._rows) >= _MANY_ROWS or (self._rows and time.monotonic() - self._written >= _EVERY_S):
            self._write()

    def records(self) -> Records:
        """Everything, in the order of the requests' numbers. The recorder is empty then."""
        self._write()
        return in_order(self._batches)

    def _asked_tokens(self, index: int, group: int) -> int:
        number = group if self._workload.holds_sessions else index
        own = None if self._prompts is None else self._prompts.own_length(number)
        return asked_tokens(self._workload, self._seed, index, own)

    def _count_lags(self) -> None:
        self._lags.add(np.frombuffer(self._lag_at, dtype=np.int64), np.frombuffer(self._lag_ns, dtype=np.int64))
        self._lag_at, self._lag_ns = bytearray(), bytearray()

    def _begun(self, answers: int) -> _Reading:
        keep = self._count_tokens is not None
        if answers > 1:
            return _Reading(ListedAnswers(answers, keep_text=keep))
        return _Reading(Answer(keep_text=keep, keep_message=self._workload.holds_sessions))

    def _write(self) -> None:
        self._written = time.monotonic()
        if self._rows:
            batch = Batch.of(self._rows)
            self._batches.append(batch)
            self._rows = []
            if self._stream is not None:
                self._stream.write(batch)


def read_stream(file: Path) -> Records:
    """What a recorder wrote, whole or broken off. Raises OSError if there is no such file."""
    with file.open("rb") as source:
        return in_order(list(read_batches(source)))


def has_records(file: Path) -> bool:
    """Whether anything can be read of what a recorder wrote."""
    try:
        with file.open("rb") as source:
            return any(map(len, read_batches(source)))
    except OSError:
        return False


def where_kept(file: Path) -> str:
    """For the user of a load that was cut short."""
    if not has_records(file):
        return "no request had ended, so there is nothing to keep"
    return f"records of the requests that ended (loadgen.results.recorder.read_stream): {file}"


def _fill(record: RequestRecord, answer: Answer, lag_ns: array[int]) -> None:
    """Put what an answer says into its record."""
    record.arrival_ns, record.arrival_tokens = answer.arrival_ns, answer.arrival_tokens
    if record.arrival_ns:
        record.first_token_ns, record.last_token_ns = record.arrival_ns[0], record.arrival_ns[-1]
    record.prompt_tokens, record.output_tokens = answer.prompt_tokens, answer.output_tokens
    record.output_characters = answer.output_characters
    record.cached_tokens, record.reasoning_tokens = answer.cached_tokens, answer.reasoning_tokens
    record.hidden_reasoning_tokens, record.first_answer_ns = answer.hidden_reasoning_tokens, answer.first_answer_ns
    record.counted_by, record.finish_reason = answer.counted_by, answer.finish_reason
    record.error = answer.error or record.error or answer.incomplete
    lags = sorted(lag for lag in lag_ns if lag >= 0)
    if lags:
        record.read_lag_p50_ns, record.read_lag_max_ns = lags[len(lags) // 2], lags[-1]
