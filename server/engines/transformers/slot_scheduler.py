"""Which request gets which slot, and what runs next: prompts in chunks, then one token for every running request.

Slots `0 … n-1` belong to the n running requests, always without gaps; when one leaves, the last moves into its place.
Prompts in progress have slots behind them: a long one alone, a few short ones together.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from server.engines.base import Delta, EngineLoad, FinishReason, RequestTimes, SamplingOptions, TokenLogprob
from server.engines.transformers.sampling import SamplingState, sample, token_logprobs
from server.engines.transformers.slot_model import SlotModel

CHUNK = 512  # prompt tokens at once: bounds memory, and how long running requests wait for a newcomer
# Short prompts share a forward call up to this many tokens, padding included. More brings a CPU nothing, and the first
# prompt would wait for the last.
GROUP = 128


@dataclass(slots=True, eq=False)
class Generation:
    """A request for tokens."""

    key: int
    prompt: Sequence[int]
    options: SamplingOptions
    state: SamplingState | None = None
    cached: int = 0  # positions of it in the cache
    last: int = 0  # the newest token, not yet in the cache
    queued: float = field(default_factory=time.perf_counter)  # when this was made, seconds
    started: float = 0.0  # when its prompt began to be processed
    first: float = 0.0  # when its first token was generated

    def times(self) -> RequestTimes:
        """The phases of a request whose last token has just been generated."""
        return RequestTimes(self.started - self.queued, self.first - self.started, time.perf_counter() - self.first)


@dataclass(slots=True, eq=False)
class Scoring:
    """A request for its prompt's log-probabilities; it uses a slot only while its prompt is processed."""

    key: int
    prompt: Sequence[int]
    top: int
    cached: int = 0
    scores: list[TokenLogprob | None] = field(default_factory=lambda: [None])


Job = Generation | Scoring
Event = tuple[int, Delta | list[TokenLogprob | None]]  # a job's key, and its result


