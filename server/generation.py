"""Sequences, from prompt ids to pieces of text: the engine's deltas, detokenized, searched for stop strings and counted."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import cast

from server.engines.base import Delta, Engine, FinishReason, RequestTimes, SamplingOptions, TokenLogprob
from server.monitoring.metrics import Metrics
from server.text.stopping import StopStrings
from server.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Job:
    """One choice to generate for one prompt."""

    request_id: str  # unique in the engine
    index: int  # of the choice in the answer
    prompt: Sequence[int]
    options: SamplingOptions
    stop: Sequence[str] = ()
    keep_stop: bool = False  # leave the stop string or token in the text
    skip_special_tokens: bool = True


@dataclass(slots=True)
class Piece:
    """What one delta of the engine adds. `text` may be empty: half a character, or what may become a stop string."""

    index: int
    text: str
    tokens: int  # written so far by this job
    token_ids: Sequence[int] = ()
    logprobs: Sequence[TokenLogprob] | None = None  # one a token, if requested
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None  # the stop string, or the id from stop_token_ids
    times: RequestTimes | None = None  # with the last piece, where the engine reports them
    cached_tokens: int | None = None  # of the prompt, from the prefix cache; with the last piece, where it is known


class Generator:
    """Runs jobs on one engine."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer, metrics: Metrics) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._metrics = metrics

    def pieces(self, jobs: Sequence[Job]) -> AsyncGenerator[Piece, None]:
        """Pieces of all jobs in order of arrival; the last of each job, and only that, has a finish reason.

        Closing the generator aborts jobs that still run. The first job to fail ends them all.
        """
        return (
            self._one(jobs[0]) if len(jobs) == 1 else self._many(jobs)
        )  # one job, the measured case: no queue, no task

    async def _many(self, jobs: Sequence[Job]) -> AsyncGenerator[Piece, None]:
        queue: asyncio.Queue[Piece | Exception | None] = asyncio.Queue(maxsize=len(jobs))
        tasks = [asyncio.create_task(self._into(queue, job)) for job in jobs]
        try:
            running = len(tasks)
            while running:
                match await queue.get():
                    case None:
                        running -= 1
                    case Piece() as piece:
                        yield piece
                    case Exception() as error:
                        raise error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _into(self, queue: asyncio.Queue[Piece | Exception | None], job: Job) -> None:
        try:
            async with aclosing(self._one(job)) as pieces:
                async for piece in pieces:
                    await queue.put(piece)
            await queue.put(None)
        except Exception as error:  # noqa: BLE001 - raised again by the consumer of the queue
            await queue.put(error)

    async def _one(self, job: Job) -> AsyncGenerator[Piece, None]:
        writer = _Writer(job, self._tokenizer)
        timing = self._metrics.begin(len(job.prompt))
        # The protocol says that it can be closed; the type of an async iterator does not.
        deltas = cast("AsyncGenerator[Delta, None]", self._engine.generate(job.request_id, job.prompt, job.options))
        async with aclosing(deltas):
            async for delta in deltas:
                piece = writer.write(delta)
                timing.wrote(piece.tokens)
                if piece.finish_reason is not None:
                    timing.finished(piece.finish_reason, delta.times)
                    yield piece
                    return
                yield piece


class _Writer:
    """Turns one job's deltas into pieces.

    A stop string ends the job at the token that completes it: later tokens of the same delta are neither sent nor
    counted. The token that ended a job (end of sequence, or one of `stop_token_ids`) is counted and its text left out.
    """

    def __init__(self, job: Job, tokenizer: Tokenizer) -> None:
        self._job = job
        self._decoder = tokenizer.decoder(job.prompt, skip_special_tokens=job.skip_special_tokens)
        self._stops = StopStrings(job.stop, keep_in_text=job.keep_stop)
        self._tokens = 0

    def write(self, delta: Delta) -> Piece:
        if delta.finish_reason is None and not self._job.stop:  # nearly every delta
            self._tokens += len(delta.token_ids)
            text = "".join(map(self._decoder.push, delta.token_ids))
            return Piece(self._job.index, text, self._tokens, delta.token_ids, delta.logprobs)
        text = ""
        ending = len(delta.token_ids) - 1 if delta.finish_reason == "stop" else None
        for at, token_id in enumerate(delta.token_ids):
            self._tokens += 1
            if at == ending and not self._job.keep_stop:
                break
            text += self._watched(self._decoder.push(token_id))
            if self._stops.found is not None:
                return self._piece(delta, text, upto=at + 1)
        if delta.finish_reason is not None:
            text += self._watched(self._decoder.finish())
            text += self._stops.finish()
        return self._piece(delta, text, upto=len(delta.token_ids))

    def _watched(self, text: str) -> str:
        """As in vLLM, a stop string counts if a token after the first `min_tokens` completes it, wherever it begins."""
        return self._stops.push(text, may_end=self._tokens > self._job.options.min_tokens)

    def _piece(self, delta: Delta, text: str, upto: int) -> Piece:
        reason: str | int | None = self._stops.found
        if reason is None and delta.finish_reason == "stop" and delta.token_ids:
            last = delta.token_ids[-1]
            reason = last if last in self._job.options.stop_token_ids else None
        return Piece(
            index=self._job.index,
            text=text,
            tokens=self._tokens,
            token_ids=delta.token_ids[:upto],
            logprobs=None if delta.logprobs is None else delta.logprobs[:upto],
            finish_reason=delta.finish_reason if self._stops.found is None else "stop",
            stop_reason=reason,
            times=delta.times,
            cached_tokens=delta.cached_tokens,
        )


class PieceCollector:
    """Joins the pieces of each job: the answer of a request that is not streamed."""

    def __init__(self) -> None:
        self._texts: defaultdict[int, list[str]] = defaultdict(list)
        self._logprobs: defaultdict[int, list[TokenLogprob]] = defaultdict(list)
        self._last: dict[int, Piece] = {}

    def add(self, piece: Piece) -> None:
        """The next piece of any job."""
        self._texts[piece.index].append(piece.text)
        self._logprobs[piece.index].extend(piece.logprobs or ())
        self._last[piece.index] = piece

    def whole(self) -> list[Piece]:
        """One whole piece a job, in the order of their indices."""
        return [
            replace(piece, text="".join(self._texts[index]), logprobs=self._logprobs[index])
            for index, piece in sorted(self._last.items())
        ]
