"""An engine without a model: known times, known tokens, known joules. It is how the harness proves its own numbers.

A request's first token is due `prefill_ms`, and `prefill_token_ms` for each token of its prompt, after it arrives, and each
later one `token_ms` after the one before, on an absolute schedule: a late wake-up delays one chunk, not those that follow.
Requests do not slow each other down.

The "language" counts: after token t comes t + 1 with probability 1/2, any other with equal shares of the rest; what is
generated is always t + 1. The last id of the vocabulary is the end of sequence and never comes by counting.

Power is `idle_watts` plus `active_watts` for each running request, so joules are known exactly at any moment.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import tokenizers

from energy.meters.base import Meter
from server.engines.base import (
    Delta,
    EngineDeadError,
    EngineError,
    EngineInfo,
    EngineLoad,
    FinishReason,
    RequestTimes,
    SamplingOptions,
    StartedInfo,
    TokenLogprob,
)
from server.engines.synthetic.meter import SyntheticMeter
from server.engines.synthetic.options import SyntheticOptions
from server.offloading.off_loop import LOGPROB_SIZE, off_loop


class SyntheticEngine(StartedInfo):
    """See the module's docstring. Of the checkpoint only the size of the vocabulary is read."""

    def __init__(self, checkpoint: Path, options: Mapping[str, str]) -> None:
        self._options = SyntheticOptions.parse(options)
        self._checkpoint = checkpoint
        self._running: dict[str, _Run] = {}
        self._generated = 0
        self._dead = False
        self._meter = SyntheticMeter(self._options.idle_watts, self._options.active_watts)

    async def start(self) -> None:
        """Find the vocabulary's size. Raises EngineError if the checkpoint has no tokenizer, or exceeds `memory_bytes`."""
        self._check_memory()
        await asyncio.sleep(self._options.start_s)
        vocabulary = self._options.vocab
        if vocabulary is None:
            file = self._checkpoint / "tokenizer.json"
            if not file.is_file():
                raise EngineError(f"{file}: not found; name the vocabulary's size with --engine-option vocab=N")
            vocabulary = tokenizers.Tokenizer.from_file(str(file)).get_vocab_size()
        self._info = EngineInfo(
            "synthetic",
            "1",
            "none",
            vocabulary,
            self._options.max_model_len,
            options={key: str(value) for key, value in self._options.model_dump().items()},
        )

    async def generate(
        self, request_id: str, prompt: Sequence[int], options: SamplingOptions
    ) -> AsyncGenerator[Delta, None]:
        """Stream one request on its schedule. Of the sampling options only those that decide the end matter."""
        run = _Run(time.perf_counter())
        self._running[request_id] = run
        self._meter.set_running(len(self._running))
        first: float | None = None
        try:
            for delta, due in self._schedule(prompt, options, run.begun):
                await run.wait_until(math.inf if self._hangs() else due)
                self._check_alive()
                if run.aborted:
                    yield Delta((), finish_reason="abort")
                    return
                self._generated += len(delta.token_ids)
                now = time.perf_counter()
                first = first or now
                if delta.finish_reason is not None:  # no request ever waits
                    delta = replace(delta, times=RequestTimes(0.0, first - run.begun, now - first))  # noqa: PLW2901 - the same delta, with times
                yield delta
                if self._options.fail_after is not None and self._generated >= self._options.fail_after:
                    self._die()
                    self._check_alive()
        finally:
            del self._running[request_id]
            self._meter.set_running(len(self._running))

    async def prompt_logprobs(self, prompt: Sequence[int], top: int) -> list[TokenLogprob | None]:
        """The counting language's probabilities, after the time of a prefill."""
        await asyncio.sleep(self._prefill_ms(prompt) / 1e3)
        self._check_alive()

        def scores() -> list[TokenLogprob | None]:
            return [None, *(self._logprob(before, token, top) for before, token in pairwise(prompt))]

        return await off_loop(scores, LOGPROB_SIZE * len(prompt) * (top + 1))

    async def abort(self, request_id: str) -> None:
        """End a request, if it still runs, with finish reason "abort"."""
        if run := self._running.get(request_id):
            run.abort()

    async def check_health(self) -> None:
        """Raises EngineDeadError after `fail_after` tokens."""
        self._check_alive()

    def load(self) -> EngineLoad:
        """Occupancy now; nothing ever waits."""
        return EngineLoad(running=len(self._running), waiting=0, kv_usage=0.0, preemptions=0)

    def process_ids(self) -> list[int]:
        """Ours alone."""
        return [os.getpid()]

    def meters(self) -> list[Meter]:
        """The power curve."""
        return [self._meter]

    async def shutdown(self) -> None:
        """Abort what runs."""
        for run in self._running.values():
            run.abort()

    def _schedule(self, prompt: Sequence[int], options: SamplingOptions, begun: float) -> Iterator[tuple[Delta, float]]:
        """The whole answer in advance: each delta, and when it is due (seconds of `perf_counter`)."""
        mine = self._options
        # The same request has the same jitter; without jitter a long prompt is not hashed.
        jitter = random.Random(f"{mine.seed} {options.seed} {hash(tuple(prompt))}" if mine.jitter_ms else 0)
        before, chunk, logprobs = prompt[-1], [], []
        due = begun
        for count in range(1, options.max_tokens + 1):
            token, finish = self._next(before, count, options)
            chunk.append(token)
            if options.logprobs is not None:
                logprobs.append(self._logprob(before, token, options.logprobs))
            scheduled = begun + (self._prefill_ms(prompt) + (count - 1) * mine.token_ms) / 1e3
            due = max(due, scheduled + jitter.uniform(0, mine.jitter_ms) / 1e3)
            if finish is not None or len(chunk) == mine.chunk_tokens:
                yield Delta(chunk, logprobs or None, finish), due
                chunk, logprobs = [], []
            if finish is not None:
                return
            before = token

    def _next(self, before: int, count: int, options: SamplingOptions) -> tuple[int, FinishReason | None]:
        """Token number `count` (from 1), and whether it is the last."""
        end = self.info.vocabulary - 1
        natural = self._options.natural_length
        may_stop = count > options.min_tokens
        if natural is not None and count >= natural and may_stop and not options.ignore_eos:
            return end, "stop"
        token = (before + 1) % end
        if token in options.stop_token_ids and may_stop:
            return token, "stop"
        return token, "length" if count == options.max_tokens else None

    def _prefill_ms(self, prompt: Sequence[int]) -> float:
        return self._options.prefill_ms + self._options.prefill_token_ms * len(prompt)

    def _logprob(self, before: int, token: int, top: int) -> TokenLogprob:
        vocabulary = self.info.vocabulary
        likeliest = (before + 1) % (vocabulary - 1)
        rest = math.log(0.5 / (vocabulary - 1))
        ranked = [likeliest, *(i for i in range(min(top + 1, vocabulary)) if i != likeliest)][:top]
        values = {i: math.log(0.5) if i == likeliest else rest for i in {*ranked, token}}
        return TokenLogprob(token, values[token], values)

    def _hangs(self) -> bool:
        return self._options.hang_after is not None and self._generated >= self._options.hang_after

    def _check_memory(self) -> None:
        limit = self._options.memory_bytes
        if limit is None:
            return
        weights = sum(file.stat().st_size for file in self._checkpoint.glob("*.safetensors"))
        if weights > limit:
            raise EngineError(f"out of memory: the weights are {weights:,} bytes, memory_bytes allows {limit:,}")

    def _check_alive(self) -> None:
        if self._dead:
            raise EngineDeadError(f"fail_after={self._options.fail_after} tokens have been generated")

    def _die(self) -> None:
        self._dead = True
        for run in self._running.values():
            run.wake()


class _Run:
    """A running request: it sleeps until its next token is due, or until it is woken."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.aborted = False
        self._sleeping: asyncio.Future[None] | None = None

    async def wait_until(self, due: float) -> None:
        """Return at `due` (seconds of `perf_counter`; uvloop's timers are good to 1 ms; infinity: never), or when woken."""
        remaining = due - time.perf_counter()
        if remaining <= 0 or self.aborted:
            await asyncio.sleep(0)  # let other tasks run
            return
        loop = asyncio.get_running_loop()
        self._sleeping = loop.create_future()
        timer = loop.call_later(remaining, self.wake) if math.isfinite(remaining) else None
        try:
            await self._sleeping
        finally:
            if timer is not None:
                timer.cancel()

    def wake(self) -> None:
        if self._sleeping is not None and not self._sleeping.done():
            self._sleeping.set_result(None)

    def abort(self) -> None:
        self.aborted = True
        self.wake()
