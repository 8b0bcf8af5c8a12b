"""Write a checkpoint as the one file that llama.cpp reads, in float32.

    .peers/bin/python -P examples/make_gguf.py examples/tinyglu tinyglu.gguf

For checkpoints of Llama's architecture with a byte-level BPE tokenizer that splits text as GPT-2's does, such as TinyGLU and its
pruned widths. llama.cpp's own `convert_hf_to_gguf.py` knows the tokenizers of published models alone, and needs torch.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
_OF_MODEL = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_OF_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def read_tensors(file: Path) -> dict[str, Floats]:
    """Every tensor of a safetensors file in float32; bfloat16, which numpy lacks, is the upper half of a float32."""
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    found = {}
    for name, entry in json.loads(content[8:start]).items():
        if name == "__metadata__":
            continue
        first, last = (start + offset for offset in entry["data_offsets"])
        raw = content[first:last]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(raw, {"F16": np.float16, "F32": np.float32}[entry["dtype"]]).astype(np.float32)
        found[name] = values.reshape(entry["shape"])
    return found


def renamed(name: str) -> str:
    """A tensor's name in GGUF: model.layers.3.mlp.up_proj.weight -> blk.3.ffn_up.weight."""
    stem = name.removesuffix(".weight")
    if stem in _OF_MODEL:
        return f"{_OF_MODEL[stem]}.weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{_OF_LAYER[part]}.weight"


def interleaved(weight: Floats, heads: int) -> Floats:
    """[heads * head_dim, hidden] with the rows of each head in llama.cpp's order: it rotates neighbours, not both halves."""
    rows = weight.reshape(heads, 2, weight.shape[0] // heads // 2, weight.shape[1])
    return np.ascontiguousarray(rows.swapaxes(1, 2)).reshape(weight.shape)


def write_gguf(source: Path, output: Path) -> None:
    """Write the file. Exits with one line for a checkpoint that is not of this kind."""
    config, tokenizer = (json.loads((source / name).read_text()) for name in ("config.json", "tokenizer.json"))
    splits = tokenizer["pre_tokenizer"] or {}
    if config["model_type"] != "llama" or splits.get("type") != "ByteLevel" or not splits.get("use_regex"):
        sys.exit(f"{source}: only Llama's architecture with GPT-2's way of splitting text can be written")
    writer = gguf.GGUFWriter(output, "llama")
    _add_shape(writer, config)
    _add_tokenizer(writer, tokenizer, json.loads((source / "tokenizer_config.json").read_text()))
    template = source / "chat_template.jinja"
    if template.is_file():
        writer.add_chat_template(template.read_text())
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for file in sorted(source.glob("*.safetensors")):
        for name, tensor in read_tensors(file).items():
            turned = heads.get(name.removesuffix(".weight").rsplit(".", 1)[-1])
            writer.add_tensor(renamed(name), tensor if turned is None else interleaved(tensor, turned))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    rope = config.get("rope_parameters") or config
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: dict[str, Any], about: dict[str, Any]) -> None:
    ids = dict(tokenizer["model"]["vocab"])
    special = {one["content"]: one["id"] for one in tokenizer["added_tokens"]}
    ids |= special
    tokens = sorted(ids, key=lambda token: ids[token])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in merges])
    writer.add_bos_token_id(ids[about["bos_token"]])
    writer.add_eos_token_id(ids[about["eos_token"]])
    writer.add_add_bos_token(False)  # as the checkpoint's tokenizer, which adds none


def main() -> None:
    """Write what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a checkpoint's folder")
    parser.add_argument("output", type=Path, help="the file to write")
    given = parser.parse_args()
    write_gguf(given.source, given.output)


if __name__ == "__main__":
    main()
