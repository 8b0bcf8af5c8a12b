"""A transformers model behind a slot cache: prompts in by chunks, one token a step out for all running requests."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor

from base.figures import percent
from server.engines.base import EngineError
from server.engines.checkpoint import read_config
from server.engines.shape_check import check_tensor_shapes
from server.engines.transformers.options import TransformersOptions
from server.engines.transformers.packing import pack_linears
from server.engines.transformers.quantization import loading_arguments, resolved
from server.engines.transformers.slot_cache import ATTENTION, SlotCache

_DEFAULT_CONTEXT = 4096  # a model may allow 131,072, whose slots would not fit; ask for more with max_model_len


class SlotModel:
    """A loaded model and its cache. Every method must be called on the thread that made it, in inference mode."""

    def __init__(self, checkpoint: Path, options: TransformersOptions) -> None:
        check_tensor_shapes(checkpoint)
        config = read_config(checkpoint)
        self.device = _pick_device(options.device)
        if self.device.type == "cpu":
            torch.set_num_threads(options.threads or max(1, len(os.sched_getaffinity(0)) - 1))
        self.vocabulary = int(config.get("vocab_size", 0))
        self.slots = options.max_num_seqs
        self.max_model_len = _pick_length(options.max_model_len, config)
        self._quantization = resolved(options.quantization, config)
        how = loading_arguments(options.quantization, str(self.device), config)
        self._model = _load(checkpoint, self._dtype_name(options.dtype), self.device, how)
        self.dtype: torch.dtype = self._model.dtype
        self._check_memory()
        self._cache = SlotCache(self.slots, self.max_model_len)

    def resolved_options(self) -> dict[str, str]:
        """The options as resolved, by vLLM's names where the meaning is vLLM's."""
        return {
            "dtype": str(self.dtype).removeprefix("torch."),
            "kv_cache_dtype": str(self.dtype).removeprefix("torch."),
            "quantization": self._quantization,
            "device": str(self.device),
            "threads": str(torch.get_num_threads()),
            "max_num_seqs": str(self.slots),
            "max_model_len": str(self.max_model_len),
            "attention_backend": ATTENTION,
            "enable_prefix_caching": "False",
        }

    def _dtype_name(self, requested: str) -> str:
        return "float32" if requested == "auto" and self.device.type == "cpu" else requested

    def _check_memory(self) -> None:
        """Raise EngineError if the cache cannot fit: on a CPU the kernel would kill the process without a message."""
        config = self._model.config.get_text_config()
        query_heads = getattr(config, "num_attention_heads", 0)
        if not query_heads:
            return  # no attention, no cache; `prepare` will refuse the model
        heads = getattr(config, "num_key_value_heads", None) or query_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // query_heads
        token_bytes = 2 * config.num_hidden_layers * heads * head_dim * self.dtype.itemsize
        needed = token_bytes * self.slots * self.max_model_len
        on_gpu = self.device.type == "cuda"
        free = torch.cuda.mem_get_info(self.device)[0] if on_gpu else psutil.virtual_memory().available
        if needed > free:
            raise EngineError(
                f"the key/value cache needs {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; "
                f"lower --engine-option max_num_seqs={self.slots} or max_model_len={self.max_model_len}"
            )

    def prefill(self, slot: int, chunks: Sequence[Sequence[int]], start: int, places: Sequence[int] | None) -> Tensor:
        """Put `chunks` into the slots from `slot` on, one each, from position `start` on.

        Returns logits `[len(chunks), len(places), vocabulary]` at `places` within the chunks, or at all for None. Short
        chunks are padded on the right: nothing before can attend to that, and what it leaves in the cache is
        overwritten before anything does. Logits there mean nothing.
        """
        length = max(map(len, chunks))
        self._cache.prefill(slot, len(chunks), start, length)
        padded = [[*chunk, *([0] * (length - len(chunk)))] for chunk in chunks]
        positions = torch.arange(start, start + length, device=self.device).unsqueeze(0)
        keep: int | Tensor = 0 if places is None else torch.tensor(places, device=self.device)
        return self._forward(torch.tensor(padded, device=self.device), positions, keep)

    def decode(self, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        """One more token in each of the first slots, at its own position. Returns logits `[rows, vocabulary]`."""
        position_ids = self._cache.decode(positions, self.device)
        return self._forward(torch.tensor(tokens, device=self.device).unsqueeze(1), position_ids, 1)[:, 0]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a request's first `length` positions from one slot into another."""
        self._cache.move(source, target, length)

    def _forward(self, input_ids: Tensor, position_ids: Tensor, keep: int | Tensor) -> Tensor:
        output = self._model(
            input_ids=input_ids,
            position_ids=position_ids,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        logits: Tensor = output.logits
        return logits

    def prepare(self) -> None:
        """Pack the weights for speed. Raises EngineError unless the results equal those of a plain forward call.

        Architectures differ in how they use a cache, and one that ignores positions or masks would serve nonsense
        without an error; so prompts by chunks and staggered decoding must give the same logits. It also reserves the cache
        and warms up the kernels.
        """
        name = type(self._model).__name__
        try:
            error = self._error_against_plain()
        except Exception as failure:
            raise EngineError(
                f"{name} does not work with the transformers engine: {failure}; use --engine vllm"
            ) from failure
        exact = self.dtype == torch.float32 and self._quantization == "None"
        if not error < (1e-3 if exact else 0.1):
            raise EngineError(
                f"{name} does not work with the transformers engine's cache (logits differ by {percent(error)}); "
                "use --engine vllm"
            )

    def _error_against_plain(self) -> float:
        """Relative difference of two staggered rows' last logits from those of a forward call without a cache."""
        length = min(12, self.max_model_len)
        tokens = torch.randint(self.vocabulary, (2, length), generator=torch.Generator().manual_seed(0)).tolist()
        tokens = tokens[: self.slots]
        ends = [length - 1 - row for row in range(len(tokens))]  # the second row is shorter, so that positions differ
        plain = self._model(input_ids=torch.tensor(tokens, device=self.device), use_cache=False).logits.float()
        expected = torch.stack([plain[row, end] for row, end in enumerate(ends)])
        if self.device.type == "cpu":
            pack_linears(self._model)
        middle = length // 2
        self.prefill(0, [row[: max(1, middle - i)] for i, row in enumerate(tokens)], 0, [0])
        for row, end in enumerate(ends):
            begun = max(1, middle - row)
            if end > begun:
                self.prefill(row, [tokens[row][begun:end]], begun, [0])
        found = self.decode([row[end] for row, end in zip(tokens, ends, strict=True)], ends).float()
        return float((found - expected).norm() / expected.norm().clamp_min(1e-12))

    def close(self) -> None:
        """Free the model and the cache."""
        del self._model, self._cache
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _pick_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise EngineError(f"--engine-option device={name}: expected auto, cpu, cuda or cuda:N") from error
    if device.type not in {"cpu", "cuda"}:
        raise EngineError(f"--engine-option device={name}: expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EngineError(f"--engine-option device={name}: torch sees {torch.cuda.device_count()} CUDA devices")
    return device


def _pick_length(requested: int, config: dict[str, Any]) -> int:
    limit = config.get("max_position_embeddings") or config.get("n_positions")
    if requested and limit and requested > limit:
        raise EngineError(f"--engine-option max_model_len={requested}: the model's own limit is {limit}")
    return requested or min(limit or _DEFAULT_CONTEXT, _DEFAULT_CONTEXT)


def _load(checkpoint: Path, dtype: str, device: torch.device, how: Mapping[str, Any]) -> Any:
    """The model in evaluation mode. EngineError names what transformers could not load, or would initialise at random."""
    transformers.utils.logging.disable_progress_bar()
    try:
        model, loading = transformers.AutoModelForCausalLM.from_pretrained(
            checkpoint,
            dtype=dtype,
            attn_implementation=ATTENTION,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **how,
        )
        model = model if how else model.to(device)  # a quantized one is there already, and may not be moved
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise EngineError(f"{checkpoint}: transformers cannot load it: {reason}") from error
    if loading["missing_keys"]:  # transformers fills these with random numbers and continues
        raise EngineError(f"{checkpoint}: tensor {min(loading['missing_keys'])} is missing")
    return model.eval()
