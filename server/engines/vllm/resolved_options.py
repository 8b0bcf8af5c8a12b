"""vLLM's options as resolved, read from its configuration: names of AsyncEngineArgs, values as text.

Fields that a version does not have are left out. docs/reference/checks.md, *resolved-options-differ*, says which may differ.
"""

from __future__ import annotations

import math
from operator import attrgetter
from typing import Any

from server.engines.vllm.interface import attention_backend

PATHS = {
    "dtype": "model_config.dtype",
    "quantization": "model_config.quantization",
    "max_model_len": "model_config.max_model_len",
    "enforce_eager": "model_config.enforce_eager",
    "max_num_seqs": "scheduler_config.max_num_seqs",
    "max_num_batched_tokens": "scheduler_config.max_num_batched_tokens",
    "enable_chunked_prefill": "scheduler_config.enable_chunked_prefill",
    "async_scheduling": "scheduler_config.async_scheduling",
    "scheduling_policy": "scheduler_config.policy",
    "stream_interval": "scheduler_config.stream_interval",
    "enable_prefix_caching": "cache_config.enable_prefix_caching",
    "kv_cache_dtype": "cache_config.cache_dtype",
    "block_size": "cache_config.block_size",
    "num_gpu_blocks": "cache_config.num_gpu_blocks",
    "tensor_parallel_size": "parallel_config.tensor_parallel_size",
    "pipeline_parallel_size": "parallel_config.pipeline_parallel_size",
    "data_parallel_size": "parallel_config.data_parallel_size",
    "compilation_mode": "compilation_config.mode",
    "cudagraph_mode": "compilation_config.cudagraph_mode",
}


def resolved_options(config: Any) -> dict[str, str]:
    """Of a `VllmConfig` whose engine has started."""
    found: dict[str, str] = {}
    for name, path in PATHS.items():
        try:
            value = attrgetter(path)(config)
        except AttributeError:
            continue
        found[name] = str(getattr(value, "name", value)).removeprefix("torch.")
    speculative = getattr(config, "speculative_config", None)
    found["speculative_method"] = str(getattr(speculative, "method", None))
    found["attention_backend"] = attention_backend(config)
    return found


def uniform_blocks(config: Any) -> int | None:
    """Blocks of the cache if every layer needs the same number for a request, in one engine; else None.

    vLLM's own count of the tokens that fit then equals that of its blocks; with sliding windows, states or replicas it differs.
    Its first block is never allocated.
    """
    cache, longest = config.cache_config, config.model_config.max_model_len
    blocks, tokens = cache.num_gpu_blocks, getattr(cache, "kv_cache_size_tokens", None)
    if not blocks or not tokens:
        return None
    fitting = blocks / math.ceil(longest / cache.block_size) * longest
    return blocks - 1 if abs(tokens - fitting) <= 1 else None
