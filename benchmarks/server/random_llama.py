"""A Llama with random weights, for benchmarks that need a model of a certain size and no sense."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers


def save_random_llama(
    folder: Path,
    *,
    vocabulary: int,
    hidden: int,
    width: int,
    layers: int,
    heads: int,
    key_value_heads: int,
    context: int,
) -> int:
    """Save it as float32, with tied embeddings and no token that begins or ends a text; returns its number of parameters."""
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    return int(model.num_parameters())
