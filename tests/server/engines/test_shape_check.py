import asyncio
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MambaConfig

from server.engines.base import EngineError
from server.engines.shape_check import check_tensor_shapes
from server.engines.transformers.engine import TransformersEngine
from tests.server.engines.tiny_model import edit_json, save_model, tiny_llama_config
from tests.server.engines.transformers.test_engine import serve


@pytest.fixture
def llama(tmp_path):
    return save_model(tmp_path, tiny_llama_config())


def rewrite(folder, change):
    """Save the checkpoint's tensors again after `change` has worked on them."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_checkpoint_that_agrees_with_its_config_passes(llama):
    check_tensor_shapes(llama)


@pytest.mark.parametrize("width", [95, 97])
def test_an_mlp_wider_or_narrower_than_the_config_is_named(llama, width):
    edit_json(llama / "config.json", intermediate_size=width)
    with pytest.raises(EngineError, match=rf"layers\.0\.mlp\.down_proj\.weight has shape \[64, 96\].*\[64, {width}\]"):
        check_tensor_shapes(llama)


def test_one_odd_layer_among_good_ones_is_named(llama):
    def widen(tensors):
        tensors["model.layers.1.mlp.up_proj.weight"] = torch.zeros(97, 64)

    rewrite(llama, widen)
    with pytest.raises(EngineError, match=r"layers\.1\.mlp\.up_proj\.weight has shape \[97, 64\]"):
        check_tensor_shapes(llama)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"vocab_size": 300}, "lm_head"),
        ({"num_key_value_heads": 4}, r"self_attn\.k_proj"),
        ({"num_hidden_layers": 1}, "exceeds .* num_hidden_layers"),
        ({"num_hidden_layers": 3}, "layer 2 lacks mlp"),
    ],
)
def test_other_disagreements_are_named(llama, change, names):
    edit_json(llama / "config.json", **change)
    with pytest.raises(EngineError, match=names):
        check_tensor_shapes(llama)


def test_a_layer_without_one_projection_is_named(llama):
    rewrite(llama, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(EngineError, match=r"layer 1 lacks mlp\.up_proj"):
        check_tensor_shapes(llama)


def test_sharded_checkpoints_are_read_through_their_index(llama):
    tensors = load_file(llama / "model.safetensors")
    (llama / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"one.safetensors": names[:9], "two.safetensors": names[9:]}
    for file, part in shards.items():
        save_file({name: tensors[name] for name in part}, llama / file, metadata={"format": "pt"})
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (llama / "model.safetensors.index.json").write_text(json.dumps(index))
    check_tensor_shapes(llama)
    (llama / "two.safetensors").unlink()
    with pytest.raises(EngineError, match=r"two\.safetensors"):
        check_tensor_shapes(llama)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x02" + b"\x00" * 7 + b"[]"])
def test_a_damaged_file_is_named(llama, content):
    (llama / "model.safetensors").write_bytes(content)
    with pytest.raises(EngineError, match=r"model\.safetensors: not a readable safetensors file"):
        check_tensor_shapes(llama)


def test_a_folder_without_weights_or_config_says_which(llama):
    (llama / "model.safetensors").unlink()
    with pytest.raises(EngineError, match=r"no \.safetensors files"):
        check_tensor_shapes(llama)
    (llama / "config.json").unlink()
    with pytest.raises(EngineError, match=r"no config\.json"):
        check_tensor_shapes(llama)


# What only shows when the transformers engine loads a checkpoint.


async def nothing(_):
    pytest.fail("the engine started")


def test_a_missing_tensor_is_named_rather_than_made_up(llama):
    rewrite(llama, lambda tensors: tensors.pop("model.layers.1.self_attn.v_proj.weight"))
    with pytest.raises(EngineError, match=r"tensor model\.layers\.1\.self_attn\.v_proj\.weight is missing"):
        serve(llama, nothing)


def test_a_file_cut_short_is_an_engine_error(llama):
    file = llama / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(EngineError, match="transformers cannot load it"):
        serve(llama, nothing)


def test_an_unknown_architecture_is_an_engine_error(llama):
    edit_json(llama / "config.json", model_type="martian")
    with pytest.raises(EngineError, match="martian"):
        serve(llama, nothing)


def test_an_architecture_without_a_standard_cache_is_refused_at_start(tmp_path):
    config = MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, state_size=4)
    with pytest.raises(EngineError, match="use --engine vllm"):
        serve(save_model(tmp_path, config), nothing)


MISTAKES = {
    "max_num_seq=4": "did you mean max_num_seqs",
    "dtype=int8": "dtype=int8: expected auto or float32",
    "threads=many": "threads=many: expected an integer",
    "max_model_len=2048": "max_model_len=2048: the model's own limit is 1024",
}
IMPOSSIBLE = ("max_num_seqs=0", "max_num_seqs=1000000000", "max_model_len=1", "device=abacus", "device=cuda:99")


@pytest.mark.parametrize(("given", "says"), [*MISTAKES.items(), *zip(IMPOSSIBLE, IMPOSSIBLE, strict=True)])
def test_an_option_that_cannot_be_meant_is_named(llama, given, says):
    key, _, value = given.partition("=")
    with pytest.raises(EngineError, match=says):
        serve(llama, nothing, **{key: value})


def test_shutdown_after_a_failed_start_is_safe(tmp_path):
    async def fail():
        engine = TransformersEngine(tmp_path, {})
        with pytest.raises(EngineError, match=r"no config\.json"):
            await engine.start()
        await engine.shutdown()
        await engine.shutdown()

    asyncio.run(fail())
