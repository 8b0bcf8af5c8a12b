"""vLLM in this process, with its model in processes that it starts. `interface` has every name of vLLM."""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import psutil

from energy.meters.base import Meter
from server.engines.base import (
    BadRequestError,
    Delta,
    EngineDeadError,
    EngineError,
    EngineInfo,
    EngineLoad,
    SamplingOptions,
    StartedInfo,
    TokenLogprob,
)
from server.engines.checkpoint import end_of_sequence_ids, read_config
from server.engines.limits import check_logprobs, check_options, check_prompt
from server.engines.options import parse_options
from server.engines.shape_check import check_tensor_shapes
from server.engines.vllm import interface
from server.engines.vllm.preemptions import Preemptions
from server.engines.vllm.resolved_options import resolved_options, uniform_blocks
from server.offloading.off_loop import LOGPROB_SIZE, off_loop

_T = TypeVar("_T")
_CPU_CACHE_BYTES = 2**30  # vLLM would take half of the machine's memory


class VllmEngine(StartedInfo):
    """Serves `checkpoint` with any field of vLLM's AsyncEngineArgs as an option, given as text.

    What differs from vLLM's own defaults: no tokenizer is loaded (the app has one), end-of-sequence ids are ours,
    statistics are off but with a `speculative_config`, whose acceptance they count (`disable_log_stats=false` brings the times of queue,
    prefill and decode, and counts preemptions); without a GPU also
    `enforce_eager`, a cache of 1 GiB (`kv_cache_memory_bytes`) and the longest context that fits it. The prefix cache is
    as vLLM has it (`enable_prefix_caching`). Its log is cut to warnings unless VLLM_LOGGING_LEVEL says otherwise. It starts
    processes, so the calling script needs a `__main__` guard.
    """

    def __init__(self, checkpoint: Path, options: Mapping[str, str]) -> None:
        self._checkpoint = checkpoint
        self._options = dict(options)
        self._engine: Any = None
        self._sockets: tempfile.TemporaryDirectory[str] | None = None  # vLLM would leave them behind
        self._eos: frozenset[int] = frozenset()
        self._capacity = 0  # tokens the cache holds
        self._held: dict[str, int] = {}  # request id → tokens in the cache; 0: no output yet
        self._prefix_hits = 0
        self._preemptions = Preemptions(counted=False, blocks=None, block_size=1)
        self._scorings = 0
        self._reports_times = False
        self._drafts: tuple[int, int] | None = (
            None  # tokens that a draft proposed, and those of them that were accepted
        )

    async def start(self) -> None:
        """Check the checkpoint, then start vLLM: about 20 s on a CPU. Raises EngineError."""
        check_tensor_shapes(self._checkpoint)
        self._eos = end_of_sequence_ids(self._checkpoint)
        os.environ.setdefault(interface.LOG_LEVEL, "WARNING")
        await asyncio.to_thread(interface.import_vllm)
        self._engine = await asyncio.to_thread(self._start)
        config = self._engine.vllm_config
        self._preemptions = Preemptions(
            counted=self._reports_times, blocks=uniform_blocks(config), block_size=config.cache_config.block_size
        )
        self._capacity = (config.cache_config.num_gpu_blocks or 0) * config.cache_config.block_size
        self._info = EngineInfo(
            name="vllm",
            version=interface.version(),
            dtype=str(config.model_config.dtype).removeprefix("torch."),
            vocabulary=int(read_config(self._checkpoint)["vocab_size"]),
            max_model_len=config.model_config.max_model_len,
            reports_times=self._reports_times,
            options=await asyncio.to_thread(resolved_options, config),  # it imports the attention backend
        )

    def _start(self) -> Any:
        import torch

        arguments: dict[str, Any] = {
            "model": str(self._checkpoint),
            "skip_tokenizer_init": True,  # without one vLLM checks no token ids, and a wrong one kills it: check_prompt must
            "generation_config": "vllm",  # else vLLM would withhold end-of-sequence even from who ignores it
            "disable_log_stats": True,
        }
        if not torch.cuda.is_available():
            arguments |= {"enforce_eager": True, "max_model_len": -1}
            if interface.CPU_CACHE_GIB not in os.environ:
                arguments["kv_cache_memory_bytes"] = _CPU_CACHE_BYTES
        arguments |= parse_options(interface.arguments_class(), self._options)
        if arguments.get("speculative_config") and "disable_log_stats" not in self._options:
            arguments["disable_log_stats"] = False
        self._reports_times = not arguments["disable_log_stats"]
        if arguments.get("enforce_eager") and not torch.cuda.is_available():
            # Eager vLLM still compiles a helper for log-probabilities, and its core dies where there is no C++ compiler.
            os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
        if interface.SOCKET_FOLDER not in os.environ:
            self._sockets = tempfile.TemporaryDirectory(prefix="prunebench-vllm-")
            os.environ[interface.SOCKET_FOLDER] = self._sockets.name
        try:
            return interface.start_core(arguments, self._count_drafts)
        except (ValueError, RuntimeError, OSError, TypeError, KeyError, AssertionError, NotImplementedError) as error:
            self._remove_sockets()
            reason = str(error).strip().replace("\n", " ")
            raise EngineError(f"{self._checkpoint}: vLLM cannot start: {reason}") from error

    def _count_drafts(self, proposed: int, accepted: int) -> None:
        before = self._drafts or (0, 0)
        self._drafts = before[0] + proposed, before[1] + accepted

    def generate(self, request_id: str, prompt: Sequence[int], options: SamplingOptions) -> AsyncGenerator[Delta]:
        """Stream one request; closing the iterator aborts it.

        Raises BadRequestError for what vLLM or `server.engines.limits` refuses, EngineDeadError once the core is dead.
        """
        check_options(options, self.info)
        check_prompt(prompt, options.max_tokens, self.info)
        parameters = interface.sampling_parameters(
            max_tokens=options.max_tokens,
            min_tokens=options.min_tokens,
            ignore_eos=options.ignore_eos,
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k,
            min_p=options.min_p,
            repetition_penalty=options.repetition_penalty,
            presence_penalty=options.presence_penalty,
            frequency_penalty=options.frequency_penalty,
            seed=options.seed,
            stop_token_ids=sorted({*options.stop_token_ids, *(() if options.ignore_eos else self._eos)}),
            logprobs=options.logprobs,
        )
        return self._outputs(request_id, prompt, parameters, interface.delta)

    async def prompt_logprobs(self, prompt: Sequence[int], top: int) -> list[TokenLogprob | None]:
        """Log-probabilities of a prompt's tokens; vLLM generates one token to get them, so one must fit the context."""
        check_logprobs(top)
        check_prompt(prompt, 1, self.info)
        self._scorings += 1
        parameters = interface.sampling_parameters(final_only=True, max_tokens=1, temperature=0.0, prompt_logprobs=top)

        def found(output: Any) -> Any:
            return output.prompt_logprobs

        async with aclosing(self._outputs(f"scoring-{self._scorings}", prompt, parameters, found)) as outputs:
            entries = [found async for found in outputs][-1]

        def scores() -> list[TokenLogprob | None]:
            pairs = zip(prompt, entries, strict=True)
            return [None if entry is None else interface.token_logprob(token, entry) for token, entry in pairs]

        return await off_loop(scores, LOGPROB_SIZE * len(prompt) * (top + 1))

    async def _outputs(
        self, request_id: str, prompt: Sequence[int], parameters: Any, read: Callable[[Any], _T]
    ) -> AsyncGenerator[_T]:
        """`read` of every output of one request, with its tokens counted and its exceptions turned into ours."""
        if self._engine is None:
            raise EngineDeadError("vLLM has been shut down")
        if request_id in self._held:
            raise BadRequestError(f"request id {request_id} is in use")
        held = self._held
        held[request_id] = 0
        longest = len(prompt) + parameters.max_tokens
        self._preemptions.begun(longest)
        metrics: Any = None
        try:
            async with aclosing(interface.generate(self._engine, request_id, prompt, parameters)) as outputs:
                async for output in outputs:
                    if held[request_id] == 0:
                        held[request_id] = len(prompt)
                        self._prefix_hits += output.num_cached_tokens or 0
                    held[request_id] += len(output.outputs[0].token_ids)
                    metrics = output.metrics
                    yield read(output)
        except interface.request_failures() as error:
            raise interface.failure(error) from error
        finally:
            del held[request_id]
            self._preemptions.ended(longest, metrics)

    async def abort(self, request_id: str) -> None:
        """End a request with finish reason "abort", if it still runs."""
        if request_id in self._held and self._engine is not None:
            await self._engine.abort(request_id)

    async def check_health(self) -> None:
        """Raise EngineDeadError once vLLM's core is dead or has been shut down."""
        if self._engine is None or self._engine.errored:
            raise EngineDeadError("vLLM's engine core is not running")

    def load(self) -> EngineLoad:
        """Occupancy as seen from here: a request without a token is waiting, and shared prefixes count each time."""
        running = sum(held > 0 for held in self._held.values())
        usage = sum(self._held.values()) / self._capacity if self._capacity else 0.0
        return EngineLoad(
            running,
            len(self._held) - running,
            min(1.0, usage),
            self._prefix_hits,
            self._preemptions.count,
            self._drafts,
        )

    def process_ids(self) -> list[int]:
        """Our own process and those that vLLM has started, which do the work."""
        return [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]

    def meters(self) -> list[Meter]:
        """None: the machine's own meters see this engine."""
        return []

    async def shutdown(self) -> None:
        """Stop vLLM's processes, which can take 5 s. Safe to call twice."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.gather(*(engine.abort(request_id) for request_id in self._held))
            await asyncio.to_thread(engine.shutdown)
            del engine
            gc.collect()  # its __del__ fails if it is left to the interpreter's end
            self._remove_sockets()

    def _remove_sockets(self) -> None:
        if self._sockets is not None:
            del os.environ[interface.SOCKET_FOLDER]
            self._sockets.cleanup()
            self._sockets = None