class SlotScheduler:
    """The requests of one model.

    `emit` is called with new results and the occupancy: after each finished prompt, each step and each removal.
    """

    def __init__(self, model: SlotModel, eos: frozenset[int], emit: Callable[[list[Event], EngineLoad], None]) -> None:
        self._model = model
        self._eos = eos
        self._emit = emit
        self._waiting: deque[Job] = deque()  # the first one may be partly in the cache, in slot `_entry`
        self._entry = 0
        self._running: list[Generation] = []  # the index is the slot

    @property
    def idle(self) -> bool:
        """Whether `step` would have nothing to do."""
        return not self._waiting and not self._running

    def load(self) -> EngineLoad:
        """Occupancy; a prompt in progress counts as running."""
        started = [job for job in self._waiting if job.cached]
        held = sum(job.cached for job in [*self._running, *started])
        return EngineLoad(
            running=len(self._running) + len(started),
            waiting=len(self._waiting) - len(started),
            kv_usage=held / (self._model.slots * self._model.max_model_len),
            prefix_hit_tokens=0,  # every prompt is computed in full
            preemptions=0,  # a slot holds the longest request
        )

    def add(self, job: Job) -> None:
        """Queue a request that has been checked against the model's limits."""
        self._waiting.append(job)

    def remove(self, key: int, *, notify: bool) -> None:
        """End a request, if it is still here, and free its slot; `notify`: with a last delta."""
        waiting = [job for job in self._waiting if job.key == key]
        slots = [slot for slot, job in enumerate(self._running) if job.key == key]
        for job in waiting:
            self._waiting.remove(job)
        self._leave(slots)
        found = bool(waiting or slots)
        self._emit([(key, Delta((), finish_reason="abort"))] if found and notify else [], self.load())

    def step(self) -> None:
        """Process at least one chunk of prompts if a slot is free, then one token for every running request."""
        budget = CHUNK
        while budget > 0 and self._waiting and len(self._running) < self._model.slots:
            budget -= self._admit(self._next_group())
        if self._running:
            self._decode()

    def _next_group(self) -> list[Job]:
        """The first waiting request, and those right behind it whose prompts are processed in the same call."""
        first, *others = itertools.islice(self._waiting, self._model.slots - len(self._running))
        group, longest = [first], len(first.prompt)
        if first.cached == 0:
            for job in others:
                longest = max(longest, len(job.prompt))
                if type(job) is not type(first) or longest * (len(group) + 1) > GROUP:
                    break
                group.append(job)
        return group

    def _admit(self, group: Sequence[Job]) -> int:
        """Process the next chunk of one prompt, or a group of whole ones; returns the number of tokens."""
        start = group[0].cached
        if start == 0:
            self._entry = len(self._running)
        chunks = [job.prompt[start : start + CHUNK] for job in group]
        generations = [job for job in group if isinstance(job, Generation)]
        if start == 0:
            for generation in generations:
                generation.started = time.perf_counter()
        places = sorted({len(chunk) - 1 for chunk in chunks}) if generations else None
        logits = self._model.prefill(self._entry, chunks, start, places)
        for job, chunk in zip(group, chunks, strict=True):
            job.cached += len(chunk)
        done = [job for job in group if job.cached == len(job.prompt)]
        for _ in done:
            self._waiting.popleft()
        if places is None:
            self._score([job for job in group if isinstance(job, Scoring)], chunks, logits)
        elif done:
            last = [places.index(len(chunk) - 1) for chunk in chunks]
            self._start(generations, logits[range(len(last)), last])
        return sum(map(len, chunks))

    def _score(self, jobs: Sequence[Scoring], chunks: Sequence[Sequence[int]], logits: Tensor) -> None:
        """Add the log-probabilities of the token after each position from a chunk's logits `[jobs, positions, vocabulary]`."""
        for job, chunk, rows in zip(jobs, chunks, logits, strict=True):
            following = job.prompt[job.cached - len(chunk) + 1 : job.cached + 1]
            job.scores.extend(token_logprobs(rows[: len(following)], following, job.top))
        self._emit([(job.key, job.scores) for job in jobs if job.cached == len(job.prompt)], self.load())

    def _start(self, jobs: Sequence[Generation], logits: Tensor) -> None:
        """Move requests with a finished prompt to the running ones, and sample their first token."""
        for slot, job in enumerate(jobs, start=self._entry):
            job.state = SamplingState(job.prompt, job.options, self._eos, self._model.vocabulary, self._model.device)
            place = len(self._running)
            if place != slot:  # a request left while a long prompt was processed
                self._model.move(slot, place, job.cached)
            self._running.append(job)
        self._advance(jobs, logits)

    def _decode(self) -> None:
        running = self._running
        logits = self._model.decode([job.last for job in running], [job.cached for job in running])
        for job in running:
            job.cached += 1
        self._advance(running, logits)

    def _advance(self, jobs: Sequence[Generation], logits: Tensor) -> None:
        """Sample a token for each job from its row of logits, emit the tokens, and free the slots of finished jobs."""
        states = [job.state for job in jobs if job.state is not None]
        scored = [row for row, job in enumerate(jobs) if job.options.logprobs is not None]
        raw = logits[scored].clone() if scored else logits  # sampling changes its logits
        tokens = sample(logits, states)
        logprobs: dict[int, TokenLogprob] = {}
        if scored:
            top = max(jobs[row].options.logprobs or 0 for row in scored)
            found = token_logprobs(raw, [tokens[row] for row in scored], top)
            logprobs = {
                row: _cut(entry, jobs[row].options.logprobs or 0) for row, entry in zip(scored, found, strict=True)
            }
        events: list[Event] = []
        finished = []
        for row, (job, state, token) in enumerate(zip(jobs, states, tokens, strict=True)):
            state.take(token)
            job.last = token
            job.first = job.first or time.perf_counter()
            reason = _finish_reason(state, token)
            if reason is not None:
                finished.append(job)
            scores = (logprobs[row],) if row in logprobs else None
            times = None if reason is None else job.times()
            events.append((job.key, Delta((token,), scores, reason, times)))
        if finished:
            self._leave([slot for slot, job in enumerate(self._running) if job in finished])
        self._emit(events, self.load())

    def _leave(self, slots: Sequence[int]) -> None:
        """Free slots; the last running requests move into the gaps."""
        for slot in sorted(slots, reverse=True):
            last = self._running.pop()
            if slot < len(self._running):
                self._model.move(len(self._running), slot, last.cached)
                self._running[slot] = last


def _finish_reason(state: SamplingState, token: int) -> FinishReason | None:
    if token in state.ends:
        return "stop"
    return "length" if state.generated >= state.options.max_tokens else None


def _cut(entry: TokenLogprob, top: int) -> TokenLogprob:
    """The entry with its `top` most likely tokens and the chosen one, where another row of the batch needs more."""
    likely = dict(list(entry.top.items())[:top])
    return TokenLogprob(entry.token_id, entry.logprob, {**likely, entry.token_id: entry.logprob})
