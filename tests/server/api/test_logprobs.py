from __future__ import annotations

import json
import math

from server.api.logprobs import chat_logprobs, completion_logprobs
from server.engines.base import TokenLogprob


def test_impossible_tokens_are_written_as_json_can(tokenizer):
    entry = TokenLogprob(5, -math.inf, {5: -math.inf, 6: math.nan, 7: -0.1})
    written = completion_logprobs(tokenizer, [5], [entry], [0])
    assert written["token_logprobs"] == [-9999.0]
    assert json.loads(json.dumps(written, allow_nan=False))["top_logprobs"][0][tokenizer.token_text(6)] == -9999.0


def test_tokens_with_one_text_keep_the_larger_value(tokenizer):
    """Ids beyond the vocabulary all have the empty text; greedy is judged by the largest value."""
    entry = TokenLogprob(1000, -5.0, {1000: -5.0, 1001: -0.5})
    assert completion_logprobs(tokenizer, [1000], [entry], [0])["top_logprobs"] == [{"": -0.5}]


def test_chat_alternatives_are_the_likeliest_first(tokenizer):
    entry = TokenLogprob(9, -3.0, {9: -3.0, 5: -1.0, 6: -0.5})
    (written,) = chat_logprobs(tokenizer, [entry], 2)["content"]
    assert written["logprob"] == -3.0
    assert [alternative["logprob"] for alternative in written["top_logprobs"]] == [-0.5, -1.0]
