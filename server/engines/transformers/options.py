"""The transformers engine's options. Separate from its other modules so that a wrong one is refused before torch is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from server.engines.base import EngineError


@dataclass(frozen=True, slots=True)
class TransformersOptions:
    """Options of the transformers engine; on the command line `--engine-option KEY=VALUE`.

    dtype: of weights and cache. auto is the checkpoint's own on a GPU and float32 on a CPU, where half precision is
        slower on most machines and where only float32 gives the same tokens in every batch.
    device: auto, cpu, cuda or cuda:N. auto takes a GPU if there is one.
    threads: torch threads on the CPU; 0 is one fewer than this process may use, at least one. The event loop needs the
        other: two spinning threads on a busy two-core machine collapse to a third of their speed.
    max_num_seqs: how many requests run at once; more wait. The cache for all of them is reserved at start.
    max_model_len: longest prompt and output together, tokens; 0 is the model's own limit, but at most 4096.
    """

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    threads: int = 0
    max_num_seqs: int = 16
    max_model_len: int = 0

    def check(self) -> None:
        """Raise EngineError for a number out of range."""
        for key, least, allowed in (("threads", 0, 0), ("max_num_seqs", 1, 1), ("max_model_len", 2, 0)):
            value = getattr(self, key)
            if value < least and value != allowed:
                raise EngineError(f"--engine-option {key}={value}: must be at least {least}")
