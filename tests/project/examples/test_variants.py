"""`examples/make_variants.py`: the folders that it writes are the checkpoint in 8 bits, and the checkpoint with a coarser tokenizer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

ROOT = Path(__file__).parents[3]
TINYGLU = ROOT / "examples" / "tinyglu"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variants")
    command = [sys.executable, "-P", ROOT / "examples" / "make_variants.py", TINYGLU, folder]
    subprocess.run(command, check=True, timeout=120)
    return folder


def test_weights_in_8_bits_are_within_half_a_step_of_the_checkpoints_and_all_else_is_equal(made):
    import torch
    from safetensors.torch import load_file

    before, after = (load_file(f / "model.safetensors") for f in (TINYGLU, made / "tinyglu-w8a8"))
    matrices = [name for name in before if name.endswith("_proj.weight")]
    assert len(matrices) == 6 * 7
    for name, tensor in before.items():
        if name not in matrices:
            assert torch.equal(after[name], tensor), name
            continue
        scale = after[f"{name}_scale"].float()
        assert (after[name].dtype, scale.shape) == (torch.int8, (len(tensor), 1))
        assert ((after[name] * scale - tensor.float()).abs() <= 0.51 * scale).all(), name


def test_config_json_says_how_the_weights_are_to_be_read(made):
    before, after = (json.loads((f / "config.json").read_text()) for f in (TINYGLU, made / "tinyglu-w8a8"))
    quantization = after.pop("quantization_config")
    assert after == before
    assert (quantization["quant_method"], quantization["format"]) == ("compressed-tensors", "int-quantized")


def test_half_of_the_merges_make_more_tokens_of_the_same_text_and_lose_none_of_it(made):
    text = (ROOT / "README.md").read_text()
    whole, half = (Tokenizer.from_file(str(f / "tokenizer.json")) for f in (TINYGLU, made / "tinyglu-half-merges"))
    assert half.decode(half.encode(text).ids) == text
    assert len(half.encode(text).ids) > 1.05 * len(whole.encode(text).ids)
