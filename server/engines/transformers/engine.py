"""The embedded engine: a transformers model on its own thread; requests join and leave at any step."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from energy.meters.base import Meter
from server.engines.base import (
    BadRequestError,
    Delta,
    EngineDeadError,
    EngineInfo,
    EngineLoad,
    SamplingOptions,
    StartedInfo,
    TokenLogprob,
)
from server.engines.limits import check_logprobs, check_options, check_prompt
from server.engines.options import parse_options
from server.engines.transformers.lean_import import lean_transformers
from server.engines.transformers.options import TransformersOptions

if TYPE_CHECKING:  # torch takes seconds to import, so the thread does it
    from server.engines.transformers.slot_scheduler import Event, SlotScheduler

_Item = Delta | list[TokenLogprob | None] | BaseException
_Command = Callable[["SlotScheduler"], object]
_IDLE = EngineLoad(running=0, waiting=0, kv_usage=0.0, prefix_hit_tokens=0, preemptions=0)


class TransformersEngine(StartedInfo):
    """Serves `checkpoint` with the options of `TransformersOptions`, given as text. EngineError names a wrong one.

    The event loop checks requests and owns one queue for each; the thread owns the model and takes commands between
    steps. Each step's results cross to the loop in one call.
    """

    def __init__(self, checkpoint: Path, options: Mapping[str, str]) -> None:
        self._checkpoint = checkpoint
        self._options = TransformersOptions(**parse_options(TransformersOptions, options))
        self._options.check()
        self._commands: queue.SimpleQueue[_Command | None] = queue.SimpleQueue()  # None ends the thread
        self._streams: dict[int, asyncio.Queue[_Item]] = {}
        self._keys: dict[str, int] = {}  # request id → key; keys are never used again, ids may be
        self._next_key = itertools.count()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._death: BaseException | None = None
        self._stopped = False
        self._load = _IDLE

    async def start(self) -> None:
        """Load the checkpoint on the engine's thread. Raises EngineError."""
        self._loop = asyncio.get_running_loop()
        started: Future[EngineInfo] = Future()
        self._thread = threading.Thread(target=self._work, args=(started,), name="transformers-engine", daemon=True)
        self._thread.start()
        self._info = await asyncio.wrap_future(started)

    async def generate(self, request_id: str, prompt: Sequence[int], options: SamplingOptions) -> AsyncIterator[Delta]:
        """Stream one request; closing the iterator frees its slot.

        Raises BadRequestError for a prompt or option out of bounds, EngineDeadError once the thread has died.
        """
        from server.engines.transformers.slot_scheduler import Generation

        check_options(options, self.info)
        check_prompt(prompt, options.max_tokens, self.info)
        if request_id in self._keys:
            raise BadRequestError(f"request id {request_id} is in use")
        key, results = self._open()
        self._keys[request_id] = key
        self._commands.put(lambda scheduler: scheduler.add(Generation(key, tuple(prompt), options)))
        finished = False
        try:
            while not finished:
                delta = await _next(results)
                assert isinstance(delta, Delta)  # noqa: S101 - generations get nothing else
                finished = delta.finish_reason is not None
                yield delta
        finally:
            del self._keys[request_id]
            self._close(key, running=not finished)

    async def prompt_logprobs(self, prompt: Sequence[int], top: int) -> list[TokenLogprob | None]:
        """Log-probabilities of a prompt's tokens, computed chunk by chunk between the steps of other requests."""
        from server.engines.transformers.slot_scheduler import Scoring

        check_logprobs(top)
        check_prompt(prompt, 0, self.info)
        key, results = self._open()
        self._commands.put(lambda scheduler: scheduler.add(Scoring(key, tuple(prompt), top)))
        finished = False
        try:
            scores = await _next(results)
            assert isinstance(scores, list)  # noqa: S101 - scorings get nothing else
            finished = True
            return scores
        finally:
            self._close(key, running=not finished)

    async def abort(self, request_id: str) -> None:
        """End a request with finish reason "abort", if it still runs."""
        key = self._keys.get(request_id)
        if key is not None:
            self._commands.put(lambda scheduler: scheduler.remove(key, notify=True))

    async def check_health(self) -> None:
        """Raise EngineDeadError once the thread has died or has been shut down."""
        if self._death is not None:
            raise EngineDeadError(f"the transformers engine died: {self._death!r}") from self._death
        if self._stopped:
            raise EngineDeadError("the transformers engine has been shut down")

    def load(self) -> EngineLoad:
        """Occupancy after the latest step; requests that the thread has not seen yet count as waiting."""
        latest = self._load
        unseen = len(self._streams) - latest.running - latest.waiting
        return dataclasses.replace(latest, waiting=latest.waiting + max(0, unseen))

    def process_ids(self) -> list[int]:
        """Our own process: the model runs in it."""
        return [os.getpid()]

    def meters(self) -> list[Meter]:
        """None: the machine's own meters see this engine."""
        return []

    async def shutdown(self) -> None:
        """Abort what runs, end the thread and free the model. Safe to call twice, and after a failed start."""
        if self._stopped:
            return
        self._stopped = True
        for results in self._streams.values():
            results.put_nowait(Delta((), finish_reason="abort"))
        self._commands.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    # On the event loop

    def _open(self) -> tuple[int, asyncio.Queue[_Item]]:
        if self._death is not None or self._stopped:
            raise EngineDeadError("the transformers engine is not running") from self._death
        key = next(self._next_key)
        self._streams[key] = asyncio.Queue()
        return key, self._streams[key]

    def _close(self, key: int, *, running: bool) -> None:
        del self._streams[key]
        if running:
            self._commands.put(lambda scheduler: scheduler.remove(key, notify=False))

    def _deliver(self, events: list[Event], load: EngineLoad) -> None:
        self._load = load
        for key, item in events:
            results = self._streams.get(key)  # None if its reader left while the step ran
            if results is not None:
                results.put_nowait(item)

    def _die(self, death: BaseException) -> None:
        self._death = death
        self._load = _IDLE
        for results in self._streams.values():
            results.put_nowait(EngineDeadError(f"the transformers engine died: {death!r}"))

    # On the engine's thread

    def _work(self, started: Future[EngineInfo]) -> None:
        try:
            self._serve(started)
        except Exception as error:  # noqa: BLE001 - any failure must reach the waiting requests
            if started.done():
                self._post(functools.partial(self._die, error))
            else:
                started.set_exception(error)

    def _serve(self, started: Future[EngineInfo]) -> None:
        import torch

        from server.engines.checkpoint import end_of_sequence_ids

        with lean_transformers(quantizing=self._options.quantization != "none"):
            import transformers

            from server.engines.transformers.slot_model import SlotModel
            from server.engines.transformers.slot_scheduler import SlotScheduler

            with torch.inference_mode():
                model = SlotModel(self._checkpoint, self._options)
        with torch.inference_mode():
            model.prepare()
            scheduler = SlotScheduler(model, end_of_sequence_ids(self._checkpoint), self._publish)
            started.set_result(
                EngineInfo(
                    name="transformers",
                    version=f"{transformers.__version__} (torch {torch.__version__})",
                    dtype=str(model.dtype).removeprefix("torch."),
                    vocabulary=model.vocabulary,
                    max_model_len=model.max_model_len,
                    options=model.resolved_options(),
                )
            )
            while self._take_commands(scheduler):
                scheduler.step()
            model.close()

    def _publish(self, events: list[Event], load: EngineLoad) -> None:
        self._post(functools.partial(self._deliver, events, load))

    def _take_commands(self, scheduler: SlotScheduler) -> bool:
        """Run the loop's commands, blocking for one if the scheduler is idle; False to end."""
        while True:
            try:
                command = self._commands.get(block=scheduler.idle)
            except queue.Empty:
                return True
            if command is None:
                return False
            command(scheduler)

    def _post(self, callback: Callable[[], None]) -> None:
        assert self._loop is not None  # noqa: S101 - set before the thread starts
        self._loop.call_soon_threadsafe(callback)


async def _next(results: asyncio.Queue[_Item]) -> Delta | list[TokenLogprob | None]:
    item = await results.get()
    if isinstance(item, BaseException):
        raise item
    return item
