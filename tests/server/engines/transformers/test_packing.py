"""Packed linear layers compute what plain ones do; where they cannot be packed nothing changes."""

import pytest
import torch

from server.engines.transformers.packing import PackedLinear, pack_linears


def block(dtype=torch.float32):
    torch.manual_seed(0)
    layers = [torch.nn.Linear(24, 56), torch.nn.SiLU(), torch.nn.Linear(56, 24, bias=False)]
    return torch.nn.Sequential(*layers).to(dtype)


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 17, 130])
def test_packed_layers_compute_what_plain_ones_do_for_any_number_of_rows(rows):
    model, given = block(), torch.randn(rows, 1, 24)
    with torch.inference_mode():
        expected = model(given)
        assert pack_linears(model) == 2
        assert isinstance(model[0], PackedLinear)
        torch.testing.assert_close(model(given), expected)


def test_a_dtype_that_cannot_be_packed_is_left_as_it_is():
    model, given = block(torch.float64), torch.randn(2, 24, dtype=torch.float64)
    with torch.inference_mode():
        expected = model(given)
        assert pack_linears(model) == 0
        assert torch.equal(model(given), expected)


def test_an_output_layer_that_shares_its_weight_leaves_the_embedding_alone():
    embedding = torch.nn.Embedding(32, 24)
    output = torch.nn.Linear(24, 32, bias=False)
    output.weight = embedding.weight
    model = torch.nn.ModuleDict({"embedding": embedding, "output": output})
    with torch.inference_mode():
        expected = output(embedding(torch.tensor([3])))
        assert pack_linears(model) == 1
        torch.testing.assert_close(model["output"](model["embedding"](torch.tensor([3]))), expected)


def test_a_subclass_of_linear_with_a_forward_of_its_own_is_left_as_it_is():
    class Doubling(torch.nn.Linear):
        def forward(self, rows):
            return 2 * super().forward(rows)

    model = torch.nn.Sequential(Doubling(4, 4))
    assert pack_linears(model) == 0
    assert type(model[0]) is Doubling
