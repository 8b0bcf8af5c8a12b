import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from server.engines.base import SamplingOptions
from server.engines.transformers.sampling import SamplingState, keep_likely, sample, token_logprobs

VOCABULARY = 50
CPU = torch.device("cpu")


def logits(rows, seed=0):
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3


def state(prompt=(1, 2), eos=frozenset(), **options):
    return SamplingState(prompt, SamplingOptions(**{"max_tokens": 9} | options), eos, VOCABULARY, CPU)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 60), p=st.floats(0.05, 0.99), m=st.floats(0.001, 0.9))
def test_each_filter_keeps_the_tokens_that_transformers_keeps(seed, k, p, m):
    rows = logits(3, seed)
    options = [SamplingOptions(9, top_k=k), SamplingOptions(9, top_p=p), SamplingOptions(9, min_p=m)]
    warpers = [TopKLogitsWarper(k), TopPLogitsWarper(p), MinPLogitsWarper(m)]
    kept = keep_likely(rows, options)
    for row, warper in enumerate(warpers):
        assert torch.equal(kept[row], warper(None, rows[row : row + 1].clone())[0])


def test_neutral_filters_keep_every_token_beside_a_strict_neighbour():
    rows = logits(2)
    kept = keep_likely(rows, [SamplingOptions(9), SamplingOptions(9, top_k=1)])
    assert torch.equal(kept[0], rows[0])
    assert kept[1].isfinite().sum() == 1


def test_the_repetition_penalty_is_that_of_transformers():
    row = logits(1)[0]
    one = state(prompt=(3, 7), repetition_penalty=1.7)
    one.take(11)
    expected = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([[3, 7, 11]]), row.unsqueeze(0).clone())[0]
    found = row.clone()
    one.adjust(found)
    assert torch.allclose(found, expected)


def test_frequency_counts_every_use_and_presence_the_first_and_neither_the_prompt():
    one = state(prompt=(3,), frequency_penalty=0.5, presence_penalty=0.25)
    for token in (7, 7, 9):
        one.take(token)
    found = torch.zeros(VOCABULARY)
    one.adjust(found)
    assert (found[3], found[7], found[9]) == (0, -1.25, -0.75)


def test_no_end_is_drawn_before_the_least_number_of_tokens():
    one = state(eos=frozenset({4}), stop_token_ids=(5,), min_tokens=2, temperature=0.0)
    rows = torch.zeros(1, VOCABULARY)
    rows[0, 4], rows[0, 5], rows[0, 6] = 9, 8, 7
    drawn = []
    for _ in range(3):
        (token,) = sample(rows.clone(), [one])
        one.take(token)
        drawn.append(token)
    assert drawn == [6, 6, 4]


def test_draws_follow_the_probabilities():
    weights = torch.tensor([0.5, 0.3, 0.15, 0.05])
    one = SamplingState([0], SamplingOptions(9, seed=5), frozenset(), 4, CPU)
    count = 4000
    drawn = [sample(weights.log().unsqueeze(0), [one])[0] for _ in range(count)]
    for token, weight in enumerate(weights.tolist()):
        spread = math.sqrt(count * weight * (1 - weight))
        assert drawn.count(token) == pytest.approx(count * weight, abs=5 * spread)


def test_a_batch_of_every_kind_gives_each_row_what_it_gets_alone():
    kinds = [
        {"temperature": 0.0},
        {"seed": 1},
        {"seed": 2, "top_p": 0.5},
        {"seed": 3, "top_k": 3, "repetition_penalty": 1.5},
        {"temperature": 0.0, "frequency_penalty": 1.0},
        {"seed": 4, "min_p": 0.2, "temperature": 1e-9},
    ]
    rows = logits(len(kinds))
    together = sample(rows.clone(), [state(**kind) for kind in kinds])
    alone = [sample(rows[i : i + 1].clone(), [state(**kind)])[0] for i, kind in enumerate(kinds)]
    assert together == alone
    assert together[0] == rows[0].argmax()
    assert together[5] == rows[5].argmax()


def test_a_half_precision_row_is_scored_in_single_precision():
    rows = logits(1).to(torch.bfloat16)
    (found,) = token_logprobs(rows, [7], 2)
    assert found.logprob == pytest.approx(rows.double().log_softmax(-1)[0, 7].item(), abs=1e-5)
    assert math.fsum(
        math.exp(value) for value in token_logprobs(rows, [7], VOCABULARY)[0].top.values()
    ) == pytest.approx(1)
