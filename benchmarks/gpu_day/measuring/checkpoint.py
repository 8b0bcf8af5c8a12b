"""A Llama of random bfloat16 weights, made in seconds at any size: shapes and kernels decide what a token costs.

A weight is plus or minus 2^-7 to 2^-5, about as large as those of a new model. The tokenizer has a word for
each id, so that every vocabulary has text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from base.files import write_folder
from benchmarks.gpu_day.archive import SCRATCH
from benchmarks.gpu_day.profiles import Shape

_ONE = 0x3F80  # as bfloat16
_SIGN_AND_FRACTION, _EXPONENT = 0x80FF, 0x3C00  # the exponent's lowest bit is among the random ones
_CHUNK = 2**24


def random_llama(work: Path, shape: Shape) -> Path:
    """The checkpoint in the working folder's scratch space; written unless an earlier stage has."""
    folder = work / SCRATCH / "llama"
    if not folder.exists():
        write_folder(folder, lambda partial: _fill(partial, shape))
    return folder


def word(token: int) -> str:
    """The text of a token: four letters, so that it is plain text."""
    return "".join(chr(ord("a") + token // 26**place % 26) for place in range(4))


def _fill(folder: Path, shape: Shape) -> None:
    _write_weights(folder / "model.safetensors", dict(_tensors(shape)))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
        "dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    words = {word(token): token for token in range(shape.vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=word(0)))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


def _tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, width = shape.hidden, shape.width
    queries, keys = shape.heads * shape.head_dim, shape.key_value_heads * shape.head_dim
    yield "model.embed_tokens.weight", (shape.vocabulary, hidden)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.self_attn.q_proj.weight", (queries, hidden)
        yield f"{prefix}.self_attn.k_proj.weight", (keys, hidden)
        yield f"{prefix}.self_attn.v_proj.weight", (keys, hidden)
        yield f"{prefix}.self_attn.o_proj.weight", (hidden, queries)
        yield f"{prefix}.mlp.gate_proj.weight", (width, hidden)
        yield f"{prefix}.mlp.up_proj.weight", (width, hidden)
        yield f"{prefix}.mlp.down_proj.weight", (hidden, width)
        yield f"{prefix}.input_layernorm.weight", (hidden,)
        yield f"{prefix}.post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)


def _write_weights(file: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, dimensions in tensors.items():
        start, end = end, end + 2 * int(np.prod(dimensions))
        header[name] = {"dtype": "BF16", "shape": list(dimensions), "data_offsets": [start, end]}
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    random = np.random.Generator(np.random.SFC64(0))  # the fastest
    with file.open("wb") as opened:
        opened.write(len(raw).to_bytes(8, "little") + raw)
        for dimensions in tensors.values():
            left = int(np.prod(dimensions))
            while left:
                count = min(left, _CHUNK)
                left -= count
                opened.write(_norm(count) if len(dimensions) == 1 else _weights(random, count))


def _norm(count: int) -> bytes:
    return np.full(count, _ONE, "<u2").tobytes()


def _weights(random: np.random.Generator, count: int) -> memoryview:
    bits = random.integers(0, 2**64, -(-count // 4), np.uint64).view("<u2")[:count]
    bits &= _SIGN_AND_FRACTION
    bits |= _EXPONENT
    return bits.data
