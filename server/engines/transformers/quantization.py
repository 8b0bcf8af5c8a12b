"""Weights that are quantized as they are loaded, by torchao or bitsandbytes through transformers, on CPUs too."""

from __future__ import annotations

import logging
from typing import Any

from server.engines.base import EngineError


def loading_arguments(method: str, device: str, config: dict[str, Any]) -> dict[str, Any]:
    """What `from_pretrained` takes for a method of `TransformersOptions.quantization`; nothing for none.

    Raises EngineError for a checkpoint (`config` is its config.json) that is quantized already.
    """
    if method == "none":
        return {}
    if "quantization_config" in config:
        raise EngineError(f"--engine-option quantization={method}: the checkpoint is quantized already")
    return {"quantization_config": _configuration(method), "device_map": {"": device}}


def resolved(method: str, config: dict[str, Any]) -> str:
    """The method, or that of a checkpoint that is quantized already; `None`, as vLLM has it, for neither."""
    own: Any = config.get("quantization_config") or {}
    return method if method != "none" else str(own.get("quant_method"))


def _configuration(method: str) -> Any:
    import transformers

    if method.startswith("torchao"):
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig

        chosen = Int8WeightOnlyConfig if method == "torchao-int8" else Int8DynamicActivationInt8WeightConfig
        return transformers.TorchAoConfig(chosen())
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of float32 at every layer of every step
    if method == "bitsandbytes-int8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
