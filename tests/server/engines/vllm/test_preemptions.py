"""When it is known that vLLM has thrown nobody out of its batch, and what it counts otherwise."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from server.engines.vllm.preemptions import Preemptions
from server.engines.vllm.resolved_options import resolved_options, uniform_blocks


def test_a_cache_that_holds_all_requests_at_their_longest_has_preempted_none():
    known = Preemptions(counted=False, blocks=10, block_size=16)
    known.begun(64)  # 4 blocks, and one ahead
    known.begun(64)
    assert known.count == 0
    known.ended(64, None)
    known.begun(80 - 16)
    assert known.count == 0


def test_once_the_cache_may_have_been_too_small_nothing_is_known():
    known = Preemptions(counted=False, blocks=10, block_size=16)
    known.begun(64)
    known.begun(65)
    assert known.count is None
    known.ended(65, None)
    assert known.count is None


def test_a_cache_of_unlike_layers_promises_nothing():
    known = Preemptions(counted=False, blocks=None, block_size=16)
    known.begun(1)
    assert known.count is None


def test_where_vllm_keeps_statistics_its_own_count_is_taken():
    known = Preemptions(counted=True, blocks=2, block_size=16)
    for preempted in (0, 2, 1):
        known.begun(1000)
        known.ended(1000, SimpleNamespace(num_preemptions=preempted))
    known.ended(1000, None)  # refused, so that vLLM has no statistics of it
    assert known.count == 3


def test_a_vllm_that_does_not_count_them_is_not_taken_to_have_none():
    known = Preemptions(counted=True, blocks=2, block_size=16)
    known.begun(10)
    known.ended(10, SimpleNamespace())
    assert known.count is None


def config(blocks: int | None, tokens: int | None, longest: int = 1024) -> SimpleNamespace:
    return SimpleNamespace(
        cache_config=SimpleNamespace(num_gpu_blocks=blocks, block_size=16, kv_cache_size_tokens=tokens),
        model_config=SimpleNamespace(max_model_len=longest, dtype="torch.float32"),
    )


@pytest.mark.parametrize(
    ("blocks", "tokens", "longest", "found"),
    [
        (640, 10_240, 1024, 639),
        (640, 10_230, 1023, 639),
        (640, 5_120, 1024, None),  # two groups of layers, each with blocks of its own
        (1280, 10_240, 1024, None),  # two replicas
        (640, None, 1024, None),  # an older version
        (None, None, 1024, None),
    ],
)
def test_blocks_are_comparable_only_where_all_layers_take_them_alike(blocks, tokens, longest, found):
    assert uniform_blocks(config(blocks, tokens, longest)) == found


def test_an_option_that_a_version_does_not_have_is_left_out():
    found = resolved_options(config(640, 10_240))
    assert (found["num_gpu_blocks"], found["dtype"], found["max_model_len"]) == ("640", "float32", "1024")
    assert "max_num_seqs" not in found
