"""Stop strings, held against vLLM's own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.text.test_stopping import PIECES, STOPS, released


@pytest.fixture(scope="module")
def vllm_detokenizer():
    return pytest.importorskip("vllm.v1.engine.detokenizer")


@pytest.mark.vllm
@pytest.mark.slow  # importing vLLM
@settings(deadline=None)  # the machine may be busy
@given(pieces=PIECES, stops=STOPS, least=st.integers(0, 5), keep=st.booleans())
def test_the_text_ends_where_vllm_ends_it(vllm_detokenizer, pieces, stops, least, keep):
    """vLLM's own detokenizer, a piece a token, of which the first `least` are `min_tokens`."""
    text = ""
    for at, piece in enumerate(pieces):
        text += piece
        new = 0 if at < least else len(piece)
        if found := vllm_detokenizer.check_stop_strings(text, new, stops, keep):
            stop, cut = found
            assert released(pieces, stops, keep=keep, banned=least) == (text if cut == -1 else text[:cut], stop)
            return
    assert released(pieces, stops, keep=keep, banned=least) == (text, None)
