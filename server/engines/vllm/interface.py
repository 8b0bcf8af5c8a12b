"""Every name of vLLM that this product uses, except those of its configuration (`resolved_options`).

They exist in vLLM 0.20 to 0.32, the range that pyproject.toml allows; tests/server/test_private_names.py fails when one moves.
All imports are made on use: they take seconds.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from server.engines.base import BadRequestError, Delta, EngineDeadError, FinishReason, RequestTimes, TokenLogprob
from server.engines.hidden import hidden

SOCKET_FOLDER = "VLLM_RPC_BASE_PATH"  # environment variables
CPU_CACHE_GIB = "VLLM_CPU_KVCACHE_SPACE"
LOG_LEVEL = "VLLM_LOGGING_LEVEL"
_FINISH_REASONS: dict[str | None, FinishReason | None] = {None: None, "stop": "stop", "length": "length"}


def import_vllm() -> None:
    """For a thread of its own: an error that some module keeps also keeps the thread's frames and their values."""
    with hidden("sklearn"):  # for assisted generation by transformers: a tenth of the CPU time
        import vllm.v1.engine.async_llm  # noqa: F401


def version() -> str:
    """Of the installed vLLM."""
    import vllm

    return str(vllm.__version__)


def arguments_class() -> type:
    """The dataclass of the engine's options."""
    from vllm import AsyncEngineArgs

    found: type = AsyncEngineArgs
    return found


def start_core(arguments: Mapping[str, Any], on_drafts: Callable[[int, int], None]) -> Any:
    """An `AsyncLLM` that has loaded its model. Used of it: generate, abort, errored, shutdown and vllm_config.

    `on_drafts` is called with the tokens that a draft proposed and those that were accepted, where vLLM keeps statistics.
    """
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.metrics.loggers import StatLoggerBase

    class DraftCounter(StatLoggerBase):  # type: ignore[misc]  # vLLM is not installed everywhere
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def record(self, scheduler_stats: Any, *_: Any, **__: Any) -> None:
            stats = getattr(scheduler_stats, "spec_decoding_stats", None)
            if stats is not None:
                on_drafts(stats.num_draft_tokens, stats.num_accepted_tokens)

        def log_engine_initialized(self) -> None:
            pass

    given = arguments_class()(**arguments)
    drafts = [DraftCounter] if arguments.get("speculative_config") else None
    return AsyncLLM.from_engine_args(given, stat_loggers=drafts)


def sampling_parameters(*, final_only: bool = False, **values: Any) -> Any:
    """SamplingParams without detokenizing. Raises BadRequestError for what vLLM refuses."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    kind = RequestOutputKind.FINAL_ONLY if final_only else RequestOutputKind.DELTA
    try:
        return SamplingParams(detokenize=False, output_kind=kind, **values)
    except _request_errors() as error:
        raise BadRequestError(str(error)) from error


def generate(core: Any, request_id: str, prompt: Sequence[int], parameters: Any) -> AsyncGenerator[Any]:
    """VLLM's outputs of one request. `request_failures` are what it may raise."""
    from vllm.inputs import tokens_input

    outputs: AsyncGenerator[Any] = core.generate(tokens_input(list(prompt)), parameters, request_id)
    return outputs


def request_failures() -> tuple[type[Exception], ...]:
    """What `generate` may raise; `failure` makes our error of it."""
    from vllm.v1.engine.exceptions import EngineDeadError as CoreDeadError

    return (CoreDeadError, *_request_errors())


def failure(error: Exception) -> EngineDeadError | BadRequestError:
    """Our error for one of `request_failures`."""
    if isinstance(error, _request_errors()):
        return BadRequestError(str(error))
    return EngineDeadError("vLLM's engine core has died; its own log says why")


def _request_errors() -> tuple[type[Exception], ...]:
    """The classes of vLLM's errors about a request: ValueError in older versions, also one of its own since 0.28."""
    import vllm.exceptions

    own = getattr(vllm.exceptions, "VLLMClientError", None)
    return (ValueError,) if own is None else (ValueError, own)


def delta(answer: Any) -> Delta:
    """Of one output of `generate`."""
    output = answer.outputs[0]
    token_ids = tuple(output.token_ids)
    logprobs = None
    if output.logprobs is not None:
        entries = zip(token_ids, output.logprobs, strict=True)
        logprobs = tuple(token_logprob(token, entry) for token, entry in entries)
    # Any other reason is an end that the request did not ask for.
    reason = _FINISH_REASONS.get(output.finish_reason, "abort")
    times = None if reason is None else _times(answer.metrics)
    return Delta(token_ids, logprobs, reason, times, answer.num_cached_tokens)


def token_logprob(token: int, entry: Mapping[int, Any]) -> TokenLogprob:
    """From vLLM's mapping of token id → Logprob, which has the chosen token first."""
    top = {found: value.logprob for found, value in sorted(entry.items(), key=lambda item: -item[1].logprob)}
    return TokenLogprob(token, top[token], top)


def _times(metrics: Any) -> RequestTimes | None:
    """From vLLM's own stamps, which it takes only with `disable_log_stats=false`."""
    if metrics is None or not metrics.first_token_ts:
        return None
    return RequestTimes(
        queue_s=metrics.scheduled_ts - metrics.queued_ts,
        prefill_s=metrics.first_token_ts - metrics.scheduled_ts,
        decode_s=metrics.last_token_ts - metrics.first_token_ts,
    )


def preemptions(metrics: Any) -> int | None:
    """How often this request was preempted; None in versions that do not count it."""
    found: int | None = getattr(metrics, "num_preemptions", None)
    return found


def attention_backend(config: Any) -> str:
    """As the selector that the workers use names it; the configuration's value where its signature is not that of 0.32."""
    try:
        from vllm.config import set_current_vllm_config
        from vllm.v1.attention.selector import get_attn_backend

        model, cache = config.model_config, config.cache_config
        with set_current_vllm_config(config):
            backend = get_attn_backend(
                model.get_head_size(), model.dtype, cache.cache_dtype, use_mla=model.use_mla
            ).get_name()
    except Exception:  # noqa: BLE001 - its errors differ between versions as its signature does
        return str(getattr(getattr(config, "attention_config", None), "backend", None) or "auto")
    return str(backend)
