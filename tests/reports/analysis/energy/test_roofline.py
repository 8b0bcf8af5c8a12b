from __future__ import annotations

import pytest

from reports.analysis.energy.roofline import decode_cost, shape_of
from tests.reports.example_run import SHAPE, Example, configure

LLAMA_1B = {
    "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
    "vocab_size": 128256, "tie_word_embeddings": True,
}  # fmt: skip


def test_a_shape_is_read_from_config_json():
    shape = shape_of(LLAMA_1B)
    assert (shape.layers, shape.kv_heads, shape.head_dim, shape.tied_embeddings) == (16, 8, 64, True)


def test_missing_keys_of_a_config_have_their_defaults():
    plain = {k: v for k, v in LLAMA_1B.items() if k not in {"num_key_value_heads", "head_dim", "tie_word_embeddings"}}
    shape = shape_of({"text_config": plain})
    assert (shape.kv_heads, shape.head_dim, shape.tied_embeddings) == (32, 64, False)


@pytest.mark.parametrize("config", [{}, LLAMA_1B | {"num_local_experts": 8}, LLAMA_1B | {"num_attention_heads": None}])
def test_without_a_whole_shape_or_with_experts_there_is_none(config):
    assert shape_of(config) is None


def test_bytes_and_operations_of_a_token_agree_with_a_hand_calculation():
    info = configure(Example(), 1024)
    cost = decode_cost(info, 8, 100)
    cached = 2 * 12 * 4 * 32 * 100  # keys and values x layers x heads x size x tokens
    assert cost.step_bytes == 4 * (info.parameters + 8 * cached)
    assert cost.bytes == cost.step_bytes / 8
    assert cost.flops == 2 * info.parameters + 2 * (2 * 12 * 8 * 32 * 100)


def test_an_untied_embedding_table_is_not_read():
    info = configure(Example(), 1024)
    untied = info.model_copy(update={"shape": SHAPE.model_copy(update={"tied_embeddings": False})})
    assert decode_cost(info, 1, 0).flops - decode_cost(untied, 1, 0).flops == 2 * 1000 * 256


@pytest.mark.parametrize("missing", [{"shape": None}, {"dtype": None}, {"dtype": "fp8"}])
def test_without_a_shape_or_a_known_data_type_there_is_no_cost(missing):
    assert decode_cost(configure(Example(), 1024).model_copy(update=missing), 1, 0) is None


def test_the_served_data_type_counts_and_not_that_on_disk():
    info = configure(Example(), 1024)
    half = info.model_copy(update={"dtype": "torch.bfloat16"})
    assert decode_cost(info, 1, 10).bytes == 2 * decode_cost(half, 1, 10).bytes
