"""The transformers engine's options. Separate from its other modules so that a wrong one is refused before torch is imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

from server.engines.base import EngineError


def _option(default: Any, description: str) -> Any:
    return field(default=default, metadata={"description": description})


@dataclass(frozen=True, slots=True)
class TransformersOptions:
    """`--engine-option KEY=VALUE` of this engine."""

    # float32 on a CPU, where half precision is slower on most machines and where only float32 gives the same tokens in every
    # batch.
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = _option(
        "auto",
        "`float32`, `bfloat16` or `float16`, of weights and cache; auto is the checkpoint's own on a GPU, float32 on a CPU",
    )
    quantization: Literal["none", "torchao-int8", "torchao-int8-dynamic", "bitsandbytes-int8", "bitsandbytes-nf4"] = (
        _option(
            "none",
            "linear weights in 8 bits (`torchao-int8`, with activations too `torchao-int8-dynamic`, `bitsandbytes-int8`) or in 4 "
            "(`bitsandbytes-nf4`), quantized as they are loaded; needs `prunebench[quantization]`",
        )
    )
    device: str = _option("auto", "`cpu`, `cuda` or `cuda:N`; auto takes a GPU if there is one")
    # The event loop needs the other core: two spinning threads on a busy two-core machine collapse to a third of their speed.
    threads: int = _option(0, "torch threads on the CPU; 0 is one fewer than the usable cores, at least one")
    max_num_seqs: int = _option(16, "requests that run at once; more wait. The cache for all is reserved at start")
    max_model_len: int = _option(
        0, "longest prompt and output together, tokens; 0 is the model's own limit, but at most 4096"
    )

    def check(self) -> None:
        """Raise EngineError for a number out of range, or a package that is missing."""
        package = self.quantization.partition("-")[0]
        if missing := [name for name in (package, "accelerate") if package != "none" and not find_spec(name)]:
            raise EngineError(
                f"--engine-option quantization={self.quantization}: {missing[0]} is not installed; "
                "pip install 'prunebench[quantization]'"
            )
        for key, least, allowed in (("threads", 0, 0), ("max_num_seqs", 1, 1), ("max_model_len", 2, 0)):
            value = getattr(self, key)
            if value < least and value != allowed:
                raise EngineError(f"--engine-option {key}={value}: must be at least {least}")
